"""python grant.py SECRET HOST COUNTER MASK_EPOCH MODALITY... prints a signed grant. Needs: pip install cryptography"""

import json
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

secret, host, counter, mask_epoch, *modalities = sys.argv[1:]
key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
grant = {
    "counter": int(counter),
    "host": host,
    "key": key.public_key().public_bytes_raw().hex(),
    "kind": "grant",
    "mask_epoch": int(mask_epoch),
    "modalities": modalities,
    "signature": "",
}
canonical = b"Grant\n" + json.dumps(grant, sort_keys=True, separators=(",", ":")).encode()
print(json.dumps({**grant, "signature": key.sign(canonical).hex()}))
