// DOM helpers. Network data is only ever inserted as text, never as markup.
const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

export function text(element, content) {
  if (element.textContent !== content) element.textContent = content;
}

export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function draw(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

export function rows(table, cells) {
  table.tBodies[0].replaceChildren(...cells.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell)))));
}

// A bar from `from` to `to`, both as fractions of its width.
export function meter(from, to, less = false) {
  const bar = make("i", less ? { class: "less" } : {});
  bar.style.left = `${100 * Math.min(from, to)}%`;
  bar.style.width = `${100 * Math.abs(to - from)}%`;
  return make("span", { class: "meter", "aria-hidden": "true" }, bar);
}

// For screen readers.
export function announce(content) {
  text($("announcement"), content);
}
