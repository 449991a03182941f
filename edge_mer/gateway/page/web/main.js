// What came last, and who shows it.
import { $, say, text } from "./dom.js";
import { recording, processes, proofs, speed } from "./details.js";
import { estimate, stale } from "./now.js";
import { listen, token } from "./server.js";
import { Tiles } from "./tiles.js";
import { Timeline } from "./timeline.js";
import { Why } from "./why.js";
import { MODALITIES } from "./words.js";

const LATE_MS = 3500;
const house = { hello: null, privacy: null, heard: 0, sensors: {}, estimate: null, receipts: new Map(), connected: false };
const tiles = new Tiles(house);
const timeline = new Timeline();
let stop = () => {}, late = false;

const show = {
  hello(message) {
    house.hello = message;
    text($("about"), `edge_mer ${message.version} on host ${message.host.slice(0, 8)}. Nothing on this page comes from anywhere else.`);
  },
  privacy: (message) => { house.privacy = message; house.heard = performance.now(); tiles.show(); },
  receipt: (message) => { house.receipts.set(message.number, message); tiles.show(); proofs(house.receipts); },
  health: (message) => { processes(message); recording(message); },
  emotion(message) {
    timeline.add(message);
    const newest = house.estimate === null || message.origin_us >= house.estimate.origin_us || message.boot !== house.estimate.boot;
    if (!newest) return; // words that came late changed an earlier window: that is for the timeline
    house.estimate = message;
    house.estimated = performance.now();
    late = false;
    estimate(message);
    if (!message.revision) speed(message.latency_ms);
    tiles.show();
  },
};
for (const modality of MODALITIES) {
  show[`state/${modality}`] = (message) => {
    house.sensors[modality] = { ...message, heard: performance.now() };
    tiles.show();
  };
}

function connection(words, state) {
  if ($("connection").dataset.state !== state) say(words);
  text($("connection"), words);
  $("connection").dataset.state = state;
}

function connect() {
  stop();
  stop = listen("/events", {
    event: (topic, message) => show[topic]?.(message),
    up() { house.connected = true; connection("Live", "on"); },
    down() { house.connected = false; connection("No connection", "red"); stale(); recording(null); tiles.show(); },
    locked() { connection("Locked", "red"); $("enter").showModal(); },
  });
}

$("enter").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set($("token").value.trim().split("#").at(-1));
  $("enter").close();
  connect();
});

setInterval(() => {
  tiles.show();
  if (house.estimate !== null && !late && performance.now() - house.estimated > LATE_MS) { late = true; stale(); }
}, 1000);

token.fromAddress();
addEventListener("hashchange", () => { token.fromAddress(); connect(); });
new Why();
connect();
