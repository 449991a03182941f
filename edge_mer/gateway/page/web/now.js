// The newest estimate.
import { $, announce, make, text } from "./dom.js";
import { COMBINATIONS, EMOTIONS, capital, percent, signed } from "./labels.js";

const STEADY = 4; // estimates in a row before a label is announced
let previous = "", times = 0, announced = "";

const shares = EMOTIONS.map((emotion) => {
  const bar = make("i", { class: `e-${emotion}`, "aria-hidden": "true" }), number = make("b");
  const row = make("li", {}, emotion, make("span", {}, bar), number);
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
  const { label, abstain, confidence, sentiment } = message;
  const shown = label ? capital(label) : message.combination === "none" ? "Nothing is sensed" : "Not sure";
  const sure = confidence === null ? capital(abstain ?? "") : `${percent(confidence)} sure${message.calibrated ? "" : ", not calibrated"}`;
  $("label").dataset.quiet = !label;
  text($("label"), shown);
  text($("sure"), label || !abstain ? sure : capital(abstain));
  $("sure-bar").style.width = percent(label ? confidence ?? 0 : 0).replace(" ", "");
  text($("from"), capital(COMBINATIONS[message.combination] ?? "no sensor"));
  text($("sentiment"), sentiment === null ? `None: ${message.sentiment_reason}` : `${tone(sentiment)} (${signed(sentiment)} of ±3)`);
  $("sentiment-mark").parentElement.hidden = sentiment === null;
  $("sentiment-mark").style.left = `${((sentiment ?? 0) + 3) / 6 * 100}%`;
  probabilities(message.probabilities, label);
  announceSteady(shown);
}

export function stale() {
  $("label").dataset.quiet = true;
  text($("label"), "No new estimate");
  text($("sure"), "No estimate has arrived recently");
  $("sure-bar").style.width = "0";
  text($("from"), "–");
  text($("sentiment"), "–");
  $("sentiment-mark").parentElement.hidden = true;
  probabilities(null, null);
}

const tone = (sentiment) => sentiment > 0.5 ? "Positive" : sentiment < -0.5 ? "Negative" : "Neutral";

function announceSteady(shown) {
  times = shown === previous ? times + 1 : 1;
  previous = shown;
  if (times === STEADY && shown !== announced) {
    announced = shown;
    announce(`Expressed: ${shown}`);
  }
}
