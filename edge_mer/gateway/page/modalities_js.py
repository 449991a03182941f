"""The table of modalities as a JavaScript module, so that the page code names no modality."""

from __future__ import annotations

import json
from typing import Any

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, Combination, modalities_of
from edge_mer.contract.modalities import ALL, LETTER, TABLE

NAME = "modalities.js"
COUNTED = ("none", "one", "both", "all three", "all four", "all five", "all six")


def modalities_js() -> bytes:
    """``MODALITIES``, ``SENSORS``, ``LETTER`` and ``COMBINATIONS`` of ``labels.js``."""
    exports: dict[str, Any] = {
        "MODALITIES": MODALITIES,
        "LETTER": LETTER,
        "SENSORS": {
            m: {"name": row.words.sensor, "channel": row.words.channel, "at": row.words.active, "icon": row.words.icon}
            for m, row in TABLE.items()
        },
        "COMBINATIONS": {c: channel_text(c) for c in COMBINATIONS},
    }
    return "".join(f"export const {name} = {json.dumps(value)};\n" for name, value in exports.items()).encode()


def channel_text(combination: Combination) -> str:
    """``voice and face``; ``voice alone``; ``all three``."""
    channels = [TABLE[m].words.channel for m in modalities_of(combination)]
    if combination == ALL:
        return COUNTED[len(channels)] if len(channels) < len(COUNTED) else f"all {len(channels)}"
    if len(channels) == 1:
        return f"{channels[0]} alone"
    return f"{', '.join(channels[:-1])} and {channels[-1]}"
