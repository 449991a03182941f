// How things are called on the page.
export const MODALITIES = ["audio", "video", "text"];
export const EMOTIONS = ["neutral", "happy", "sad", "angry", "fear", "disgust", "surprise"];
export const SENSES = {
  audio: { name: "Microphone", channel: "voice", at: "Listening", icon: "M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3ZM6 11a6 6 0 0 0 12 0M12 17v4M9 21h6" },
  video: { name: "Camera", channel: "face", at: "Watching", icon: "M4 7h10a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2V9a2 2 0 0 1 2-2ZM16 11l6-3v8l-6-3" },
  text: { name: "Words", channel: "words", at: "Taking words down", icon: "M4 5h16a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H10l-5 4v-4H4a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1ZM7 9h10M7 13h6" },
};
export const COMBINATIONS = {
  atv: "all three", av: "voice and face", at: "voice and words", tv: "face and words", a: "voice alone", v: "face alone", t: "words alone",
};
const LETTER = { audio: "a", video: "v", text: "t" };
export const HEALTH = { absent: "No signal", frozen: "Stuck", warming: "Starting", failed: "Failed" };
export const STAGES = { capture: "Capture", encode: "Recognise", wait: "Wait for the beat", fuse: "Fuse", publish: "Publish", total: "In total" };

export const used = (combination, modality) => combination !== "none" && combination.includes(LETTER[modality]);
export const list = (words) => words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
export const percent = (share) => `${Math.round(100 * share)} %`;
export const capital = (word) => word[0].toUpperCase() + word.slice(1);
export const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(2)}`;
