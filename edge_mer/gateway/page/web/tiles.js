// One tile per sensor. A switch shows the measured state: it turns off when the receipt arrives, not when it is pressed.
import { $, announce, text } from "./dom.js";
import { untilText } from "./guests.js";
import { unmask } from "./pairing.js";
import { post } from "./server.js";
import { MODALITIES, SENSORS, TEXT, nameOf, plain, t, used } from "./labels.js";

const SILENT_MS = 3500, PROOF_MS = 5000;
const CLOSING = { tone: "closing", on: true, busy: true, state: t("tile.turning_off"), reason: t("tile.awaiting") };

export class Tiles {
  constructor(latest) {
    this.latest = latest;
    this.tiles = Object.fromEntries(MODALITIES.map((modality) => [modality, this.#tile(modality)]));
  }

  show() {
    for (const modality of MODALITIES) this.#show(modality, this.tiles[modality]);
  }

  // Masks several sensors, for `seconds` or, with 0, until somebody turns them on; returns the answer.
  async mask(modalities, seconds) {
    const tiles = modalities.map((modality) => this.tiles[modality]);
    for (const tile of tiles) tile.pending = "mask";
    this.show();
    const answer = await post("/mask", { modalities, for_s: seconds });
    for (const tile of tiles) tile.pending = null;
    this.show();
    return answer;
  }

  // The connection is back: notes about missing answers are out of date.
  reconnected() {
    for (const tile of Object.values(this.tiles)) if (tile.isLost) this.#note(tile, { ok: true });
  }

  #note(tile, answer) {
    tile.isLost = Boolean(answer.lost);
    text(tile.note, answer.ok ? "" : plain(answer.text));
  }

  #tile(modality) {
    const root = $("tile").content.cloneNode(true).firstElementChild;
    const tile = { root, button: root.querySelector("button"), title: root.querySelector("h2"), pending: null, isLost: false };
    for (const part of ["state", "reason", "fine", "note"]) tile[part] = root.querySelector(`.${part}`);
    root.id = `tile-${modality}`;
    root.querySelector("path").setAttribute("d", SENSORS[modality].icon);
    tile.title.id = `name-${modality}`;
    tile.state.id = `state-${modality}`;
    tile.reason.id = `reason-${modality}`;
    tile.button.setAttribute("aria-labelledby", tile.title.id);
    tile.button.setAttribute("aria-describedby", `${tile.state.id} ${tile.reason.id}`);
    tile.button.addEventListener("click", () => this.#press(modality, tile));
    $("tiles").append(root);
    return tile;
  }

  #show(modality, tile) {
    const seen = this.#seen(modality, tile);
    const before = tile.state.textContent;
    text(tile.title, nameOf(modality));
    tile.root.dataset.state = seen.tone;
    tile.button.setAttribute("aria-checked", seen.on);
    tile.button.setAttribute("aria-busy", Boolean(seen.busy || tile.pending));
    tile.button.setAttribute("aria-disabled", Boolean(seen.locked));
    text(tile.state, seen.state);
    text(tile.reason, seen.reason ?? "");
    text(tile.fine, seen.fine ?? "");
    if (before && before !== seen.state) announce(`${nameOf(modality)}: ${seen.state}. ${seen.fine ?? ""}`);
  }

  // The state to show, computed from the newest messages only.
  #seen(modality, tile) {
    const { latest } = this, held = latest.privacy?.modalities[modality];
    if (!latest.connected || !held) return { tone: "off", on: false, state: t("tile.unknown"), reason: t("tile.waiting"), locked: true };
    if (performance.now() - latest.privacyAt > SILENT_MS) {
      return { tone: "bad", on: false, state: t("tile.unknown"), reason: t("tile.no_switch"), locked: true };
    }
    if (held.requested === "live") return this.#open(modality, held, tile);
    const receipt = this.#receipt(modality, held.mask_epoch);
    if (held.effective !== "live" && receipt) {
      const hard = held.requested === "hard";
      const closed = t("tile.closed", { number: receipt.number });
      const until = untilText(held);
      return tile.pending === "unmask"
        ? { tone: "closing", on: false, busy: true, state: t("tile.turning_on") }
        : { tone: "off", on: false, state: hard ? t("tile.locked") : until ? t("tile.off_until", { time: until }) : t("tile.off"), locked: hard, reason: plain(held.reason ?? ""), fine: hard ? `${closed}. ${t("tile.only_button")}` : closed };
    }
    if (tile.pending === "mask" || latest.privacy.created_us - held.since_us < PROOF_MS * 1000) return CLOSING;
    const fine = (held.unconfirmed ?? []).join("; ");
    return held.effective === "live"
      ? { tone: "bad", on: true, state: t("tile.open"), reason: t("tile.open_why"), fine }
      : { tone: "bad", on: false, state: t("tile.unproven"), reason: t("tile.unproven_why"), fine };
  }

  #open(modality, held, tile) {
    if (tile.pending === "mask") return CLOSING;
    if (held.effective !== "live") return { tone: "closing", on: true, busy: true, state: t("tile.opening"), reason: t("tile.opening_why") };
    const sensor = this.latest.sensors[modality];
    if (!sensor || performance.now() - sensor.receivedAt > SILENT_MS) return { tone: "warn", on: true, state: t("tile.missing"), reason: t("tile.missing_why") };
    if (sensor.health !== "ok") {
      return { tone: sensor.health === "warming" ? "closing" : "warn", on: true, state: TEXT[`health.${sensor.health}`] ?? sensor.health, reason: plain(sensor.reason ?? sensor.device), fine: t("tile.on") };
    }
    const lost = sensor.dropped ? t(TEXT[`tile.lost_${modality}`] ? `tile.lost_${modality}` : "tile.lost", { count: sensor.dropped }) : "";
    return { tone: "on", on: true, state: SENSORS[modality].at, reason: this.#use(modality), fine: [`${t("tile.on")}. ${sensor.device}`, lost].filter(Boolean).join(". ") };
  }

  #use(modality) {
    const { estimate } = this.latest;
    if (!estimate) return "";
    if (used(estimate.combination, modality)) return t("tile.used");
    const presence = estimate.presence[modality];
    return t("tile.unused", { reason: plain(presence?.reason ?? presence?.state ?? "no data") });
  }

  #receipt(modality, epoch) {
    let newest = null;
    for (const receipt of this.latest.receipts.values()) {
      if (receipt.modality === modality && !receipt.persons && receipt.mask_epoch >= epoch && (!newest || receipt.number > newest.number)) newest = receipt;
    }
    return newest;
  }

  async #press(modality, tile) {
    if (tile.button.getAttribute("aria-disabled") === "true") return;
    const on = tile.button.getAttribute("aria-checked") === "true";
    if (tile.pending === "mask" || (tile.pending && !on)) return; // masking never waits for another request
    text(tile.note, "");
    if (on) return this.#note(tile, await this.mask([modality], 0));
    tile.pending = "pairing";
    this.show();
    const answer = await unmask(this.latest, [modality], () => { tile.pending = "unmask"; this.show(); });
    tile.pending = null;
    this.#note(tile, answer);
    this.show();
  }
}
