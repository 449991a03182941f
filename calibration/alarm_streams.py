"""Hours of pieces, one after the other, and what fusion makes of every window of them: a batch of windows at a time.

A stream is what one home hears and sees: a person stays for some minutes, then another one, or noise. Presence,
novelty, calibration, abstention and smoothing are those of the fold, computed for all windows at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper
from scipy.signal import lfilter

from calibration.alarm_sounds import Piece
from calibration.predictions import graphs_of
from edge_mer.config import Config
from edge_mer.contract.domain import EMOTIONS, Combination, Modality, modalities_of
from edge_mer.contract.messages import Estimate
from edge_mer.contract.modalities import TABLE
from edge_mer.fusion.abstention import LOW, NOVEL
from edge_mer.fusion.calibration import Calibration, Fit, read, weights_of
from edge_mer.fusion.confidence import softmax
from edge_mer.fusion.estimate import NO_LATENCY
from edge_mer.fusion.model import GraphFusionModel
from edge_mer.fusion.novelty import LEAST, Novelty, describe
from edge_mer.fusion.presence import needed
from edge_mer.fusion.settings import settings_from

SETTINGS: Final = settings_from(Config().fusion)
HOP_S, WINDOW_S = SETTINGS.hop_us / 1e6, SETTINGS.window_us / 1e6
BATCH: Final = 256
# Hops whose windows are in memory at once.
PART: Final = 8192
# How long one person stays, seconds.
STAY_S: Final = (30.0, 180.0)
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Tokens of each modality by time, and where each piece begins: ``starts`` [p] s. ``sources``, ``people`` and
    ``labels`` [p] name what is heard or seen there; ``visits`` [p]: the same number while one person stays."""

    tokens: Mapping[Modality, tuple[NDArray[np.float32], Floats]]
    starts: Floats
    seconds: float
    sources: NDArray[np.str_]
    people: NDArray[np.str_]
    labels: NDArray[np.str_]
    visits: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Estimates of one combination at every hop.

    ``shares`` [n, 7] smoothed, NaN without an estimate; ``sentiment`` [n] the same; ``novel`` [n]: whether the window
    is out of distribution; ``withheld`` [n]: whether the label is, for this or another reason. ``piece`` [n]: the place
    in ``sources``, ``people``, ``labels``, ``visits``.
    """

    combination: Combination
    shares: Floats
    sentiment: Floats
    novel: NDArray[np.bool_]
    withheld: NDArray[np.bool_]
    piece: NDArray[np.int64]
    sources: NDArray[np.str_]
    people: NDArray[np.str_]
    labels: NDArray[np.str_]
    visits: NDArray[np.int64]

    @property
    def hours(self) -> float:
        return len(self.shares) * HOP_S / 3600


def stream_of(pieces: Sequence[Mapping[Modality, Piece]], visits: Sequence[int] | None = None) -> Stream:
    """Pieces in order; those of one place are heard and seen together, for as long as the longest (others repeat)."""
    tokens: dict[Modality, tuple[list[NDArray[np.float32]], list[Floats]]] = {}
    starts, at = list[float](), 0.0
    for together in pieces:
        seconds = max(p.seconds for p in together.values())
        starts.append(at)
        for modality, piece in together.items():
            track = piece.tracks[modality]
            values, ends = tokens.setdefault(modality, ([], []))
            for again in np.arange(0.0, seconds, piece.seconds):
                kept = track.valid & (track.end_s + again <= seconds)
                values.append(track.values[kept])
                ends.append(track.end_s[kept] + again + at)
        at += seconds
    joined = {m: (np.concatenate(v), np.concatenate(e)) for m, (v, e) in tokens.items()}

    def names(field: str) -> NDArray[np.str_]:
        return np.array([" + ".join(sorted({getattr(p, field) for p in some.values()} - {""})) for some in pieces])

    stays = np.array(visits if visits is not None else [0] * len(pieces), np.int64)
    return Stream(joined, np.array(starts), at, names("source"), names("person"), names("label"), stays)


def hours_of(by_modality: Mapping[Modality, Sequence[Piece]], hours: float, random: np.random.Generator) -> Stream:
    """``hours`` of people who come, stay and go; each person's pieces in random order, again and again."""
    people: dict[Modality, list[list[Piece]]] = {}
    for modality, pieces in by_modality.items():
        groups: dict[tuple[str, str], list[Piece]] = {}
        for piece in pieces:
            groups.setdefault((piece.source, piece.person), []).append(piece)
        people[modality] = list(groups.values())
    shown, visits = list[Mapping[Modality, Piece]](), list[int]()
    left = hours * 3600
    number = 0
    while left > 0:
        number += 1
        here = {m: _someone(groups, random) for m, groups in people.items()}
        stay = random.uniform(*STAY_S)
        while stay > 0:
            together = {m: group[int(random.integers(len(group)))] for m, group in here.items()}
            seconds = max(p.seconds for p in together.values())
            shown.append(together)
            visits.append(number)
            stay, left = stay - seconds, left - seconds
    return stream_of(shown, visits)


