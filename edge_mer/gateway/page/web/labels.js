// Names and number formats of the page.
import { LETTER } from "./modalities.js"; // generated from the table of modalities
export { COMBINATIONS, MODALITIES, SENSORS } from "./modalities.js";

export const EMOTIONS = ["neutral", "happy", "sad", "angry", "fear", "disgust", "surprise"];
export const HEALTH = { absent: "No signal", frozen: "Frozen", warming: "Starting", failed: "Failed", silent: "Silent" };
export const STAGES = { capture: "Capture", encode: "Encode", wait: "Wait for the tick", fuse: "Fuse", publish: "Publish", total: "Total" };

export const used = (combination, modality) => combination !== "none" && combination.includes(LETTER[modality]);
export const list = (items) => items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`;
export const percent = (share) => `${Math.round(100 * share)} %`;
export const capital = (word) => word[0].toUpperCase() + word.slice(1);
// 18:40, with the date when it is of another day.
export const clock = (us) => {
  const at = new Date(us / 1000), day = at.toDateString() === new Date().toDateString() ? {} : { day: "numeric", month: "short" };
  return at.toLocaleString([], { ...day, hour: "2-digit", minute: "2-digit" });
};
export const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(2)}`;
