// This browser's own key. It cannot be exported, so it never leaves the browser; only its public half is paired.
const DATABASE = "edge_mer", STORE = "keys", NAME = "unmask", COUNTER = "edge_mer.counter";
const encode = (string) => new TextEncoder().encode(string);
const hex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");

function store(mode, act) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const request = act(opening.result.transaction(STORE, mode).objectStore(STORE));
      request.transaction.oncomplete = () => opening.result.close();
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    };
  });
}

export const storedKey = () => store("readonly", (keys) => keys.get(NAME));
export const deleteKey = () => store("readwrite", (keys) => keys.delete(NAME));

// A new key, and the proof for /pair that the user knows the one-time code. `keep` stores the key.
export async function newKey(host, code) {
  const pair = await crypto.subtle.generateKey({ name: "Ed25519" }, false, ["sign", "verify"]);
  const signing = hex(await crypto.subtle.exportKey("raw", pair.publicKey));
  const secret = await crypto.subtle.importKey("raw", encode(code), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const proof = hex(await crypto.subtle.sign("HMAC", secret, encode([host, "page", signing, ""].join("\n"))));
  return { body: { signing, proof }, keep: () => store("readwrite", (keys) => keys.put({ pair, signing }, NAME)) };
}

// A signed permission to unmask. Signed bytes: record type, then JSON with sorted names (edge_mer/privacy/keys/signing.py).
export async function grant(key, host, modalities, maskEpoch, persons = []) {
  const counter = Math.max(Date.now() * 1000, Number(localStorage.getItem(COUNTER) ?? 0) + 1);
  localStorage.setItem(COUNTER, counter);
  const made = { counter, host, key: key.signing, kind: "grant", mask_epoch: maskEpoch, modalities, ...(persons.length ? { persons } : {}), signature: "" };
  const signature = await crypto.subtle.sign({ name: "Ed25519" }, key.pair.privateKey, encode(`Grant\n${JSON.stringify(made)}`));
  return { ...made, signature: hex(signature) };
}