def _someone(groups: Sequence[list[Piece]], random: np.random.Generator) -> list[Piece]:
    """A source, evenly, then a person of it."""
    sources: dict[str, list[list[Piece]]] = {}
    for group in groups:
        sources.setdefault(group[0].source, []).append(group)
    names = sorted(sources)
    of_one = sources[names[int(random.integers(len(names)))]]
    return of_one[int(random.integers(len(of_one)))]


class Fusions:
    """The fusion graphs of ``models`` for many windows at once, and the fits that belong to them."""

    def __init__(self, models: Path) -> None:
        self._graphs = graphs_of(models)
        self._calibration = read(models, weights_of(self._graphs)) or Calibration("", {})
        self.model = GraphFusionModel(self._graphs, self._calibration)
        self._models, self._sessions = models, dict[Combination, onnxruntime.InferenceSession]()

    def track(self, combination: Combination, stream: Stream) -> Track:
        """Every hop of a stream, as ``combination`` where all its modalities are present, else without an estimate."""
        ends = np.arange(HOP_S, stream.seconds, HOP_S)
        parts = [self._part(combination, stream, ends[i : i + PART]) for i in range(0, len(ends), PART)]
        shares, sentiment, doubt = (np.concatenate(some) for some in zip(*parts, strict=True))
        shares, sentiment = smoothed(shares), smoothed(sentiment[:, None])[:, 0]
        out = withheld(shares, doubt, self._calibration.fits.get(combination))
        piece = np.clip(np.searchsorted(stream.starts, ends - 1e-9) - 1, 0, None)
        named = (stream.sources, stream.people, stream.labels, stream.visits)
        return Track(combination, shares, sentiment, doubt > 1, out, piece, *named)

    def _part(self, combination: Combination, stream: Stream, ends: Floats) -> tuple[Floats, Floats, Floats]:
        """Shares [n, 7] and sentiment [n], not smoothed, NaN without an estimate; and doubt [n]."""
        windows = {m: self._windows(m, stream, ends) for m in modalities_of(combination)}
        present, doubt = np.ones(len(ends), np.bool_), np.ones(len(ends))
        for m, parts in windows.items():
            present &= parts[1].sum(1) >= needed(m, self.model.capacity[m], SETTINGS)
            if m in self._calibration.novelty:
                doubt = np.maximum(doubt, doubts(self._calibration.novelty[m], m, parts))
        logits, sentiment = self._run(combination, windows, present)
        fit, raw = self._calibration.fits.get(combination), logits / doubt[:, None]
        shares = softmax(raw) if fit is None else fit.scaling.probabilities(combination, raw)
        shares[~present], sentiment[~present] = np.nan, np.nan
        return shares, sentiment, doubt

    def _windows(self, modality: Modality, stream: Stream, ends: Floats) -> tuple[NDArray[np.float32], ...]:
        """Values [n, T, D], mask [n, T] and age [n, T], right-aligned, as ``edge_mer.fusion.window.select`` does."""
        size, dim = self.model.capacity[modality], self.model.dims[modality]
        tokens, at = stream.tokens.get(modality, (np.zeros((0, dim), np.float32), np.zeros(0)))
        last = np.searchsorted(at, ends + 1e-9, "right")
        first = np.maximum(np.searchsorted(at, ends - WINDOW_S + 1e-9, "right"), last - size)
        places = last[:, None] - size + np.arange(size)
        inside = places >= first[:, None]
        places = np.where(inside, places, 0)
        values = tokens[places] if len(tokens) else np.zeros((len(ends), size, dim), np.float32)
        age = ends[:, None] - at[places] if len(tokens) else np.zeros((len(ends), size))
        mask = inside.astype(np.float32)
        values = np.where(inside[..., None], values, 0).astype(np.float32)
        return values, mask, np.asarray(age * mask, np.float32)

    def _run(
        self,
        combination: Combination,
        windows: Mapping[Modality, tuple[NDArray[np.float32], ...]],
        present: NDArray[np.bool_],
    ) -> tuple[Floats, Floats]:
        rows = np.flatnonzero(present)
        logits, sentiment = np.zeros((len(present), len(EMOTIONS))), np.full(len(present), np.nan)
        supported = self._graphs[combination].metadata["sentiment"]["supported"]
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            inputs: dict[str, Any] = {}
            for m, (values, mask, age) in windows.items():
                inputs |= {m: values[some], f"{m}_mask": mask[some], f"{m}_age": age[some]}
            found = self._session(combination).run(["logits", "sentiment"], inputs)
            logits[some] = found[0]
            if supported:
                sentiment[some] = np.clip(found[1][:, 0], -3, 3)
        return logits, sentiment

    def _session(self, combination: Combination) -> onnxruntime.InferenceSession:
        if combination not in self._sessions:
            self._sessions[combination] = batched(self._models / f"fusion.{combination}.onnx")
        return self._sessions[combination]


