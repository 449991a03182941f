// Hourly shares that this device keeps, by day or by week. Loaded while this part of the page is open.
import { $, announce, draw, make, text } from "./dom.js";
import { EMOTIONS, LANGUAGE, MODALITIES, emotionName, nameOf, percent, plain, t } from "./labels.js";
import { get, post } from "./server.js";
import { legend } from "./timeline.js";

const WIDTH = 1200, HEIGHT = 300, LANE = 20, GAP = 4;
const NOTHING = "no modality present";
const SPANS = { day: 1, week: 7 };
const MOST_BACK = 3650;

export class History {
  #span = "day";
  #back = 0; // days before today at which the view ends
  #last = "";

  constructor() {
    $("history").addEventListener("toggle", () => { if ($("history").open) this.#load(); });
    for (const span of Object.keys(SPANS)) $(`history-${span}`).addEventListener("click", () => this.#go(span, 0));
    $("history-earlier").addEventListener("click", () => this.#go(this.#span, Math.min(MOST_BACK, this.#back + SPANS[this.#span])));
    $("history-later").addEventListener("click", () => this.#go(this.#span, Math.max(0, this.#back - SPANS[this.#span])));
    $("history-csv").addEventListener("click", () => this.#download());
    $("history-erase-day").addEventListener("click", () => this.#erase(this.#last));
    for (const modality of MODALITIES) {
      const button = make("button", { type: "button", id: `history-erase-${modality}` }, t("history.erase_sensor", { sensor: nameOf(modality) }));
      button.addEventListener("click", () => this.#erase(modality));
      $("history-erase").append(button);
    }
    this.lanes = Object.fromEntries(MODALITIES.map((modality) => {
      const svg = draw("svg", { class: "lane", viewBox: `0 0 ${WIDTH} ${LANE}`, preserveAspectRatio: "none", role: "img" });
      $("history-lanes").append(make("span", { class: "lane-name", "aria-hidden": "true" }, nameOf(modality)), svg);
      return [modality, svg];
    }));
    legend($("history-legend"), t("history.not_masked"), [["e-none", t("history.withheld_short")]]);
  }

  #go(span, back) {
    this.#span = span;
    this.#back = back;
    this.#load();
  }

  async #load() {
    const response = await get(`/history?days=${SPANS[this.#span]}&back=${this.#back}`);
    text($("history-note"), response ? "" : t("head.no_answer"));
    if (!response) return;
    const found = await response.json();
    const isKept = found.on || found.hours.length > 0 || this.#back > 0;
    this.#last = found.last;
    text($("history-state"), found.on ? t("history.kept", { days: found.keep_days }) : t(isKept ? "history.paused" : "history.off"));
    $("history-how").hidden = found.on;
    $("history-view").hidden = !isKept;
    for (const span of Object.keys(SPANS)) $(`history-${span}`).setAttribute("aria-pressed", span === this.#span);
    $("history-later").disabled = this.#back === 0;
    $("history-erase-day").hidden = this.#span !== "day";
    text($("history-summary"), found.summary);
    this.#draw(this.#span === "day" ? hoursOf(found) : daysOf(found));
  }

  #draw(columns) {
    const width = WIDTH / columns.length, marks = [];
    columns.forEach((column, i) => marks.push(...stack(column, i * width, width - GAP)));
    $("history-chart").replaceChildren(...marks);
    $("history-chart").setAttribute("aria-label", $("history-summary").textContent);
    for (const modality of MODALITIES) {
      const boxes = columns.flatMap((column, i) => lane(column, modality, i * width, width - GAP));
      this.lanes[modality].replaceChildren(...boxes);
      const shares = columns.filter((c) => c.seconds).map((c) => c.masked[modality] ?? 0);
      const mean = shares.reduce((sum, share) => sum + share, 0) / (shares.length || 1);
      this.lanes[modality].setAttribute("aria-label", t("history.masked_share", { sensor: nameOf(modality), share: percent(mean) }));
    }
    const named = columns.filter((_, i) => columns.length < 24 || i % 6 === 0);
    $("history-times").replaceChildren(...named.map((column) => make("span", {}, column.name)));
    text($("history-when"), columns.length < 24 ? `${columns[0].date} – ${columns.at(-1).date}` : columns[0].date);
  }

  async #erase(what) {
    if (!confirm(t("history.sure"))) return;
    const answer = await post("/history/erase", { what });
    await this.#load();
    const shown = answer.ok ? t("history.done", { number: answer.receipts[0] }) : plain(answer.text);
    text($("history-note"), shown);
    announce(shown);
  }

  async #download() {
    const response = await get("/history.csv");
    text($("history-note"), response ? "" : t("head.no_answer"));
    if (!response) return;
    const link = make("a", { href: URL.createObjectURL(await response.blob()), download: "edge_mer-history.csv" });
    link.click();
    URL.revokeObjectURL(link.href);
  }
}

// The days of the host, as dates at noon, so that no change of time moves them.
const noon = (day) => new Date(`${day}T12:00:00`);
const dateOf = (day) => noon(day).toLocaleDateString(LANGUAGE, { weekday: "short", day: "numeric", month: "short" });

function hoursOf({ last, hours }) {
  const date = dateOf(last);
  return Array.from({ length: 24 }, (_, hour) => ({ ...merged(hours.filter((h) => h.hour === hour)), name: `${hour}:00`, date }));
}

function daysOf({ last, hours }) {
  return Array.from({ length: 7 }, (_, i) => {
    const at = noon(last);
    at.setDate(at.getDate() - 6 + i);
    const day = `${at.getFullYear()}-${String(at.getMonth() + 1).padStart(2, "0")}-${String(at.getDate()).padStart(2, "0")}`;
    return { ...merged(hours.filter((h) => h.day === day)), name: at.toLocaleDateString(LANGUAGE, { weekday: "short" }), date: dateOf(day) };
  });
}

// Several hours as one, each by its time.
function merged(hours) {
  const whole = { seconds: 0, labels: {}, reasons: {}, masked: {}, erased: new Set() };
  whole.seconds = hours.reduce((sum, hour) => sum + hour.seconds, 0);
  for (const hour of hours) {
    for (const kind of ["labels", "reasons", "masked"]) {
      for (const [name, share] of Object.entries(hour[kind])) whole[kind][name] = (whole[kind][name] ?? 0) + share * hour.seconds / (whole.seconds || 1);
    }
    hour.erased.forEach((modality) => whole.erased.add(modality));
  }
  return whole;
}

// From the bottom: the emotions, time without a label, and hatched the rest: nothing sensed, masked, or erased.
function stack(column, x, width) {
  if (!column.seconds) return [box("gap", x, 0, width, HEIGHT, t("history.empty"))];
  const withheld = Object.entries(column.reasons).reduce((sum, [reason, share]) => reason === NOTHING ? sum : sum + share, 0);
  const parts = [...EMOTIONS.map((emotion) => [`e-${emotion}`, column.labels[emotion] ?? 0, emotionName(emotion)]), ["e-none", withheld, t("history.withheld_short")]];
  parts.push(["gap", Math.max(0, 1 - parts.reduce((sum, [, share]) => sum + share, 0)), t("past.gap_all")]);
  let top = HEIGHT;
  return parts.filter(([, share]) => share > 0.001).map(([kind, share, name]) => {
    top -= share * HEIGHT;
    return box(kind, x, top, width, share * HEIGHT, `${column.name}: ${name} ${percent(share)}`);
  });
}

// One sensor of a column: used, and hatched where it was masked or erased.
function lane(column, modality, x, width) {
  const masked = column.erased.has(modality) || !column.seconds ? 1 : column.masked[modality] ?? 0;
  return [box("in-use", x, 0, width * (1 - masked), LANE), box("gap", x + width * (1 - masked), 0, width * masked, LANE, `${column.name}: ${percent(masked)}`)]
    .filter((mark) => Number(mark.getAttribute("width")) > 0);
}

function box(kind, x, y, width, height, label) {
  const mark = draw("rect", { class: kind, x, y, width, height });
  if (label) {
    const title = draw("title", {});
    title.textContent = label;
    mark.append(title);
  }
  return mark;
}
