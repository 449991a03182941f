// The latest messages, and the views that show them.
import { $, announce, text } from "./dom.js";
import { recording, processes, proofs, speed } from "./details.js";
import { Events } from "./events.js";
import { Guests } from "./guests.js";
import { History } from "./history.js";
import { estimate, stale } from "./now.js";
import { People } from "./people.js";
import { listen, token } from "./server.js";
import { settingsForm } from "./settings.js";
import { Tiles } from "./tiles.js";
import { Timeline } from "./timeline.js";
import { Why } from "./why.js";
import { MODALITIES, SENSORS, t } from "./labels.js";

const STALE_MS = 3500;
const latest = { hello: null, clock: null, privacy: null, privacyAt: 0, estimateAt: 0, sensors: {}, estimate: null, receipts: new Map(), connected: false };
const tiles = new Tiles(latest);
const guests = new Guests(latest, tiles);
const timeline = new Timeline();
const events = new Events(latest);
const people = new People(latest);
let stop = () => {}, isStale = false;

const sensors = () => { tiles.show(); guests.show(); people.show(); };

const show = {
  hello(message) {
    latest.hello = message;
    document.title = `${message.room}: edge_mer`;
    text($("room"), message.room);
    text($("about"), t("head.about", { version: message.version, host: message.host.slice(0, 8) }));
  },
  clock: (message) => { latest.clock = message; },
  privacy: (message) => { latest.privacy = message; latest.privacyAt = performance.now(); sensors(); },
  receipt: (message) => { latest.receipts.set(message.number, message); tiles.show(); people.show(); proofs(latest.receipts); },
  people: (message) => people.people(message),
  person: (message) => people.estimate(message),
  event: (message) => events.add(message),
  health: (message) => { processes(message); recording(message); },
  revision: (message) => timeline.add(message), // of an earlier window
  emotion(message) {
    timeline.add(message);
    people.estimate(message);
    latest.estimate = message;
    latest.estimateAt = performance.now();
    isStale = false;
    estimate(message);
    speed(message.latency_ms);
    tiles.show();
  },
};
for (const modality of MODALITIES) {
  show[`state/${modality}`] = (message) => {
    latest.sensors[modality] = { ...message, receivedAt: performance.now() };
    tiles.show();
  };
}

function connection(content, state) {
  if ($("connection").dataset.state !== state) announce(content);
  text($("connection"), content);
  $("connection").dataset.state = state;
}

function connect() {
  stop();
  stop = listen("/events", {
    event: (topic, message) => show[topic]?.(message),
    up() { latest.connected = true; connection(t("head.live"), "on"); tiles.reconnected(); guests.reconnected(); },
    down() { latest.connected = false; connection(t("head.lost"), "red"); stale(); recording(null); people.forget(); sensors(); },
    locked() { connection(t("head.locked"), "red"); $("enter").showModal(); },
  });
}

$("enter").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set($("token").value.trim().split("#").at(-1));
  $("enter").close();
  connect();
});

setInterval(() => {
  sensors();
  if (latest.estimate !== null && !isStale && performance.now() - latest.estimateAt > STALE_MS) { isStale = true; stale(); }
}, 1000);

settingsForm(MODALITIES.map((m) => [m, SENSORS[m].name, t("settings.name", { sensor: SENSORS[m].name })]), () => tiles.show());
token.fromAddress();
addEventListener("hashchange", () => { token.fromAddress(); connect(); });
new Why();
new History();
connect();
