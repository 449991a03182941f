// Everything off, guest mode with its end, and the notice before it ends.
import { $, announce, text } from "./dom.js";
import { LANGUAGE, MODALITIES, clock, list, nameOf, plain, t } from "./labels.js";

const GUEST_S = 3 * 3600, HOUR_S = 3600, LONGEST_S = 30 * 24 * 3600;
const NOTICE_MIN = 10;

// When a mask ends by itself (wall time), as HH:MM and, on another day, with the day; "" when it does not.
export function untilText(held) {
  if (!held?.until_us || held.requested === "live") return "";
  const end = new Date(held.until_us / 1000);
  const isToday = end.toDateString() === new Date().toDateString();
  return isToday ? clock(end) : `${end.toLocaleDateString(LANGUAGE, { weekday: "short", day: "numeric", month: "short" })} ${clock(end)}`;
}

export class Guests {
  #announced = new Set();
  #lost = false;

  constructor(latest, tiles) {
    this.latest = latest;
    this.tiles = tiles;
    $("all-off").addEventListener("click", () => this.#mask(MODALITIES, 0));
    $("guests").addEventListener("click", () => this.#mask(MODALITIES, GUEST_S));
    $("guests-hour").addEventListener("click", () => this.#mask(this.#timed(), Math.min(LONGEST_S, Math.ceil(this.#left_s()) + HOUR_S)));
    $("guests-stay").addEventListener("click", () => this.#mask(this.#timed(), 0));
  }

  show() {
    const timed = this.latest.connected ? this.#timed() : [];
    $("guests-on").hidden = !timed.length;
    $("guests").hidden = Boolean(timed.length);
    if (!timed.length) {
      this.#announced.clear();
      return;
    }
    const first = this.#first(timed), minutes = Math.floor(this.#left_s() / 60), time = untilText(first);
    const soon = minutes < NOTICE_MIN;
    const sensors = list(timed.map(nameOf));
    const shown = !soon ? t("sensors.guests_until", { time }) : t(minutes < 1 ? "sensors.opens_now" : "sensors.opens_soon", { sensors, time, minutes });
    text($("guests-note"), shown);
    $("guests-note").dataset.soon = soon;
    const step = !soon ? null : minutes < 1 ? "now" : "soon";
    if (step && !this.#announced.has(step)) {
      this.#announced.add(step);
      announce(shown);
    }
  }

  reconnected() {
    if (this.#lost) this.#note({ ok: true });
  }

  async #mask(modalities, seconds) {
    if (modalities.length) this.#note(await this.tiles.mask(modalities, seconds));
  }

  #note(answer) {
    this.#lost = Boolean(answer.lost);
    text($("all-note"), answer.ok ? "" : plain(answer.text));
  }

  // The sensors whose mask ends by itself.
  #timed() {
    const states = this.latest.privacy?.modalities ?? {};
    return MODALITIES.filter((m) => untilText(states[m]));
  }

  #first(timed) {
    return timed.map((m) => this.latest.privacy.modalities[m]).reduce((a, b) => a.until_us <= b.until_us ? a : b);
  }

  // By the host's clock where it is known: the browser's may differ.
  #left_s() {
    const { clock: report, privacy } = this.latest, timed = this.#timed();
    if (!timed.length) return 0;
    const now = report ? privacy.created_us + report.offset_us : Date.now() * 1000;
    return Math.max(0, (this.#first(timed).until_us - now) / 1e6);
  }
}
