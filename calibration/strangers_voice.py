"""The voice alone on speakers, corpora and levels that its head was not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from calibration.strangers import Row, interval, interval_of
from calibration.strangers_affect import arousal_of, aroused
from edge_mer.contract.domain import EMOTIONS
from edge_mer.perception.voice import LOG_MEL
from edge_mer.runtime.backend import Graph
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.corpora import ACTED, LABEL
from pipelines.data.recordings import sound_of
from pipelines.data.unseen import ABROAD, UNSEEN, Unseen
from pipelines.data.voices import DEV_FOLD, Voice, fold_of
from pipelines.encoders import checkpoint
from pipelines.encoders.shipped import FILES
from pipelines.encoders.voice import Chosen, Features
from pipelines.encoders.voice_net import VoiceHead
from pipelines.encoders.voice_windows import frames_of, recorded_tokens, window
from pipelines.exporting.voice_features import features

FOUR: Final = ("angry", "happy", "neutral", "sad")
LEVELS_DB: Final = (-24, -12, 0, 6)
LEVEL_CLIPS: Final = 120
BAD: Final = ("angry", "sad", "fear", "disgust")
# Which of our seven each acted emotion is.
SEVEN: Final = np.array([EMOTIONS.index(LABEL[a]) for a in ACTED])
QUIET: Final = EMOTIONS.index("neutral")


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """Clips and the logits [n, 8] that a head gave which was not trained on their speakers."""

    voices: Sequence[Voice]
    logits: NDArray[np.float64]

    def some(self, chosen: Chosen) -> Answered:
        return Answered([v for v, c in zip(self.voices, chosen, strict=True) if c], self.logits[chosen])

    @property
    def speakers(self) -> list[str]:
        return [v.speaker for v in self.voices]

    @property
    def right8(self) -> NDArray[np.float64]:
        return np.asarray(self.logits.argmax(1) == [ACTED.index(v.label) for v in self.voices], np.float64)

    @property
    def seven(self) -> NDArray[np.int64]:
        """The label of our seven [n]."""
        return np.asarray(seven_of(self.logits).argmax(1), np.int64)

    @property
    def quiet(self) -> NDArray[np.float64]:
        """1 where neutral or calm is the label, [n]."""
        return np.asarray(self.seven == QUIET, np.float64)

    @property
    def n(self) -> str:
        return f"{len(self.voices)} ({len(set(self.speakers))})"


def seven_of(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Posterior [n, 7] over our labels: calm is neutral."""
    each = np.exp(logits - logits.max(1, keepdims=True))
    out = np.zeros((len(logits), len(EMOTIONS)))
    np.add.at(out.T, SEVEN, each.T)
    return np.asarray(out / out.sum(1, keepdims=True), np.float64)


def rows(root: Path, runs: Path, models: Path) -> Iterator[Row]:
    """All rows, from the tokens that ``python -m pipelines.train voice`` leaves in ``runs``: those of each clip by a
    head that was not trained on its speaker, or not on its corpus. Levels and CREMA-D go through the shipped graph."""
    (everyone, found), graph = features(root, runs), OnnxRuntime().load(models / FILES["audio"])
    head = VoiceHead()
    head.load_state_dict(dict(checkpoint.load(runs / "voice.pt").weights))
    unseen, abroad = (
        answered(head, Unseen.read(runs / file, everyone, str(graph.metadata.get(name))), found)
        for file, name in ((UNSEEN, "unseen"), (ABROAD, "abroad"))
    )
    corpus = np.array([v.corpus for v in everyone])
    ravdess = unseen.some(corpus == "ravdess")
    yield from acted(ravdess)
    yield from aroused("RAVDESS, 20 actors", ravdess.voices, arousal_of(head, ravdess.logits))
    yield from neutral(unseen)
    for name in sorted({v.corpus for v in abroad.voices}):
        some = abroad.some(np.array([v.corpus == name for v in abroad.voices]))
        yield left_out(name, some)
        yield from aroused(f"left out: {name}", some.voices, arousal_of(head, some.logits))
    yield levels(graph, [v for v, f in zip(everyone, fold_of(everyone), strict=True) if f == DEV_FOLD])
    yield from gaps(unseen)
    yield crema(root, graph)


def answered(head: VoiceHead, found: Unseen, features: Features) -> Answered:
    """The logits of each clip as recorded, with the prior of ``head``: of its windows by how much of each is voiced, as
    the graph weighs them."""
    rows = np.flatnonzero(~found.moved)
    recorded = np.flatnonzero(~features.moved)
    voiced = {(features.clip[i], features.token[i]): features.voiced[i] for i in recorded}
    weight = np.array([voiced[found.clip[i], found.token[i]] for i in rows], np.float64)
    with torch.no_grad():
        logits = head.logits(torch.from_numpy(found.values[rows])).numpy()
    clips, of_row = np.unique(found.clip[rows], return_inverse=True)
    total, whole = np.zeros((len(clips), len(ACTED))), np.zeros(len(clips))
    np.add.at(total, of_row, logits * weight[:, None])
    np.add.at(whole, of_row, weight)
    return Answered([found.voices[i] for i in clips], total / whole[:, None])


def acted(ravdess: Answered) -> Iterator[Row]:
    """RAVDESS, eight classes, every actor by a head that was not trained on him or her; and the dev actors of these."""
    dev = np.array([int(v.speaker.split()[1]) > 16 for v in ravdess.voices])
    for what, some, target in (
        ("RAVDESS, 8 classes, 20 actors", ravdess, 0.75),
        ("of these dev, 17-20", ravdess.some(dev), None),
    ):
        value, low, high = interval(some.right8, some.speakers)
        yield Row(what, value, low, high, some.n, f">= {target}" if target else "", value >= target if target else None)


