// Texts, names and number formats of the page.
import { LANGUAGE, LETTER, REASONS, SENSORS, TEXT } from "./strings.js"; // generated from strings.toml and the modalities
import { settings } from "./settings.js";
export { COMBINATIONS, LANGUAGE, MODALITIES, SENSORS, TEXT } from "./strings.js";

export const EMOTIONS = ["neutral", "happy", "sad", "angry", "fear", "disgust", "surprise"];
export const STAGES = ["capture", "encode", "wait", "fuse", "publish", "total"];

const rules = REASONS.map(([match, template]) => [new RegExp(match), template]);
const fill = (template, values) => template.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");

export const t = (key, values = {}) => fill(TEXT[key], values);
export const nameOf = (modality) => settings.names[modality] || SENSORS[modality].name;
export const personName = (person) => person === "voice" ? t("people.voice") : person === "all" ? t("people.all") : t("people.person", { number: person.slice(1) });
export const persons = (names) => list(names.map(personName));
export const emotionName = (emotion) => TEXT[`emotion.${emotion}`] ?? emotion;
export const used = (combination, modality) => combination !== "none" && combination.includes(LETTER[modality]);
export const list = (items, word = "and") => items.length < 2 ? items.join("") : t(`channel.${word}`, { first: items.slice(0, -1).join(", "), last: items.at(-1) });
export const percent = (share) => `${Math.round(100 * share)} %`;
export const capital = (word) => word.slice(0, 1).toUpperCase() + word.slice(1);
export const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toLocaleString(LANGUAGE, { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
export const clock = (date) => date.toLocaleTimeString(LANGUAGE, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

// A reason of a message in plain words; one that the table does not know is shown as it is.
export function plain(reason, values = {}) {
  for (const [match, template] of rules) {
    const found = match.exec(reason);
    if (found) return fill(template, { ...values, ...translated(found.groups ?? {}) });
  }
  return capital(reason);
}

function translated(groups) {
  const found = { ...groups };
  if (found.channels) found.channels = list(found.channels.split(", ").map((name) => SENSORS[name]?.channel ?? name));
  if (found.sensor) found.sensor = SENSORS[found.sensor]?.name ?? found.sensor;
  if (found.count) found.count = TEXT[`count.${found.count}`] ?? found.count;
  if (found.reason) found.reason = plain(found.reason);
  return found;
}