def batched(path: Path) -> onnxruntime.InferenceSession:
    """The graph of a file for any number of windows: its first dimension is 1 in the file."""
    model = onnx.load(str(path))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "windows"
    del model.graph.value_info[:]
    constants = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
    for node in model.graph.node:
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is not None and shape[0] == 1 and -1 not in shape:
            name = f"{node.input[1]}.windows"
            if name not in constants:
                constants[name] = np.array([-1, *shape[1:]], np.int64)
                model.graph.initializer.append(numpy_helper.from_array(constants[name], name))
            node.input[1] = name
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def smoothed(values: Floats) -> Floats:
    """The average of the fold over [n, k], which begins anew after a row of NaN."""
    weight = SETTINGS.smoothing
    out: Floats = values.copy()
    known = ~np.isnan(values[:, 0])
    begins = np.flatnonzero(known & ~np.r_[False, known[:-1]])
    ends = np.flatnonzero(known & ~np.r_[known[1:], False]) + 1
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        before = (weight * values[begin])[None]
        out[begin:end] = lfilter([1 - weight], [1, -weight], values[begin:end], axis=0, zi=before)[0]
    return out


def withheld(shares: Floats, doubt: Floats, fit: Fit | None) -> NDArray[np.bool_]:
    """Whether ``edge_mer.fusion.abstention`` withholds the label of each row [n, 7]."""
    confidence = np.nan_to_num(shares).max(1)
    out = (doubt > 1) | np.isnan(shares[:, 0])
    if fit is not None:
        out |= confidence < fit.floor
        if fit.set_limit is not None and fit.measured:
            labels = np.maximum(1, (1 - np.nan_to_num(shares) <= fit.set_limit).sum(1))
            out |= labels > fit.largest_set
    return np.asarray(out, np.bool_)


