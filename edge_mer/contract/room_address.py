"""Where a room of a house is, and by which keys it is known: one value of ``house.rooms``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLACE = re.compile(r"tcp://[^\s|]+:\d{1,5}")
_HOST, _CURVE = re.compile(r"[0-9a-f]{64}"), re.compile(r"[!-~]{40}")
FORM = "PUBLISH|REQUESTS|HOST|CURVE, as edge-mer house pair shows it in that room"


@dataclass(frozen=True, slots=True)
class RoomAddress:
    """``publish``, ``requests``: its addresses of that name in [hub]. ``host``: the Ed25519 key (hex) that signs its
    receipts. ``curve``: the CURVE key (Z85) of its gateway."""

    publish: str
    requests: str
    host: str
    curve: str

    def text(self) -> str:
        return "|".join((self.publish, self.requests, self.host, self.curve))


def read_room(text: str) -> RoomAddress:
    """Raises ValueError that names the part at fault."""
    parts = text.split("|")
    if len(parts) != 4:
        raise ValueError(f"a room is {FORM}; this has {len(parts)} parts")
    checks = (
        (_PLACE, "PUBLISH is an address as tcp://192.168.1.5:7651"),
        (_PLACE, "REQUESTS is an address as tcp://192.168.1.5:7652"),
        (_HOST, "HOST is an Ed25519 public key, 64 hex digits in lower case"),
        (_CURVE, "CURVE is a CURVE public key, 40 characters of Z85"),
    )
    for part, (form, what) in zip(parts, checks, strict=True):
        if not form.fullmatch(part):
            raise ValueError(f"{what}; got {part!r}")
    return RoomAddress(*parts)
