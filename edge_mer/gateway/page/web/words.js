// How things are called on the page.
import { LETTER } from "./modalities.js"; // made from the table of modalities
export { COMBINATIONS, MODALITIES, SENSES } from "./modalities.js";

export const EMOTIONS = ["neutral", "happy", "sad", "angry", "fear", "disgust", "surprise"];
export const HEALTH = { absent: "No signal", frozen: "Stuck", warming: "Starting", failed: "Failed" };
export const STAGES = { capture: "Capture", encode: "Recognise", wait: "Wait for the beat", fuse: "Fuse", publish: "Publish", total: "In total" };

export const used = (combination, modality) => combination !== "none" && combination.includes(LETTER[modality]);
export const list = (words) => words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
export const percent = (share) => `${Math.round(100 * share)} %`;
export const capital = (word) => word[0].toUpperCase() + word.slice(1);
export const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(2)}`;
