// The newest estimate.
import { $, announce, make, text } from "./dom.js";
import { COMBINATIONS, EMOTIONS, MODALITIES, SENSORS, capital, emotionName, list, percent, plain, signed, t, used } from "./labels.js";
import { settings } from "./settings.js";

const STEADY = 4; // estimates in a row before a label is announced
const MOST_NAMED = 3;
let previous = "", times = 0, announced = "", candidate = { label: null, since: 0 };

const shares = EMOTIONS.map((emotion) => {
  const bar = make("i", { class: `e-${emotion}`, "aria-hidden": "true" }), number = make("b");
  const row = make("li", {}, emotionName(emotion), make("span", {}, bar), number);
  $("shares").append(row);
  return { emotion, row, bar, number };
});

function probabilities(found, top) {
  for (const { emotion, row, bar, number } of shares) {
    bar.style.width = found ? `${100 * found[emotion]}%` : "0";
    text(number, found ? percent(found[emotion]) : "–");
    row.dataset.top = emotion === top;
  }
}

export function estimate(message) {
  const { confidence, combination, sentiment } = message;
  const label = steady(message);
  const shown = label ? capital(emotionName(label)) : combination === "none" ? t("now.nothing") : message.label ? t("now.settling") : t("now.unsure");
  $("label").dataset.quiet = !label;
  text($("label"), shown);
  text($("sure"), label ? t(message.calibrated ? "now.sure" : "now.uncalibrated", { share: percent(confidence) }) : reason(message));
  $("sure-bar").style.width = percent(label ? confidence ?? 0 : 0).replace(" ", "");
  text($("from"), capital(COMBINATIONS[combination] ?? t("now.no_sensor")));
  const channels = list(MODALITIES.filter((m) => used(combination, m)).map((m) => SENSORS[m].channel));
  text($("sentiment"), sentiment === null ? plain(message.sentiment_reason ?? "", { from: channels }) : t(`now.${tone(sentiment)}`, { value: signed(sentiment) }));
  mark(sentiment);
  probabilities(message.probabilities, label);
  announceSteady(shown);
}

export function stale() {
  $("label").dataset.quiet = true;
  text($("label"), t("now.stale"));
  text($("sure"), t("now.stale_why"));
  $("sure-bar").style.width = "0";
  text($("from"), "–");
  text($("sentiment"), "–");
  mark(null);
  probabilities(null, null);
}

function mark(sentiment) {
  $("sentiment-mark").parentElement.hidden = sentiment === null;
  $("sentiment-mark").style.left = `${((sentiment ?? 0) + 3) / 6 * 100}%`;
}

// The label, once it lasted for the time in the settings.
function steady({ label, origin_us: at }) {
  if (label !== candidate.label || at < candidate.since) candidate = { label, since: at };
  return at - candidate.since >= settings.steady_s * 1e6 ? label : null;
}

function reason({ abstain, label, prediction_set: set }) {
  if (label) return "";
  const named = settings.sets && set && set.length > 1 && set.length <= MOST_NAMED;
  const either = named ? `${t("now.either", { labels: list(set.map(emotionName), "or") })}. ` : "";
  return `${either}${plain(abstain ?? "")}`;
}

const tone = (sentiment) => sentiment > 0.5 ? "positive" : sentiment < -0.5 ? "negative" : "neutral";

function announceSteady(shown) {
  times = shown === previous ? times + 1 : 1;
  previous = shown;
  if (times === STEADY && shown !== announced) {
    announced = shown;
    announce(t("now.expressed", { label: shown }));
  }
}
