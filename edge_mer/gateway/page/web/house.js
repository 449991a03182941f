// The page of all rooms. A room that is silent is shown as unknown, never as off.
import { $, announce, make, text } from "./dom.js";
import { clock, emotionName, list, nameOf, plain, t } from "./labels.js";
import { listen, post, token } from "./server.js";

const GUEST_S = 3 * 3600, SILENT_MS = 3500, ROUND_MS = 3000;
let latest = null, receivedAt = 0, connected = false, pressed = false, stop = () => {};

const at = (us) => clock(new Date(us / 1000));
const known = () => connected && latest !== null && performance.now() - receivedAt < SILENT_MS;

function roomSeen(room) {
  if (!known()) return { tone: "off", state: t("house.unknown"), reason: "" };
  if (!room.reachable) return { tone: "bad", state: t("house.unknown"), reason: plain(room.reason) };
  const live = Object.keys(room.gates).filter((m) => room.gates[m] === "live");
  const closed = Object.keys(room.gates).filter((m) => room.gates[m] !== "live");
  const off = closed.length ? t("house.closed", { sensors: list(closed.map(nameOf)) }) : "";
  if (!live.length) {
    return { tone: "off", state: room.until_us ? t("tile.off_until", { time: at(room.until_us) }) : t("tile.off"), reason: "" };
  }
  const sensed = room.sensed.length ? t("house.sensed", { sensors: list(room.sensed.map(nameOf)) }) : t("house.nobody");
  const expressed = room.label ? t("now.expressed", { label: emotionName(room.label) }) : "";
  return { tone: "on", state: t("house.open", { sensors: list(live.map(nameOf)) }), reason: [sensed, expressed].filter(Boolean).join(". "), fine: off };
}

function showRooms() {
  const names = latest === null ? [] : Object.keys(latest.rooms);
  const shown = [...$("rooms").children].map((r) => r.dataset.room);
  if (names.join("\n") !== shown.join("\n")) {
    $("rooms").replaceChildren(...names.map((name) => {
      const root = $("room").content.cloneNode(true).firstElementChild;
      root.dataset.room = name;
      text(root.querySelector("h2"), name);
      return root;
    }));
  }
  for (const root of $("rooms").children) {
    const seen = roomSeen(latest.rooms[root.dataset.room]);
    root.dataset.state = seen.tone;
    text(root.querySelector(".state"), seen.state);
    text(root.querySelector(".reason"), seen.reason);
    text(root.querySelector(".fine"), seen.fine ?? "");
  }
}

function maskSeen() {
  if (!known()) return ["off", t("house.unknown")];
  const rooms = Object.values(latest.rooms), { mask } = latest;
  if (pressed) return ["warn", t("house.asking")];
  if (mask?.state === "pending") return ["bad", t("house.pending", { rooms: list(Object.keys(mask.missing)) })];
  const open = rooms.filter((r) => Object.values(r.gates).includes("live")).length;
  const silent = rooms.filter((r) => !r.reachable).length;
  if (open) return ["on", t("house.some_open", { count: open, all: rooms.length })];
  if (silent) return ["bad", t("house.some_silent", { count: silent })];
  const until = mask?.state === "proven" && mask.until_us ? mask.until_us : null;
  return ["off", until ? t("house.all_masked_until", { time: at(until) }) : t("house.all_masked")];
}

function showMask() {
  const [tone, state] = maskSeen(), before = $("mask-state").textContent;
  $("mask-state").dataset.tone = tone;
  text($("mask-state"), state);
  if (before !== state) announce(state);
  const pending = known() && !pressed && latest.mask?.state === "pending";
  $("withdraw").hidden = !pending;
  const missing = pending ? Object.entries(latest.mask.missing) : [];
  const lines = missing.map(([name, why]) => `${name}: ${plain(why)}`);
  if (lines.join("\n") !== [...$("mask-missing").children].map((l) => l.textContent).join("\n")) {
    $("mask-missing").replaceChildren(...lines.map((line) => make("li", {}, line)));
  }
  for (const id of ["mask-all", "guests"]) $(id).disabled = !connected;
}

function showVoices() {
  const lines = !known() ? [] : latest.voices.slice().reverse().map((voice) => {
    const where = voice.room ?? t("house.unbound", { rooms: list(Object.keys(voice.levels), "or") });
    return voice.label ? `${where}: ${emotionName(voice.label)}` : where;
  });
  if (lines.join("\n") !== [...$("voices").children].map((l) => l.textContent).join("\n")) {
    $("voices").replaceChildren(...lines.map((line) => make("li", {}, line)));
  }
}

function show() {
  showRooms();
  showMask();
  showVoices();
}

async function command(path, seconds) {
  pressed = path === "/mask";
  show();
  const timer = setTimeout(() => { pressed = false; show(); }, ROUND_MS);
  const answer = await post(path, { for_s: seconds });
  clearTimeout(timer);
  pressed = false;
  text($("mask-note"), answer.ok || answer.lost === undefined ? "" : answer.text);
  show();
}

function connection(content, state) {
  text($("connection"), content);
  $("connection").dataset.state = state;
}

function connect() {
  stop();
  stop = listen("/events", {
    event(topic, message) {
      if (topic === "hello") text($("about"), t("head.about", { version: message.version, host: message.host.slice(0, 8) }));
      if (topic !== "house") return;
      latest = message;
      receivedAt = performance.now();
      show();
    },
    up() { connected = true; connection(t("head.live"), "on"); show(); },
    down() { connected = false; connection(t("head.lost"), "red"); show(); },
    locked() { connection(t("head.locked"), "red"); $("enter").showModal(); },
  });
}

$("mask-all").addEventListener("click", () => command("/mask", 0));
$("guests").addEventListener("click", () => command("/mask", GUEST_S));
$("withdraw").addEventListener("click", () => command("/withdraw", 0));
$("enter").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set($("token").value.trim().split("#").at(-1));
  $("enter").close();
  connect();
});
setInterval(show, 1000);
token.fromAddress();
addEventListener("hashchange", () => { token.fromAddress(); connect(); });
connect();
