"""Texts as a speech recogniser writes them: no punctuation, no case, some words lost, added or taken for others.

A word is taken for one whose pronunciation in the recogniser's own dictionary (CMUdict, in PocketSphinx) is at most one
sound away, the more frequent the likelier. The shares of errors are PocketSphinx's on ``speech_clips``.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import numpy as np

from edge_mer.contract.errors import missing_extra

_MARKS: Final = str.maketrans("", "", string.punctuation.replace("'", ""))
# Of the errors of a recogniser: words taken for others, words lost; the rest are words added.
SUBSTITUTED, LOST = 0.65, 0.2
# Of a text the share of words with an error is drawn from a beta distribution of this shape: mean .2.
SHAPE: Final = (1.0, 4.0)


def bare(text: str) -> str:
    """``text`` without punctuation and case."""
    return text.replace("\u2019", "'").translate(_MARKS).lower()


@dataclass(frozen=True, slots=True)
class Confusions:
    """``neighbours``: of a word those that sound like it, and how likely each is to be written in its place.

    ``filler``: words that a recogniser adds."""

    neighbours: Mapping[str, tuple[list[str], list[float]]]
    filler: tuple[str, ...] = field(default=("the", "a", "and", "to", "of", "it", "in", "i"))

    def heard(self, words: list[str], random: np.random.Generator) -> list[str]:
        """``words`` with errors; at least one word stays."""
        rate = random.beta(*SHAPE)
        out: list[str] = []
        for word, fate, kind in zip(words, random.random(len(words)), random.random(len(words)), strict=True):
            if fate >= rate:
                out.append(word)
            elif kind < SUBSTITUTED:
                out.append(self._other(word, random))
            elif kind >= SUBSTITUTED + LOST:
                out += [word, self.filler[random.integers(len(self.filler))]]
        return out or words

    def _other(self, word: str, random: np.random.Generator) -> str:
        if word not in self.neighbours:
            return word
        words, cumulative = self.neighbours[word]
        return words[int(np.searchsorted(cumulative, random.random()))]


def confusions(texts: Iterable[str], least: int = 5) -> Confusions:
    """From the words that ``texts`` hold at least ``least`` times. Raises MissingExtra without PocketSphinx."""
    counts = Counter(word for text in texts for word in bare(text).split())
    sounds = {w: s for w, s in _dictionary().items() if counts[w] >= least}
    alike: dict[tuple[str, ...], list[str]] = {}
    for word, phones in sounds.items():
        for key in _shortened(phones):
            alike.setdefault(key, []).append(word)
    neighbours = {}
    for word, phones in sounds.items():
        others = sorted(set(chain.from_iterable(alike[key] for key in _shortened(phones))) - {word})
        if others:
            weights = np.array([counts[w] for w in others], float) ** 0.5
            neighbours[word] = (others, (np.cumsum(weights) / weights.sum()).tolist())
    return Confusions(neighbours)


def _shortened(phones: tuple[str, ...]) -> set[tuple[str, ...]]:
    """The pronunciation, and all with one sound less: those of two words meet when they are one sound apart."""
    return {phones, *(phones[:i] + phones[i + 1 :] for i in range(len(phones)) if len(phones) > 2)}


def _dictionary() -> dict[str, tuple[str, ...]]:
    """First pronunciation of each word."""
    try:
        from pocketsphinx import get_model_path
    except ImportError as error:
        raise missing_extra("pocketsphinx", "asr-lite") from error
    path = f"{get_model_path()}/en-us/cmudict-en-us.dict"
    with open(path, encoding="utf-8") as lines:
        return {(parts := line.split())[0]: tuple(parts[1:]) for line in lines if re.match(r"[a-z']+ ", line)}