def neutral(answered: Answered) -> Iterator[Row]:
    """Neutral speech of speakers not trained on: what it is called."""
    groups = {
        "read, adults (libri_multi)": [v.corpus == "libri_multi" for v in answered.voices],
        "read, adults (speechocean)": [v.corpus == "speechocean" and not v.child for v in answered.voices],
        "read, children (speechocean)": [v.corpus == "speechocean" and v.child for v in answered.voices],
        "commands (wakewords)": [v.corpus == "wakewords" for v in answered.voices],
    }
    bad = [EMOTIONS.index(e) for e in BAD if e in EMOTIONS]
    for name, chosen in groups.items():
        some = answered.some(np.array(chosen))
        value, low, high = interval(some.quiet, some.speakers)
        yield Row(f"{name}: called neutral or calm", value, low, high, some.n, ">= 0.60", value >= 0.6)
        value, low, high = interval(np.isin(some.seven, bad).astype(float), some.speakers)
        yield Row(f"{name}: angry, sad, fear, disgust", value, low, high, some.n, "<= 0.10", value <= 0.1)


def left_out(name: str, some: Answered) -> Row:
    """UAR of the four classes on a corpus that the head was not trained on; only these four can be answered."""
    wanted = [EMOTIONS.index(LABEL[f]) for f in FOUR]
    label = np.array(
        [
            wanted.index(EMOTIONS.index(LABEL[v.label])) if EMOTIONS.index(LABEL[v.label]) in wanted else -1
            for v in some.voices
        ]
    )
    inside = some.some(label >= 0)
    label, guess = label[label >= 0], seven_of(inside.logits)[:, wanted].argmax(1)

    def recall(chosen: NDArray[np.int64]) -> float:
        return float(np.mean([(guess[chosen][label[chosen] == k] == k).mean() for k in set(label[chosen].tolist())]))

    value, low, high = interval_of(recall, inside.speakers)
    return Row(f"left out: {name}, UAR of 4", value, low, high, inside.n, ">= 0.40", value >= 0.4)


def levels(graph: Graph, dev: Sequence[Voice]) -> Row:
    """The same clips at other levels, softly clipped at the top: how often the label is another than at 0 dB."""
    some = [dev[i] for i in np.random.default_rng(0).permutation(len(dev))[:LEVEL_CLIPS]]
    labelled = {}
    for decibels in LEVELS_DB:
        labels = []
        for v in some:
            samples = v.samples() * np.float32(10 ** (decibels / 20))
            labels.append(label_of(graph, np.tanh(samples) if decibels > 0 else samples))
        labelled[decibels] = np.array(labels)
    moved = np.mean([labelled[d] != labelled[0] for d in LEVELS_DB if d], axis=0)
    value, low, high = interval(moved, [v.speaker for v in some])
    return Row("label changes at -24, -12 and +6 dB", value, low, high, str(len(some)), "<= 0.05", value <= 0.05)


def label_of(graph: Graph, samples: NDArray[np.float32]) -> int:
    """Of our seven, from a whole clip."""
    frames = frames_of(samples)
    parts = [graph.run({LOG_MEL: window(frames, int(t))}) for t in recorded_tokens(frames)]
    weight = np.exp([p["weight"].item() for p in parts])
    logits = np.concatenate([p["logits"] for p in parts]).astype(np.float64)
    return int(seven_of((weight / weight.sum()) @ logits[None])[0].argmax())


def gaps(answered: Answered) -> Iterator[Row]:
    """How far women and men, children and adults are apart."""
    ravdess = answered.some(np.array([v.corpus == "ravdess" for v in answered.voices]))
    readers = answered.some(np.array([v.corpus == "speechocean" for v in answered.voices]))
    adults = readers.some(np.array([not v.child for v in readers.voices]))
    yield gap("RAVDESS, women less men: accuracy", ravdess, ravdess.right8, _women(ravdess))
    yield gap("speechocean, women less men: called neutral", adults, adults.quiet, _women(adults))
    children = np.array([v.child for v in readers.voices])
    yield gap("speechocean, children less adults: called neutral", readers, readers.quiet, children)


def _women(some: Answered) -> Chosen:
    return np.array([v.sex == "f" for v in some.voices])


def gap(what: str, some: Answered, values: NDArray[np.float64], first: Chosen) -> Row:
    """The mean of ``values`` over the clips ``first``, less that over the others."""

    def apart(rows: NDArray[np.int64]) -> float:
        return float(values[rows][first[rows]].mean() - values[rows][~first[rows]].mean())

    value, low, high = interval_of(apart, some.speakers)
    return Row(what, value, low, high, some.n, "within 0.05", abs(value) <= 0.05)


def crema(root: Path, graph: Graph) -> Row:
    """12 clips of two speakers of CREMA-D, among its six classes: a sign."""
    right = []
    codes = {"ANG": "angry", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
    for folder, stem in (("av_clips", "1001_DFA_{}_XX.flv"), ("speech_clips", "crema_1002_DFA_{}_XX.wav")):
        for code, name in codes.items():
            labelled = label_of(graph, sound_of(root / folder / stem.format(code)))
            right.append(float(EMOTIONS[labelled] == LABEL.get(name, name)))
    value, low, high = interval(np.array(right), ["1001"] * 6 + ["1002"] * 6)
    return Row("CREMA-D, 12 clips, a sign", value, low, high, "12 (2)")
