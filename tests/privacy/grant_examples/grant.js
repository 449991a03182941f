// node grant.js SECRET HOST COUNTER MASK_EPOCH MODALITY... prints a signed grant. Node 18 or later, no packages.
const { createPrivateKey, createPublicKey, sign } = require("node:crypto");

const [secret, host, counter, maskEpoch, ...modalities] = process.argv.slice(2);
// The 32 secret bytes behind the fixed head of a PKCS#8 file of Ed25519 (RFC 8410).
const der = Buffer.from("302e020100300506032b657004220420" + secret, "hex");
const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
const grant = { // in the order of the alphabet: JSON.stringify keeps it
  counter: Number(counter),
  host,
  key: createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32).toString("hex"),
  kind: "grant",
  mask_epoch: Number(maskEpoch),
  modalities,
  signature: "",
};
const canonical = Buffer.from("Grant\n" + JSON.stringify(grant));
console.log(JSON.stringify({ ...grant, signature: sign(null, canonical, key).toString("hex") }));
