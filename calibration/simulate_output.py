"""What the device would publish of a window: the same presence, model, novelty and abstention, one window at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.reliability import bins, null_errors
from edge_mer.config import Config
from edge_mer.contract.domain import EMOTIONS, MODALITIES, Combination, Emotion, Modality
from edge_mer.contract.messages import Estimate, Presence
from edge_mer.fusion.abstention import NOVEL
from edge_mer.fusion.estimate import Pending, estimate
from edge_mer.fusion.model import FusionModel
from edge_mer.fusion.presence import NOTHING, needed
from edge_mer.fusion.settings import FusionSettings, settings_from
from edge_mer.fusion.window import TokenWindow
from pipelines.fusion.windows import Placed, TokenTrack

SETTINGS = settings_from(Config().fusion)


def window_of(track: TokenTrack, end_s: float, capacity: int) -> TokenWindow:
    """The newest ``capacity`` valid tokens of the 4 s before ``end_s``, as the fold selects them."""
    inside = track.valid & (track.end_s <= end_s + 1e-9) & (track.end_s > end_s - SETTINGS.window_us / 1e6)
    rows = np.flatnonzero(inside)[-capacity:]
    values = np.zeros((capacity, track.values.shape[1]), np.float32)
    mask, age = np.zeros(capacity, np.float32), np.zeros(capacity, np.float32)
    if len(rows):
        values[-len(rows) :], mask[-len(rows) :], age[-len(rows) :] = track.values[rows], 1, end_s - track.end_s[rows]
    return TokenWindow(values, mask, age, len(rows), 0, False, None)


def publish(model: FusionModel, placed: Placed, settings: FusionSettings = SETTINGS) -> Estimate:
    """The first estimate of one window, unsmoothed; a modality with too few tokens is absent."""
    windows = {m: window_of(track, end, model.capacity[m]) for m, (track, end) in placed.items()}
    used = {m: w for m, w in windows.items() if w.tokens >= needed(m, model.capacity[m], settings)}
    presence: dict[Modality, Presence] = {
        m: Presence("present", None, used[m].tokens) if m in used else Presence("absent", _absence(m, placed), 0)
        for m in MODALITIES
    }
    body = estimate(Pending(0, used, presence, {}, 0, None), settings, model).estimate
    assert body is not None
    return body


def _absence(modality: Modality, placed: Placed) -> str:
    return (placed[modality][0].reason if modality in placed else "") or NOTHING[modality]


@dataclass(frozen=True, slots=True)
class Figures:
    """Of ``windows`` meant for one combination. ``usable``: share in which all its modalities were present; all other
    figures but ``given`` are of these.

    ``excess``: ECE of the published confidence over the null; ``by_chance``: 95 % of perfect models stay below this.
    ``coverage``: share of published sets that hold the truth, None where none was published. ``unfamiliar``: share out
    of distribution. ``given``: share of all windows with a label; ``right``: accuracy of these. NaN where there is
    nothing to count.
    """

    windows: int
    usable: float
    accuracy: float
    excess: float
    by_chance: float
    unfamiliar: float
    coverage: float | None
    given: float
    right: float
    confidence: float

    @property
    def withheld(self) -> float:
        return 1 - self.given


def figures(combination: Combination, bodies: Sequence[Estimate], truth: Sequence[int]) -> Figures:
    """``truth``: indices in EMOTIONS."""
    n = len(bodies)
    rows = [(b, EMOTIONS[t]) for b, t in zip(bodies, truth, strict=True) if b.combination == combination]
    confidence = np.array([b.confidence for b, _ in rows], np.float64)
    hits = np.array([top(b) == t for b, t in rows], bool)
    null = null_errors(confidence, draws=200) if len(rows) else np.zeros(0)
    sets = [t in b.prediction_set for b, t in rows if b.prediction_set is not None]
    labels = [b.label == t for b, t in rows if b.label is not None]
    return Figures(
        windows=n,
        usable=len(rows) / n,
        accuracy=_mean(hits),
        excess=bins(confidence, hits).error - float(null.mean()) if len(rows) else float("nan"),
        by_chance=float(np.quantile(null, 0.95) - null.mean()) if len(rows) else float("nan"),
        unfamiliar=_mean([(b.abstain or "").startswith(NOVEL) for b, _ in rows]),
        coverage=_mean(sets) if sets else None,
        given=len(labels) / n,
        right=_mean(labels),
        confidence=_mean(confidence),
    )


def top(body: Estimate) -> Emotion:
    """The likeliest label, given or withheld."""
    shares = body.probabilities or {}
    return max(shares, key=shares.__getitem__)


def _mean(values: Sequence[bool] | NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return float(np.asarray(values, np.float64).mean()) if len(values) else float("nan")
