// The conversation with this host. The token goes as a header: no cookie, so no other page can speak in its name.
const KEY = "edge_mer.token";
const SILENT_MS = 20_000;
const ANSWER_MS = 6000;
const AGAIN_MS = [500, 1000, 2000, 5000];

export const token = {
  get: () => localStorage.getItem(KEY) ?? "",
  set: (value) => localStorage.setItem(KEY, value),
  // A link carries it behind the #; it does not stay in the address bar.
  fromAddress() {
    const found = decodeURIComponent(location.hash.slice(1));
    if (!/^[\w-]{16,}$/.test(found)) return;
    token.set(found);
    history.replaceState(null, "", location.pathname);
  },
};

const headers = () => ({ Authorization: `Bearer ${token.get()}` });

export async function post(path, body) {
  try {
    const response = await fetch(path, { method: "POST", signal: AbortSignal.timeout(ANSWER_MS), headers: { ...headers(), "Content-Type": "application/json" }, body: JSON.stringify(body) });
    return response.ok ? await response.json() : { ok: false, text: await response.text() };
  } catch {
    return { ok: false, text: "The device does not answer." };
  }
}

// Reads server-sent events for ever. `on`: event(topic, message), up(), down(), locked(). Returns a function that ends it.
export function listen(path, on) {
  let ended = false, control = null, tries = 0;

  async function once() {
    control = new AbortController();
    let alarm = setTimeout(() => control.abort(), SILENT_MS);
    try {
      const response = await fetch(path, { headers: headers(), signal: control.signal });
      if (response.status === 401) return on.locked();
      if (!response.ok) throw new Error(response.statusText);
      on.up();
      tries = 0;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let held = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        clearTimeout(alarm);
        alarm = setTimeout(() => control.abort(), SILENT_MS);
        const events = (held + value).split("\n\n");
        held = events.pop();
        for (const event of events) {
          const found = /^event: (.*)\ndata: (.*)$/.exec(event);
          if (found && !ended) on.event(found[1], JSON.parse(found[2]));
        }
      }
      on.down();
    } catch {
      if (!ended) on.down();
    } finally {
      clearTimeout(alarm);
    }
    if (!ended) setTimeout(() => ended || once(), AGAIN_MS[Math.min(tries++, AGAIN_MS.length - 1)]);
  }

  once();
  return () => { ended = true; control?.abort(); };
}
