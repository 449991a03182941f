// Requests to this host. The token is a header, not a cookie, so no other page can send authorised requests.
import { t } from "./labels.js";

const KEY = "edge_mer.token";
const SILENT_MS = 20_000;
const ANSWER_MS = 6000;
const RETRY_MS = [500, 1000, 2000, 5000];

export const token = {
  get: () => localStorage.getItem(KEY) ?? "",
  set: (value) => localStorage.setItem(KEY, value),
  // A link carries the token after the #; it is removed from the address bar.
  fromAddress() {
    const found = decodeURIComponent(location.hash.slice(1));
    if (!/^[\w-]{16,}$/.test(found)) return;
    token.set(found);
    history.replaceState(null, "", location.pathname);
  },
};

const headers = () => ({ Authorization: `Bearer ${token.get()}` });

// `lost`: the answer did not arrive, so the note about it is out of date once the connection is back.
export async function post(path, body) {
  try {
    const response = await fetch(path, { method: "POST", signal: AbortSignal.timeout(ANSWER_MS), headers: { ...headers(), "Content-Type": "application/json" }, body: JSON.stringify(body) });
    return response.ok ? await response.json() : { ok: false, text: await response.text() };
  } catch {
    return { ok: false, lost: true, text: t("head.no_answer") };
  }
}

// The response to a request that only reads; null when there is none.
export async function get(path) {
  try {
    const response = await fetch(path, { signal: AbortSignal.timeout(ANSWER_MS), headers: headers() });
    return response.ok ? response : null;
  } catch {
    return null;
  }
}

// Reads server-sent events and reconnects. `on`: event(topic, message), up(), down(), locked(). Returns a stop function.
export function listen(path, on) {
  let ended = false, control = null, tries = 0;

  async function once() {
    control = new AbortController();
    let watchdog = setTimeout(() => control.abort(), SILENT_MS);
    try {
      const response = await fetch(path, { headers: headers(), signal: control.signal });
      if (response.status === 401) return on.locked();
      if (!response.ok) throw new Error(response.statusText);
      on.up();
      tries = 0;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        clearTimeout(watchdog);
        watchdog = setTimeout(() => control.abort(), SILENT_MS);
        const events = (rest + value).split("\n\n");
        rest = events.pop();
        for (const event of events) {
          const found = /^event: (.*)\ndata: (.*)$/.exec(event);
          if (found && !ended) on.event(found[1], JSON.parse(found[2]));
        }
      }
      on.down();
    } catch {
      if (!ended) on.down();
    } finally {
      clearTimeout(watchdog);
    }
    if (!ended) setTimeout(() => ended || once(), RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)]);
  }

  once();
  return () => { ended = true; control?.abort(); };
}
