// The explanation. It is requested, and computed by the device, only while this part of the page is open and visible.
import { $, meter, rows, text } from "./dom.js";
import { listen } from "./server.js";
import { MODALITIES, SENSORS, emotionName, list, nameOf, percent, signed, t } from "./labels.js";

const PRIOR = 1 / 7;

export class Why {
  #stop = null;

  constructor() {
    $("why").addEventListener("toggle", () => this.#toggle());
    document.addEventListener("visibilitychange", () => this.#toggle());
  }

  #toggle() {
    const visible = $("why").open && !document.hidden;
    if (visible && !this.#stop) {
      const wait = () => text($("why-text"), t("why.waiting"));
      this.#stop = listen("/events?why=1", { event: (topic, message) => topic === "explain" && show(message), up: wait, down: wait, locked: wait });
    } else if (!visible && this.#stop) {
      this.#stop();
      this.#stop = null;
    }
  }
}

function show({ label, contributions, sentiment_contributions: sentiment }) {
  if (!label) {
    text($("why-text"), t("why.nothing"));
    rows($("why-table"), []);
    return;
  }
  const end = PRIOR + MODALITIES.reduce((sum, m) => sum + contributions[m], 0);
  const most = MODALITIES.filter((m) => contributions[m] > 0.005).sort((a, b) => contributions[b] - contributions[a]);
  text($("why-text"), t(most.length ? "why.because" : "why.change", {
    label: emotionName(label), prior: percent(PRIOR), end: percent(end), channels: list(most.map((m) => SENSORS[m].channel)),
  }));
  rows($("why-table"), MODALITIES.map((m) => {
    const share = contributions[m], points = `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(0)} %`;
    const bar = meter(0.5, 0.5 + Math.max(-0.5, Math.min(0.5, share / 2)), share < 0);
    return [nameOf(m), points, bar, sentiment ? signed(sentiment[m]) : "–"];
  }));
}
