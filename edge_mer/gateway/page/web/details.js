// Details of the estimate: latency, receipts, processes, and recordings.
import { $, announce, meter, rows, text } from "./dom.js";
import { LANGUAGE, STAGES, nameOf, persons, t } from "./labels.js";

const SHOWN = 20;
const ms = (number) => number < 10 ? number.toFixed(1) : Math.round(number).toString();
const after = (us) => `${ms(us / 1000)} ms`;

export function speed(latency) {
  text($("speed-total"), t("speed.total", { ms: Math.round(latency.total) }));
  if (!$("speed").open) return;
  let before = 0;
  const longest = Math.max(latency.total, 1);
  rows($("speed-table"), STAGES.map((stage) => {
    const took = latency[stage], from = stage === "total" ? 0 : before;
    before += stage === "total" ? 0 : took;
    return [t(`stage.${stage}`), ms(took), meter(Math.min(1, from / longest), Math.min(1, (from + took) / longest))];
  }));
}

export function proofs(receipts) {
  const newest = [...receipts.values()].sort((a, b) => b.number - a.number).slice(0, SHOWN);
  text($("proofs-count"), newest.length ? t("proofs.newest", { number: newest[0].number }) : t("proofs.none"));
  rows($("proofs-table"), newest.map((r) => [
    String(r.number), r.persons ? persons(r.persons) : nameOf(r.modality), new Date((r.requested_us + r.wall_offset_us) / 1000).toLocaleTimeString(LANGUAGE),
    r.requester, after(r.closed_us - r.requested_us), after(r.purged_us - r.requested_us),
  ]));
}

export function processes(health) {
  const workers = Object.entries(health.workers), running = workers.filter(([, w]) => w.state === "running").length;
  text($("processes-count"), running === workers.length ? t("processes.all", { count: running }) : t("processes.some", { running, count: workers.length }));
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
  const status = health === null ? t("recording.unknown")
    : running.length ? t("recording.on", { what: running.flatMap(([, w]) => w.notes).join("; ") || t("recording.content") })
    : failed ? t("recording.failed") : t("recording.off");
  if (health !== null && $("recording").textContent !== status) announce(status);
  text($("recording"), status);
  $("recording").dataset.state = running.length ? "red" : health === null ? "unknown" : "off";
}
