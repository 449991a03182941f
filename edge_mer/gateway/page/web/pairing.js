// Turning on: with this browser's key, which is paired first where it has none.
import { $, text } from "./dom.js";
import { forget, fresh, grant, held } from "./keys.js";
import { post } from "./server.js";

const NOT_PAIRED = /is not paired with this host/;

export async function unmask(house, modalities, sending) {
  if (!globalThis.isSecureContext) return { ok: false, text: "Turning on needs https, or this device itself." };
  try {
    const key = (await held()) ?? (await pair(house));
    if (!key) return { ok: true, text: "" }; // cancelled: nothing was asked
    sending();
    const epoch = Math.max(...Object.values(house.privacy.modalities).map((state) => state.mask_epoch));
    const answer = await post("/unmask", { modalities, grant: await grant(key, house.hello.host, modalities, epoch) });
    if (!answer.ok && NOT_PAIRED.test(answer.text)) await forget();
    return answer;
  } catch (error) {
    return { ok: false, text: `This browser cannot sign (${error.message}); use edge-mer unmask.` };
  }
}

// Asks for the code until it is right; null when somebody cancels.
function pair(house) {
  const dialog = $("pair"), form = dialog.querySelector("form");
  form.reset();
  text($("pair-note"), "");
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(held().then((key) => key ?? null));
    $("pair-cancel").onclick = () => dialog.close();
    form.onsubmit = async (event) => {
      event.preventDefault();
      try {
        const made = await fresh(house.hello.host, $("code").value.trim().toLowerCase());
        const answer = await post("/pair", made.body);
        if (answer.ok) await made.keep();
        text($("pair-note"), answer.ok ? "" : answer.text);
        if (answer.ok) dialog.close();
      } catch (error) {
        text($("pair-note"), `This browser cannot make a key: ${error.message}`);
      }
    };
  });
}