def doubts(known: Novelty, modality: Modality, parts: tuple[NDArray[np.float32], ...]) -> Floats:
    """``Novelty.doubt`` of each window; 0 where it has fewer than two tokens."""
    values, mask, age = parts
    found, count = np.zeros(len(mask)), mask.sum(1)
    if TABLE[modality].segments:
        for i in np.flatnonzero(count):
            description = describe(modality, values[i][mask[i] > 0], age[i][mask[i] > 0])
            found[i] = 0.0 if description is None else known.distance(description) / known.limit
        return found
    rows = np.flatnonzero(count >= 2)
    tokens, kept, n = values[rows].astype(np.float64), mask[rows] > 0, count[rows]
    level = np.log(np.maximum(tokens, 0) + LEAST) if TABLE[modality].posterior else tokens
    mean = (level * kept[..., None]).sum(1) / n[:, None]
    centre = (tokens * kept[..., None]).sum(1) / n[:, None]
    spread = np.sqrt(((tokens - centre[:, None]) ** 2 * kept[..., None]).sum(1) / n[:, None]).mean(1)
    steps = np.abs(np.diff(tokens, axis=1)) * (kept[:, 1:] & kept[:, :-1])[..., None]
    change = steps.sum((1, 2)) / ((n - 1) * tokens.shape[2])
    description = np.column_stack([mean, np.log(spread + LEAST), np.log(change + LEAST)])
    factor = np.zeros((len(known.mean),) * 2)
    for place, row in enumerate(known.whiten):
        factor[place, : place + 1] = row
    found[rows] = np.linalg.norm((description - known.mean) @ factor.T, axis=1) / known.limit
    return found


def longer(track: Track, hours: float, random: np.random.Generator) -> Track:
    """``hours`` of the visits of a track, drawn again and again."""
    edges = np.flatnonzero(np.diff(track.visits[track.piece])) + 1
    visits = np.split(np.arange(len(track.piece)), edges)
    chosen, left = list[NDArray[np.int64]](), round(hours * 3600 / HOP_S)
    while left > 0:
        chosen.append(visits[int(random.integers(len(visits)))])
        left -= len(chosen[-1])
    rows = np.concatenate(chosen)
    kept = {name: getattr(track, name)[rows] for name in ("shares", "sentiment", "novel", "withheld", "piece")}
    return replace(track, **kept)


def joined(one: Track, other: Track) -> Track:
    """The hours of both, which are of the same combination."""
    hops: dict[str, Any] = {
        name: np.concatenate([getattr(one, name), getattr(other, name)])
        for name in ("shares", "sentiment", "novel", "withheld", "sources", "people", "labels", "visits")
    }
    return replace(one, piece=np.concatenate([one.piece, other.piece + len(one.people)]), **hops)


def estimates(track: Track, part: slice = slice(None)) -> list[Estimate]:
    """The estimates of these hops that fusion would publish first, as the fold of events takes them."""
    columns = (track.shares, track.sentiment, track.novel, track.withheld)
    out = list[Estimate]()
    for shares, sentiment, is_novel, is_withheld in zip(*(c[part].tolist() for c in columns), strict=True):
        nothing = shares[0] != shares[0]
        out.append(
            Estimate(
                combination="none" if nothing else track.combination,
                probabilities=None if nothing else dict(zip(EMOTIONS, shares, strict=True)),
                label=None,
                abstain=NOVEL if is_novel else LOW if is_withheld else None,
                confidence=None if nothing else max(shares),
                calibrated=True,
                sentiment=None if sentiment != sentiment else sentiment,
                sentiment_reason=None,
                presence={},
                revision=0,
                final=False,
                biometric=True,
                mask_epoch=0,
                model="",
                runtime="",
                latency_ms=NO_LATENCY,
            )
        )
    return out
