// Events, the newest first, and the button that calls one wrong. A mask removes the events that it ended.
import { $, make, rows, text } from "./dom.js";
import { post } from "./server.js";
import { COMBINATIONS, clock, emotionName, list, plain, t } from "./labels.js";

const MOST = 20;

export class Events {
  #known = new Map(); // by id: the newest message of each event, and whether it was called wrong
  #wrong = new Set();

  constructor(latest) {
    this.latest = latest;
  }

  add(message) {
    this.#known.delete(message.event);
    if (message.reason !== "masked") this.#known.set(message.event, message);
    for (const event of [...this.#known.keys()].slice(0, -MOST)) this.#known.delete(event);
    this.#show();
  }

  #show() {
    $("events").hidden = this.#known.size === 0;
    rows($("events-table"), [...this.#known.values()].reverse().map((m) => [
      this.#when(m), emotionName(m.label), list(m.combinations.map((c) => COMBINATIONS[c]), "or"),
      m.end_us === null ? t("events.now") : t("events.lasted", { seconds: Math.round((m.end_us - m.begin_us) / 1e6) }),
      t("events.bound", { hours: Math.floor(m.hours_per_wrong) }), this.#button(m.event),
    ]));
  }

  #when({ begin_us }) {
    return this.latest.clock ? clock(new Date((begin_us + this.latest.clock.offset_us) / 1000)) : "–";
  }

  #button(event) {
    const isWrong = this.#wrong.has(event);
    const button = make("button", { type: "button", "aria-pressed": isWrong }, t("events.wrong"));
    button.addEventListener("click", async () => {
      const answer = await post("/event/wrong", { event, wrong: !isWrong });
      if (answer.ok) isWrong ? this.#wrong.delete(event) : this.#wrong.add(event);
      text($("events-note"), answer.ok ? t(isWrong ? "events.back" : "events.noted") : plain(answer.text));
      this.#show();
    });
    return button;
  }
}
