// Stacked probabilities of the last two minutes, and one lane per sensor. Missing data is drawn as a gap.
import { $, draw, make, text } from "./dom.js";
import { EMOTIONS, MODALITIES, emotionName, nameOf, percent, t, used } from "./labels.js";

const SPAN_US = 120e6, WIDTH = 1200, HEIGHT = 300, LANE = 20, SUMMARY_MS = 10_000;
const LONGEST_STEP = 1.7; // in hops; longer is a gap

export class Timeline {
  #windows = new Map();
  #summarized = 0;
  #hop = 500_000;

  constructor() {
    this.lanes = Object.fromEntries(MODALITIES.map((modality) => {
      const svg = draw("svg", { class: "lane", viewBox: `0 0 ${WIDTH} ${LANE}`, preserveAspectRatio: "none", role: "img", "data-lane": modality });
      const name = make("span", { class: "lane-name", "aria-hidden": "true" }, nameOf(modality));
      $("lanes").append(name, svg);
      return [modality, { svg, name }];
    }));
    legend($("legend"));
  }

  add(message) {
    if (this.boot !== message.boot) this.#windows.clear(); // fusion restarted, and its times are on a new clock
    this.boot = message.boot;
    this.#windows.set(message.origin_us, message);
    const newest = Math.max(...this.#windows.keys());
    for (const at of this.#windows.keys()) if (at < newest - SPAN_US) this.#windows.delete(at);
    if (message.origin_us < newest) return; // drawn with the next message
    const windows = [...this.#windows.values()].sort((a, b) => a.origin_us - b.origin_us);
    const steps = windows.slice(1).map((w, i) => w.origin_us - windows[i].origin_us);
    if (steps.length) this.#hop = Math.min(...steps);
    this.#draw(windows, (at) => WIDTH * (1 - (newest - at) / SPAN_US));
    if (performance.now() - this.#summarized > SUMMARY_MS) {
      this.#summarized = performance.now();
      $("chart").setAttribute("aria-label", summary(windows));
    }
  }

  #draw(windows, x) {
    const marks = [], runs = this.#runs(windows, (w) => w.probabilities !== null);
    for (const run of runs) {
      if (!run.there) {
        marks.push(this.#gap(run, x, HEIGHT, t("past.gap_all")));
        continue;
      }
      const below = run.windows.map(() => 0);
      for (const emotion of EMOTIONS) {
        const lower = [...below];
        run.windows.forEach((w, i) => { below[i] += w.probabilities[emotion] ?? 0; });
        marks.push(draw("path", { class: `e-${emotion}`, d: band(run.windows.map((w) => w.origin_us), lower, below, x, this.#hop) }));
      }
    }
    $("chart-marks").replaceChildren(...marks);
    for (const modality of MODALITIES) {
      const { svg, name } = this.lanes[modality], sensor = nameOf(modality);
      text(name, sensor);
      svg.replaceChildren(...this.#runs(windows, (w) => used(w.combination, modality)).map((run) => run.there
        ? this.#box("rect", { class: "in-use" }, run, x, LANE)
        : this.#gap(run, x, LANE, t("past.unused", { sensor }))));
      const share = windows.filter((w) => used(w.combination, modality)).length / windows.length;
      svg.setAttribute("aria-label", t("past.used_share", { sensor, share: percent(share) }));
    }
  }

  // Consecutive windows with the same value of `there`; missing windows form a run of their own.
  #runs(windows, there) {
    const runs = [];
    for (const w of windows) {
      const last = runs.at(-1), value = there(w) || false;
      const isMissing = last && w.origin_us - last.to > LONGEST_STEP * this.#hop;
      if (isMissing) runs.push({ there: false, from: last.to, to: w.origin_us - this.#hop, windows: [] });
      const open = runs.at(-1);
      if (open && !isMissing && open.there === value) { open.to = w.origin_us; open.windows.push(w); }
      else runs.push({ there: value, from: w.origin_us - this.#hop, to: w.origin_us, windows: [w] });
    }
    return runs;
  }

  #box(name, attributes, run, x, height) {
    return draw(name, { ...attributes, x: x(run.from), y: 0, width: Math.max(1, x(run.to) - x(run.from)), height });
  }

  #gap(run, x, height, label) {
    const box = this.#box("rect", { class: "gap" }, run, x, height);
    const title = draw("title", {});
    title.textContent = label;
    box.append(title);
    return box;
  }
}

// One emotion's share of a run, as a closed path. The first window is drawn as wide as a hop.
function band(times, lower, upper, x, hop) {
  const at = [times[0] - hop, ...times].map((t) => x(t).toFixed(1));
  const y = (share) => (HEIGHT * (1 - Math.min(1, share))).toFixed(1);
  const [high, low] = [[upper[0], ...upper], [lower[0], ...lower]];
  const there = at.map((t, i) => `${t} ${y(high[i])}`);
  const back = at.map((t, i) => `${t} ${y(low[i])}`).reverse();
  return `M${there.join("L")}L${back.join("L")}Z`;
}

// One legend for the probabilities and the lanes: each colour has one meaning.
export function legend(place, inUse = t("past.in_use"), more = []) {
  const entries = [...EMOTIONS.map((emotion) => [`e-${emotion}`, emotionName(emotion)]), ...more, ["in-use", inUse], ["hatched", t("past.gap")]];
  place.replaceChildren(...entries.map(([kind, label]) => make("li", {}, make("span", { class: kind, "aria-hidden": "true" }), label)));
}

function summary(windows) {
  const sensed = windows.filter((w) => w.probabilities);
  const means = EMOTIONS.map((e) => [e, sensed.reduce((sum, w) => sum + (w.probabilities[e] ?? 0), 0) / (sensed.length || 1)]);
  const top = means.sort((a, b) => b[1] - a[1]).slice(0, 3).map(([e, mean]) => `${emotionName(e)} ${percent(mean)}`);
  const gap = 1 - sensed.length / windows.length;
  const found = sensed.length ? t("past.summary", { labels: top.join(", ") }) : t("past.no_emotion");
  return gap ? `${found} ${t("past.gap_share", { share: percent(gap) })}` : found;
}
