"""Whether the words of a segment were spoken: for every recogniser, by its sound and by its text. Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Final

from edge_mer.contract.raw import WordTime
from edge_mer.contract.recognisers import LEAST_CONFIDENCE

# Chunks of 32 ms with speech.
LEAST_VOICED: Final = 6
# Nobody speaks faster: words for each chunk with speech (12 in a second).
MOST_WORDS: Final = 0.4
# Bytes of a text to those of its compressed form: one phrase over and over (Radford et al. 2023, section 4.5).
MOST_REPETITION: Final = 2.4
# What Whisper wrote twice or more for noise, never above 0.6 (edge_mer/capture/README.md).
PHRASES: Final = frozenset({"thank you", "okay"})
PHRASE_CONFIDENCE: Final = 0.8
# What recognisers write for sounds: [BLANK_AUDIO], (upbeat music), *sighs*, notes of music.
OPENING, CLOSING, NOTES = "[(*", "])*", "\u266a\u266b\u266c"


def spoken(words: Sequence[WordTime]) -> tuple[WordTime, ...]:
    """The words without descriptions of sounds."""
    kept: list[WordTime] = []
    inside = False
    for word in words:
        inside = inside or word.text[:1] in OPENING
        if not inside and word.text.strip(NOTES):
            kept.append(word)
        inside = inside and word.text.rstrip(".,!?")[-1:] not in CLOSING
    return tuple(kept)


def plain(text: str) -> str:
    """Lower case, without punctuation."""
    return " ".join(re.sub(r"[^\w' ]+", " ", text.lower().replace("\u2019", "'")).split())


def compression(text: str) -> float:
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def doubt(text: str, voiced: int, confidence: float | None, least: float = LEAST_CONFIDENCE) -> str | None:
    """Why the words are not taken for spoken; None when they are.

    ``voiced``: chunks of the segment with speech; ``confidence`` of the recogniser, None where it has none; ``least``
    that its words need.
    """
    words = len(text.split())
    if voiced < LEAST_VOICED:
        return "too short"
    if words > MOST_WORDS * voiced:
        return "more words than speech"
    if confidence is not None and confidence < least:
        return "unsure"
    if compression(text) > MOST_REPETITION:
        return "repeated"
    if plain(text) in PHRASES and (confidence is None or confidence < PHRASE_CONFIDENCE):
        return "a phrase that is written for noise"
    return None
