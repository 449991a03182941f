"""What each combination is scored on, and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.domain import Combination, modalities_of
from edge_mer.session import evaluation_metrics as metrics
from pipelines.data.corpora import NO_ORDINAL, UNKNOWN
from pipelines.encoders.nets import CLASSES
from pipelines.fusion.windows import NEUTRAL, Example, Placed

# Most words are neutral, whatever voice and face express.
PLAIN: Final = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class ScoredWindow:
    """One window to score: its tracks with the time at which it ends, and the example with its labels."""

    placed: Placed
    truth: Example


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """``logits`` [n, 7], ``sentiment`` [n]."""

    logits: NDArray[np.float32]
    sentiment: NDArray[np.float32]


def cases(c: Combination, clips: Sequence[Example], texts: Sequence[Example]) -> tuple[str, list[ScoredWindow]]:
    """The name of the table and its rows: recorded clips, texts, or clips paired with texts."""
    if "text" not in modalities_of(c):
        return "ravdess dev, last 4 s of the clip", [ScoredWindow(last_window(clip), clip) for clip in clips]
    if c == "t":
        return "goemotions + meld + mosi dev", [ScoredWindow({"text": (t.tracks["text"], 0.0)}, t) for t in texts]
    rows = [
        ScoredWindow({**last_window(clip), "text": (t.tracks["text"], 0.5)}, replace(t, emotion=clip.emotion))
        for clip, t in pair(clips, texts)
    ]
    return "label-paired windows (ravdess dev with a text of its label, or a neutral one)", rows


def pair(clips: Sequence[Example], texts: Sequence[Example], seed: int = 0) -> list[tuple[Example, Example]]:
    """Each clip with a random text that has a sentiment too: of its label, or, for PLAIN of them, a neutral one."""
    random = np.random.default_rng(seed)
    by_label = [[t for t in texts if t.emotion == e and t.ordinal != NO_ORDINAL] for e in range(CLASSES)]
    found = []
    for clip in clips:
        words = by_label[NEUTRAL if random.random() < PLAIN else clip.emotion]
        found.append((clip, words[random.integers(len(words))]))
    return found


def figures(c: Combination, rows: Sequence[ScoredWindow], predicted: Predicted) -> dict[str, float]:
    """Emotion over the rows with a label; sentiment by order and by score where it is annotated."""
    emotion = np.array([r.truth.emotion for r in rows])
    known = emotion != UNKNOWN
    table = metrics.confusion(emotion[known], predicted.logits.argmax(1)[known], CLASSES)
    out = {
        "accuracy": metrics.accuracy(table),
        "uar": metrics.uar(table),
        "macro_f1": metrics.macro_f1(table),
        "weighted_f1": metrics.weighted_f1(table),
    }
    if "text" in modalities_of(c):
        out |= _sentiment(rows, predicted.sentiment)
    return {name: round(value, 4) for name, value in out.items()}


def _sentiment(rows: Sequence[ScoredWindow], value: NDArray[np.float32]) -> dict[str, float]:
    ordinal, score = (np.array([getattr(r.truth, name) for r in rows]) for name in ("ordinal", "score"))
    ranked, scored = ordinal != NO_ORDINAL, ~np.isnan(score)
    order = np.digitize(value[ranked], [-0.5, 0.5])
    out = {"sentiment_weighted_f1": metrics.weighted_f1(metrics.confusion(ordinal[ranked] + 1, order, 3))}
    if scored.any():
        out["mosi_mae"] = metrics.mae(score[scored], value[scored])
        out["mosi_correlation"] = metrics.correlation(score[scored], value[scored])
    return out


def last_window(clip: Example) -> Placed:
    """All tracks of a recording, to its end."""
    end = max(float(track.end_s[-1]) for track in clip.tracks.values())
    return {m: (track, end) for m, track in clip.tracks.items()}
