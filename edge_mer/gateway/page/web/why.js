// Why: asked for only while this is open and somebody can see it; the device computes it for nobody else.
import { $, meter, rows, text } from "./dom.js";
import { listen } from "./server.js";
import { MODALITIES, SENSES, list, percent, signed } from "./words.js";

const PRIOR = 1 / 7;

export class Why {
  #stop = null;

  constructor() {
    $("why").addEventListener("toggle", () => this.#look());
    document.addEventListener("visibilitychange", () => this.#look());
  }

  #look() {
    const looking = $("why").open && !document.hidden;
    if (looking && !this.#stop) {
      const nothing = () => text($("why-text"), "Waiting for the next explanation…");
      this.#stop = listen("/events?why=1", { event: (topic, message) => topic === "explain" && show(message), up: nothing, down: nothing, locked: nothing });
    } else if (!looking && this.#stop) {
      this.#stop();
      this.#stop = null;
    }
  }
}

function show({ label, contributions, sentiment_contributions: sentiment }) {
  if (!label) {
    text($("why-text"), "There is nothing to explain: no sense is used.");
    rows($("why-table"), []);
    return;
  }
  const end = PRIOR + MODALITIES.reduce((sum, m) => sum + contributions[m], 0);
  const most = MODALITIES.filter((m) => contributions[m] > 0.005).sort((a, b) => contributions[b] - contributions[a]);
  const because = most.length ? `, because of the ${list(most.map((m) => SENSES[m].channel))}` : "";
  text($("why-text"), `“${label}” went from ${percent(PRIOR)} (knowing nothing) to ${percent(end)}${because}.`);
  rows($("why-table"), MODALITIES.map((m) => {
    const share = contributions[m], points = `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(0)} %`;
    const bar = meter(0.5, 0.5 + Math.max(-0.5, Math.min(0.5, share / 2)), share < 0);
    return [SENSES[m].name, points, bar, sentiment ? signed(sentiment[m]) : "–"];
  }));
}
