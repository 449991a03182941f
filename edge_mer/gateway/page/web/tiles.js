// One tile per sensor. A switch shows the measured state: it turns off when the receipt arrives, not when it is pressed.
import { $, announce, text } from "./dom.js";
import { unmask } from "./pairing.js";
import { post } from "./server.js";
import { HEALTH, MODALITIES, SENSORS, capital, clock, used } from "./labels.js";

const SILENT_MS = 3500, PROOF_MS = 5000, GUEST_S = 3 * 3600;

export class Tiles {
  constructor(latest) {
    this.latest = latest;
    this.tiles = Object.fromEntries(MODALITIES.map((modality) => [modality, this.#tile(modality)]));
    $("all-off").addEventListener("click", () => this.#all(0));
    $("guests").addEventListener("click", () => this.#all(GUEST_S));
  }

  show() {
    for (const modality of MODALITIES) this.#show(modality, this.tiles[modality]);
  }

  #tile(modality) {
    const root = $("tile").content.cloneNode(true).firstElementChild;
    const tile = { root, button: root.querySelector("button"), pending: null };
    for (const part of ["state", "reason", "fine", "note"]) tile[part] = root.querySelector(`.${part}`);
    root.id = `tile-${modality}`;
    root.querySelector("path").setAttribute("d", SENSORS[modality].icon);
    const title = root.querySelector("h2");
    title.textContent = SENSORS[modality].name;
    title.id = `name-${modality}`;
    tile.state.id = `state-${modality}`;
    tile.reason.id = `reason-${modality}`;
    tile.button.setAttribute("aria-labelledby", title.id);
    tile.button.setAttribute("aria-describedby", `${tile.state.id} ${tile.reason.id}`);
    tile.button.addEventListener("click", () => this.#press(modality, tile));
    $("tiles").append(root);
    return tile;
  }

  #show(modality, tile) {
    const seen = this.#seen(modality, tile);
    const before = tile.state.textContent;
    tile.root.dataset.state = seen.tone;
    tile.button.setAttribute("aria-checked", seen.on);
    tile.button.setAttribute("aria-busy", Boolean(seen.busy || tile.pending));
    tile.button.setAttribute("aria-disabled", Boolean(seen.locked));
    text(tile.state, seen.state);
    text(tile.reason, seen.reason ?? "");
    text(tile.fine, seen.fine ?? "");
    if (before && before !== seen.state) announce(`${SENSORS[modality].name}: ${seen.state}. ${seen.fine ?? ""}`);
  }

  // The state to show, computed from the newest messages only.
  #seen(modality, tile) {
    const { latest } = this, held = latest.privacy?.modalities[modality];
    if (!latest.connected || !held) return { tone: "off", on: false, state: "Unknown", reason: "Waiting for the device", locked: true };
    if (performance.now() - latest.privacyAt > SILENT_MS) {
      return { tone: "bad", on: false, state: "Unknown", reason: "The privacy switch does not respond. All sensors close within 2 seconds.", locked: true };
    }
    if (held.requested === "live") return this.#open(modality, held, tile);
    const receipt = this.#receipt(modality, held.mask_epoch);
    if (held.effective !== "live" && receipt) {
      const hard = held.requested === "hard";
      const closed = `Closed, proven by receipt ${receipt.number}`;
      const until = held.until_us ? `Until ${clock(held.until_us)}. ` : "";
      return tile.pending === "unmask"
        ? { tone: "closing", on: false, busy: true, state: "Turning on…" }
        : { tone: "off", on: false, state: hard ? "Locked off" : "Off", locked: hard, reason: until + capital(held.reason ?? ""), fine: hard ? `${closed}. Only the button on the device unlocks it.` : closed };
    }
    if (tile.pending === "mask" || latest.privacy.created_us - held.since_us < PROOF_MS * 1000) {
      return { tone: "closing", on: true, busy: true, state: "Turning off…", reason: "Waiting for the receipt that proves it is closed" };
    }
    const fine = (held.unconfirmed ?? []).join("; ");
    return held.effective === "live"
      ? { tone: "bad", on: true, state: "Still open!", reason: "It was masked, but has not confirmed that it is closed.", fine }
      : { tone: "bad", on: false, state: "Off, not proven", reason: "It is closed, but no receipt has arrived yet.", fine };
  }

  #open(modality, held, tile) {
    if (tile.pending === "mask") return { tone: "closing", on: true, busy: true, state: "Turning off…", reason: "Waiting for the receipt that proves it is closed" };
    if (held.effective !== "live") return { tone: "closing", on: true, busy: true, state: "Opening…", reason: "Allowed, but not open yet: its process is starting or is not configured" };
    const sensor = this.latest.sensors[modality];
    if (!sensor || performance.now() - sensor.receivedAt > SILENT_MS) return { tone: "warn", on: true, state: "On, no sensor", reason: "Its process is stopped or restarting" };
    if (sensor.health !== "ok") {
      return { tone: sensor.health === "warming" ? "closing" : "warn", on: true, state: HEALTH[sensor.health] ?? sensor.health, reason: capital(sensor.reason ?? sensor.device), fine: "On" };
    }
    return { tone: "on", on: true, state: SENSORS[modality].at, reason: this.#use(modality), fine: `On. ${sensor.device}${sensor.dropped ? `, ${sensor.dropped} lost` : ""}` };
  }

  #use(modality) {
    const { estimate } = this.latest;
    if (!estimate) return "";
    if (used(estimate.combination, modality)) return "Used for the estimate";
    const presence = estimate.presence[modality];
    return `Not used now: ${presence?.reason ?? presence?.state ?? "no data"}`;
  }

  #receipt(modality, epoch) {
    let newest = null;
    for (const receipt of this.latest.receipts.values()) {
      if (receipt.modality === modality && receipt.mask_epoch >= epoch && (!newest || receipt.number > newest.number)) newest = receipt;
    }
    return newest;
  }

  async #press(modality, tile) {
    if (tile.button.getAttribute("aria-disabled") === "true") return;
    const on = tile.button.getAttribute("aria-checked") === "true";
    if (tile.pending === "mask" || (tile.pending && !on)) return; // masking never waits for another request
    text(tile.note, "");
    tile.pending = on ? "mask" : "pairing";
    this.show();
    const answer = on ? await post("/mask", { modalities: [modality] }) : await unmask(this.latest, [modality], () => { tile.pending = "unmask"; this.show(); });
    tile.pending = null;
    text(tile.note, answer.ok ? "" : answer.text);
    this.show();
  }

  async #all(seconds) {
    const tiles = Object.values(this.tiles);
    for (const tile of tiles) tile.pending = "mask";
    this.show();
    const answer = await post("/mask", { modalities: MODALITIES, for_s: seconds });
    for (const tile of tiles) tile.pending = null;
    text($("all-note"), answer.ok ? "" : answer.text);
    this.show();
  }
}
