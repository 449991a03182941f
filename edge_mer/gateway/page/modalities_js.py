"""The table of modalities as a module of JavaScript, so that the page names no modality by hand."""

from __future__ import annotations

import json
from typing import Any

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, Combination, modalities_of
from edge_mer.contract.modalities import ALL, LETTER, TABLE

NAME = "modalities.js"
COUNTED = ("none", "one", "both", "all three", "all four", "all five", "all six")


def modalities_js() -> bytes:
    """``MODALITIES``, ``SENSES``, ``LETTER`` and ``COMBINATIONS`` of ``words.js``."""
    exports: dict[str, Any] = {
        "MODALITIES": MODALITIES,
        "LETTER": LETTER,
        "SENSES": {
            m: {"name": row.words.sensor, "channel": row.words.channel, "at": row.words.active, "icon": row.words.icon}
            for m, row in TABLE.items()
        },
        "COMBINATIONS": {c: in_words(c) for c in COMBINATIONS},
    }
    return "".join(f"export const {name} = {json.dumps(value)};\n" for name, value in exports.items()).encode()


def in_words(combination: Combination) -> str:
    """``voice and face``; ``voice alone``; ``all three``."""
    channels = [TABLE[m].words.channel for m in modalities_of(combination)]
    if combination == ALL:
        return COUNTED[len(channels)] if len(channels) < len(COUNTED) else f"all {len(channels)}"
    if len(channels) == 1:
        return f"{channels[0]} alone"
    return f"{', '.join(channels[:-1])} and {channels[-1]}"
