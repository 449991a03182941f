// Unmasking with this browser's key. A browser without a key is paired first.
import { $, text } from "./dom.js";
import { deleteKey, grant, newKey, storedKey } from "./keys.js";
import { t } from "./labels.js";
import { post } from "./server.js";

const NOT_PAIRED = /is not paired with this host/;

// `persons`: in place of modalities.
export async function unmask(latest, modalities, sending, persons = []) {
  if (!globalThis.isSecureContext) return { ok: false, text: t("pair.https") };
  try {
    const key = (await storedKey()) ?? (await pair(latest));
    if (!key) return { ok: true, text: "" }; // cancelled: nothing was requested
    sending();
    const epoch = Math.max(latest.privacy.people?.mask_epoch ?? 0, ...Object.values(latest.privacy.modalities).map((state) => state.mask_epoch));
    const answer = await post("/unmask", { modalities, persons, grant: await grant(key, latest.hello.host, modalities, epoch, persons) });
    if (!answer.ok && NOT_PAIRED.test(answer.text)) await deleteKey();
    return answer;
  } catch (error) {
    return { ok: false, text: t("pair.cannot_sign", { error: error.message }) };
  }
}

// Shows the dialog until the code is right; null when the user cancels.
function pair(latest) {
  const dialog = $("pair"), form = dialog.querySelector("form");
  form.reset();
  text($("pair-note"), "");
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(storedKey().then((key) => key ?? null));
    $("pair-cancel").onclick = () => dialog.close();
    form.onsubmit = async (event) => {
      event.preventDefault();
      try {
        const made = await newKey(latest.hello.host, $("code").value.trim().toLowerCase());
        const answer = await post("/pair", made.body);
        if (answer.ok) await made.keep();
        text($("pair-note"), answer.ok ? "" : answer.text);
        if (answer.ok) dialog.close();
      } catch (error) {
        text($("pair-note"), t("pair.cannot_make", { error: error.message }));
      }
    };
  });
}
