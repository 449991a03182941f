"""Bodies of raw messages: sensor data before any encoder. Each describes its payload."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

# Of ``raw/audio``: samples a second, mono; also for encoders, recognisers and files that play as microphone.
SAMPLE_RATE: Final = 16_000


class Body(Struct, kw_only=True, frozen=True, weakref=True):
    """Fields of one message without its envelope."""


class RawAudio(Body, frozen=True):
    """PCM int16 mono. ``sample_index`` counts since the device opened; time comes from it, anchored to ADC time."""

    rate: int
    sample_index: int
    overflows: int
    mask_epoch: int


class RawVideo(Body, frozen=True):
    """One JPEG frame."""

    frame: int
    width: int
    height: int
    mask_epoch: int


class WordTime(Struct, frozen=True):
    text: str
    start_us: int
    end_us: int
    approx: bool = False


class RawText(Body, frozen=True):
    """All words of one segment as known now; a later message of the same segment replaces it.

    ``parent`` is ``raw/audio`` when the words were made from the microphone: its mask then masks them too.
    ``confidence``: how sure a recogniser is of them, 0 to 1, null where it cannot tell. ``provisional``: the segment is
    not over, and its words take part in no estimate yet. ``alternatives``: what else may have been spoken in a segment
    that is over, the likeliest first; empty where the recogniser gives none. No estimate uses them.
    """

    segment: int
    words: tuple[WordTime, ...]
    final: bool
    parent: str | None
    engine: str
    mask_epoch: int
    confidence: float | None = None
    provisional: bool = False
    alternatives: tuple[str, ...] = ()
