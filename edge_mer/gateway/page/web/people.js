// A tile per person where several are in view, and masks of single persons. There is no picture.
import { $, announce, make, text } from "./dom.js";
import { unmask } from "./pairing.js";
import { post } from "./server.js";
import { COMBINATIONS, capital, emotionName, percent, personName, persons, plain, t } from "./labels.js";

const STALE_MS = 3500;
const PARTS = ["who", "what", "speaks", "fine"];
const order = (a, b) => Number(b.focus) - Number(a.focus) || Number(a.person.slice(1)) - Number(b.person.slice(1));

export class People {
  #tiles = new Map();
  #estimates = new Map();
  #seen = null;
  #seenAt = 0;
  #busy = false;

  constructor(latest) {
    this.latest = latest;
    $("people-unmask").addEventListener("click", () => this.#unmask(["all"]));
  }

  people(message) {
    this.#seen = message;
    this.#seenAt = performance.now();
    const there = new Set([...message.people.map((p) => p.person), message.voice]);
    for (const person of this.#estimates.keys()) if (!there.has(person)) this.#estimates.delete(person);
    this.show();
  }

  // Of who is in focus, or of another person.
  estimate(message) {
    if (message.person) this.#estimates.set(message.person, message);
  }

  forget() {
    this.#seen = null;
    this.#estimates.clear();
  }

  show() {
    const held = this.latest.privacy?.people;
    const isMasked = Boolean(held && (held.everybody || held.persons.length));
    const shown = this.#shown(isMasked);
    $("people").hidden = !shown.length && !isMasked;
    for (const [person, tile] of this.#tiles) {
      if (shown.some((p) => p.person === person)) continue;
      tile.root.remove();
      this.#tiles.delete(person);
    }
    shown.forEach((person, place) => this.#show(person, place));
    $("people-masked").hidden = !isMasked;
    $("people-unmask").disabled = this.#busy;
    if (isMasked) this.#showMask(held);
  }

  // Nobody where one person is in view and nobody is masked: then the page is as without people.
  #shown(isMasked) {
    if (!this.latest.connected || this.#seen === null || performance.now() - this.#seenAt > STALE_MS) return [];
    const { people, voice } = this.#seen;
    if (people.length < 2 && !isMasked) return [];
    const combination = this.#estimates.get("voice")?.combination ?? "none";
    const heard = voice === "voice" ? [{ person: "voice", speaking: "speaking", combination, focus: false, masked: false }] : [];
    return [...[...people].sort(order), ...heard];
  }

  #showMask(held) {
    const who = held.everybody ? t("people.all") : persons(held.persons);
    const receipt = [...this.latest.receipts.values()].find((r) => r.persons && r.mask_epoch === held.mask_epoch);
    const content = receipt ? t("people.proven", { who, number: receipt.number }) : t("people.who", { who });
    if ($("people-who").textContent !== content) announce(content);
    text($("people-who"), content);
  }

  #show(person, place) {
    const tile = this.#tiles.get(person.person) ?? this.#tile(person.person), list = $("people-tiles");
    if (list.children[place] !== tile.root) list.insertBefore(tile.root, list.children[place] ?? null);
    const { parts } = tile, { masked, focus } = person, name = personName(person.person);
    const found = masked ? null : this.#estimates.get(person.person);
    tile.masked = masked;
    tile.root.dataset.focus = focus;
    tile.root.dataset.masked = masked;
    parts.what.dataset.quiet = !found?.label;
    text(parts.who, focus ? t("people.focus", { person: name }) : name);
    text(parts.what, masked ? t("people.masked") : expressed(found));
    text(parts.speaks, !masked && person.speaking === "speaking" ? t("people.speaks") : "");
    text(parts.fine, masked ? t("people.masked_why") : capital(COMBINATIONS[person.combination] ?? t("now.no_sensor")));
    text(tile.action, t(this.#busy ? "people.busy" : masked ? "people.unmask" : "people.mask"));
    tile.action.disabled = this.#busy;
    tile.why.hidden = masked;
  }

  #tile(person) {
    const root = make("li"), parts = Object.fromEntries(PARTS.map((part) => [part, make("span", { class: part })]));
    const action = make("button", { type: "button" }), why = make("p", {}, t("people.mask_why"));
    const tile = { root, parts, action, why, masked: false };
    if (person === "voice") {
      root.append(make("div", { class: "person" }, ...Object.values(parts)));
    } else {
      const id = `offer-${person}`, offer = make("div", { class: "offer", id, hidden: "" }, action, why);
      const button = make("button", { type: "button", class: "person", "aria-expanded": "false", "aria-controls": id }, ...Object.values(parts));
      button.addEventListener("click", () => {
        offer.hidden = !offer.hidden;
        button.setAttribute("aria-expanded", String(!offer.hidden));
      });
      action.addEventListener("click", () => tile.masked ? this.#unmask([person]) : this.#mask([person]));
      root.append(button, offer);
    }
    this.#tiles.set(person, tile);
    return tile;
  }

  #mask(names) {
    return this.#ask(() => post("/mask", { modalities: [], persons: names }));
  }

  #unmask(names) {
    return this.#ask(() => unmask(this.latest, [], () => {}, names));
  }

  async #ask(request) {
    if (this.#busy) return;
    this.#busy = true;
    text($("people-note"), "");
    this.show();
    const answer = await request();
    this.#busy = false;
    text($("people-note"), answer.ok ? "" : plain(answer.text));
    this.show();
  }
}

function expressed(estimate) {
  if (!estimate) return t("people.waiting");
  return estimate.label ? `${capital(emotionName(estimate.label))}, ${percent(estimate.confidence ?? 0)}` : plain(estimate.abstain ?? "");
}
