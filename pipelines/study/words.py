"""Scores the text encoder through the device's own code: sets, forms, turns, negation, politeness, other languages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.domain import EMOTIONS
from edge_mer.perception.dialogue import EARLIER, OTHER, SAME, DialogueEncoder, english, laid_out
from edge_mer.perception.encoder import TextSegment, Word
from edge_mer.perception.text import TextEncoder
from edge_mer.perception.text_adapter import open_text
from edge_mer.runtime.backend import Graph
from edge_mer.runtime.onnx import OnnxRuntime
from edge_mer.session import evaluation_metrics as metrics
from pipelines.data.utterances import HEADS, Utterance, utterances
from pipelines.encoders.misheard import bare, confusions
from pipelines.encoders.shipped import FILES

DOMAIN: Final = {"goemotions": "comment", "meld": "dialogue"}
TURNS: Final = 6
# Pairs of which the second denies the first (Ribeiro et al. 2020 test so); none is in a training set as such.
DENIED: Final = (
    *(
        (f"{who} {yes} {word}", f"{who} {no} {word}")
        for who, yes, no in (("i", "am", "am not"), ("she", "is", "isn't"), ("we", "were", "were not"))
        for word in ("happy", "glad", "pleased", "excited", "satisfied", "proud")
    ),
    ("i like it", "i don't like it"),
    ("this is good", "this is not good"),
    ("that was fun", "that was no fun"),
    ("i love this place", "i don't love this place"),
    ("it works well", "it doesn't work well"),
    ("i had a great day", "i did not have a great day"),
)
POLITE: Final = ("thank you", "thanks", "thank you very much", "please", "excuse me", "hello", "good morning", "bye")

Answer = dict[str, NDArray[Any]]


class Reader:
    """``answer`` is what the graph says of a text after the turns before it, the newest first, where it reads them."""

    def __init__(self, graph: Graph, models: Path) -> None:
        self._graph: Graph = graph
        self.encoder: TextEncoder | DialogueEncoder = open_text(graph, models)
        self.domains: list[str] = list(graph.metadata["domains"])

    def answer(self, text: str, turns: Iterable[tuple[str, int]] = ()) -> Answer | None:
        inputs = self.encoder.inputs(_segment(text))
        if not inputs["mask"].any():
            return None
        if isinstance(self.encoder, DialogueEncoder) and turns:
            cut = self.encoder.tokenizer
            own = inputs["ids"][0][inputs["mask"][0] > 0][1:-1]
            inputs = laid_out(cut, own.tolist(), [(cut(said), kind) for said, kind in turns])
        return self._graph.run(inputs)


def _segment(text: str) -> TextSegment:
    return TextSegment(0, tuple(Word(w, 0, 0) for w in text.split()), True)


def score(root: Path, models: Path) -> Mapping[str, Mapping[str, float]]:
    """Figures of ``models/text.onnx`` by what was read."""
    reader = Reader(OnnxRuntime().load(models / FILES["text"]), models)
    rows = {source: utterances(root, "dev", (source,)) for source in ("goemotions", "meld", "mosi", "xed", "foreign")}
    confused = confusions(row.text for row in utterances(root, "train", ("goemotions", "meld")))
    random = np.random.default_rng(0)
    forms: Mapping[str, Callable[[str], str]] = {
        "": str,
        ", bare": bare,
        ", misheard": lambda text: " ".join(confused.heard(bare(text).split(), random)),
    }
    figures: dict[str, Mapping[str, float]] = {}
    for form, written in forms.items():
        for source in DOMAIN:
            figures[f"{source} dev{form}"] = _labelled(reader, source, rows[source], written)
        figures[f"meld dev, turns{form}"] = _labelled(reader, "meld", rows["meld"], written, known=False)
    figures["meld dev, turns with speakers"] = _labelled(reader, "meld", rows["meld"], str, known=True)
    figures["mosi dev, bare"] = _sentiment(reader, rows["mosi"])
    figures["denied"] = _denied(reader)
    polite = [_value(reader, text) for text in POLITE]
    figures["polite"] = {"mean sentiment": round(float(np.mean(polite)), 3), "highest": round(max(polite), 3)}
    figures["taken for English"] = _taken_for_english(reader, [r for s in rows.values() for r in s[::4]])
    return figures


def _labelled(
    reader: Reader, source: str, rows: Sequence[Utterance], written: Callable[[str], str], known: bool | None = None
) -> dict[str, float]:
    """``known``: whether it is told who said the turns before; None: without them."""
    domain = reader.domains.index(DOMAIN[source])
    truth, guess, ordinal, value = [], [], [], []
    for row in rows:
        kinds = [(SAME if t.same else OTHER) if known else EARLIER for t in row.before[:TURNS]]
        turns = [] if known is None else [(written(t.text), k) for t, k in zip(row.before, kinds, strict=False)]
        out = reader.answer(written(row.text), turns)
        truth.append(row.labels[source][0])
        guess.append(EMOTIONS.index("neutral") if out is None else int(out["emotion"][0, domain].argmax()))
        if row.ordinal is not None and out is not None:
            ordinal.append(row.ordinal + 1)
            value.append(float(out["sentiment"].item()))
    table = metrics.confusion(np.array(truth), np.array(guess), len(HEADS[source]))
    order = metrics.confusion(np.array(ordinal), np.digitize(value, [-0.5, 0.5]), 3)
    return {
        "accuracy": round(metrics.accuracy(table), 4),
        "macro_f1": round(metrics.macro_f1(table), 4),
        "weighted_f1": round(metrics.weighted_f1(table), 4),
        "sentiment_weighted_f1": round(metrics.weighted_f1(order), 4),
    }


def _sentiment(reader: Reader, rows: Sequence[Utterance]) -> dict[str, float]:
    truth = np.array([row.score for row in rows])
    value = np.array([_value(reader, bare(row.text)) for row in rows])
    return {
        "mae": round(metrics.mae(truth, value), 4),
        "correlation": round(metrics.correlation(truth, value), 4),
        "accuracy2": round(float(((truth >= 0) == (value >= 0)).mean()), 4),
    }


def _denied(reader: Reader) -> dict[str, float]:
    """Of pairs: in how many the denial is the less positive by half a point, and how many denials are called happy."""
    falls = [_value(reader, yes) - _value(reader, no) for yes, no in DENIED]
    happy = 0
    for _, no in DENIED:
        out = reader.answer(no)
        happy += out is not None and int(out["emotion"][0, 1].argmax()) == EMOTIONS.index("happy")
    return {
        "less positive": round(float(np.mean(np.array(falls) > 0.5)), 3),
        "called happy": round(happy / len(DENIED), 3),
    }


def _taken_for_english(reader: Reader, rows: Sequence[Utterance]) -> dict[str, float]:
    """By set, of texts of three words or more without punctuation."""
    found: dict[str, list[bool]] = {}
    for row in rows:
        out = reader.answer(bare(row.text)) if len(row.text.split()) > 2 else None
        if out is not None:
            found.setdefault(row.source, []).append(english(out))
    return {source: round(float(np.mean(said)), 4) for source, said in sorted(found.items())}


def _value(reader: Reader, text: str) -> float:
    out = reader.answer(text)
    return 0.0 if out is None else float(out["sentiment"].item())
