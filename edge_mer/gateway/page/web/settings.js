// Settings of this browser: how the page shows things. They stay in the browser.
import { $, make } from "./dom.js";

const KEY = "edge_mer.settings";
const DEFAULTS = { names: {}, steady_s: 0, sets: true };

export const settings = { ...DEFAULTS, ...stored() };

function stored() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}");
  } catch {
    return {};
  }
}

// Fills the form. `sensors`: modality, its standard name and its label. `changed` is called after each change.
export function settingsForm(sensors, changed) {
  const save = () => { localStorage.setItem(KEY, JSON.stringify(settings)); changed(); };
  $("steady").value = settings.steady_s;
  $("steady").addEventListener("change", () => { settings.steady_s = Math.min(10, Math.max(0, Number($("steady").value) || 0)); save(); });
  $("sets").checked = settings.sets;
  $("sets").addEventListener("change", () => { settings.sets = $("sets").checked; save(); });
  $("names").replaceChildren(...sensors.map(([modality, standard, label]) => {
    const field = make("input", { id: `name-of-${modality}`, maxlength: "24", placeholder: standard, autocomplete: "off" });
    field.value = settings.names[modality] ?? "";
    field.addEventListener("change", () => { settings.names[modality] = field.value.trim(); save(); });
    return make("p", {}, make("label", { for: field.id }, label), field);
  }));
}
