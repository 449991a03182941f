// Details of the estimate: latency, receipts, processes, and recordings.
import { $, announce, meter, rows, text } from "./dom.js";
import { SENSORS, STAGES } from "./labels.js";

const SHOWN = 20;
const ms = (number) => number < 10 ? number.toFixed(1) : Math.round(number).toString();
const after = (us) => `${ms(us / 1000)} ms`;

export function speed(latency) {
  text($("speed-total"), `${Math.round(latency.total)} ms from the event to the estimate`);
  if (!$("speed").open) return;
  let before = 0;
  const longest = Math.max(latency.total, 1);
  rows($("speed-table"), Object.entries(STAGES).map(([stage, name]) => {
    const took = latency[stage], from = stage === "total" ? 0 : before;
    before += stage === "total" ? 0 : took;
    return [name, ms(took), meter(Math.min(1, from / longest), Math.min(1, (from + took) / longest))];
  }));
}

export function proofs(receipts) {
  const newest = [...receipts.values()].sort((a, b) => b.number - a.number).slice(0, SHOWN);
  text($("proofs-count"), newest.length ? `newest is number ${newest[0].number}` : "none yet");
  rows($("proofs-table"), newest.map((r) => [
    String(r.number), SENSORS[r.modality].name, new Date((r.requested_us + r.wall_offset_us) / 1000).toLocaleTimeString(),
    r.requester, after(r.closed_us - r.requested_us), after(r.purged_us - r.requested_us),
  ]));
}

export function processes(health) {
  const workers = Object.entries(health.workers), running = workers.filter(([, w]) => w.state === "running").length;
  text($("processes-count"), running === workers.length ? `all ${running} run` : `${running} of ${workers.length} run`);
  if (!$("processes").open) return;
  rows($("processes-table"), workers.map(([name, w]) => [
    name, w.state, String(w.restarts), `${(100 * w.cpu).toFixed(0)} %`, `${Math.round(w.rss / 1e6)} MB`, [w.reason, ...w.notes].filter(Boolean).join("; "),
  ]));
}

// Recorders are processes of this instance, or of an `edge-mer record` that joined it.
export function recording(health) {
  const recorders = Object.entries(health?.workers ?? {}).filter(([name]) => name === "recorder" || name.startsWith("record-"));
  const running = recorders.filter(([, w]) => w.state === "running" && !w.counters.stopped);
  const failed = recorders.length > running.length;
  const status = health === null ? "Recording unknown"
    : running.length ? `Recording: ${running.flatMap(([, w]) => w.notes).join("; ") || "features and estimates"}`
    : failed ? "Recording has stopped" : "Not recording";
  if (health !== null && $("recording").textContent !== status) announce(status);
  text($("recording"), status);
  $("recording").dataset.state = running.length ? "red" : health === null ? "unknown" : "off";
}
