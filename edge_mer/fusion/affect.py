"""Valence and arousal of what is expressed, in [-1, 1]: documented points of the labels, weighted by what was found.

No set at hand has people's ratings of valence and arousal for voices or faces, so nothing is trained. ``POINTS`` are
the mean ratings of pleasure and arousal of these words by Russell and Mehrabian (1977, Evidence for a three-factor
theory of emotions, Journal of Research in Personality 11, 273-294; calm is their "relaxed"); neutral is 0 by
definition. ``python -m calibration.strangers affect`` measures what comes of it on people outside the training.

* Valence comes from face and words: the mean point of the probabilities where a face takes part, the sentiment of the
  words, or the mean of both. A voice alone has none: on speakers of another corpus it hardly tells happy from bad.
* Arousal comes from the voice: the mean point of the classes of its encoder, whose logits are its tokens. They still
  differ between a normal and a strong expression of one emotion, which the probabilities do not. Without a voice it is
  the mean point of the probabilities. Words alone have none: nothing measures it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np
from msgspec import Struct

from edge_mer.contract.domain import EMOTIONS, NAMES, Modality
from edge_mer.contract.errors import ModelError
from edge_mer.fusion.confidence import softmax
from edge_mer.fusion.window import TokenWindow
from edge_mer.perception.voice import LOG_MEL
from edge_mer.runtime.model_file import read_model

DIMENSIONS: Final = ("valence", "arousal")
POINTS: Final[Mapping[str, tuple[float, float]]] = {
    "neutral": (0.0, 0.0),
    "calm": (0.68, -0.46),
    "happy": (0.81, 0.51),
    "sad": (-0.63, -0.27),
    "angry": (-0.51, 0.59),
    "fear": (-0.64, 0.60),
    "disgust": (-0.60, 0.35),
    "surprise": (0.40, 0.67),
}
NO_VALENCE, NO_AROUSAL = "needs a face, or words with a sentiment", "needs a voice or a face"
HIGHEST_SENTIMENT: Final = 3.0
# What a logit of the voice encoder is multiplied with in its token.
SCALE: Final = 0.5


class Affect(Struct, frozen=True):
    """``valence`` and ``arousal`` of each of EMOTIONS; ``voice``: the arousal of each class whose logits the voice's
    tokens hold, once or several times over; empty where they hold something else.

    Part of the fold's settings, so that a session replays with the points that it was recorded with.
    """

    valence: tuple[float, ...]
    arousal: tuple[float, ...]
    voice: tuple[float, ...] = ()


LABELS: Final = Affect(tuple(POINTS[e][0] for e in EMOTIONS), tuple(POINTS[e][1] for e in EMOTIONS))


def affect_of(models: Path, encoders: Mapping[Modality, str]) -> Affect:
    """For the encoders that fusion was trained on: LABELS, and ``voice`` where that of ``models`` is one of them and
    its tokens are logits of known classes."""
    try:
        file = read_model(models / "audio.onnx")
    except ModelError:
        return LABELS
    meta = file.metadata
    names = [NAMES.get(name, name) for name in meta.get("classes", ())]
    inputs = [item["name"] for item in meta.get("contract", {}).get("inputs", ())]
    is_used = str(meta.get("origin", file.sha256))[:16] == encoders.get("audio")
    is_logits = LOG_MEL in inputs and names and not meta.get("dim", 1) % len(names)
    if not is_used or not is_logits or not set(names) <= set(POINTS):
        return LABELS
    return Affect(LABELS.valence, LABELS.arousal, tuple(POINTS[n][1] for n in names))


def dimensions(
    affect: Affect | None,
    windows: Mapping[Modality, TokenWindow],
    probabilities: Sequence[float],
    sentiment: float | None,
    withheld: str | None,
) -> dict[str, Any]:
    """The four fields of an estimate; none without ``affect``. ``withheld``: why nothing can be read from the input."""
    if affect is None:
        return {}
    if withheld is not None:
        return without(affect, withheld)
    face = [_mean(probabilities, affect.valence)] if "video" in windows else []
    words = [sentiment / HIGHEST_SENTIMENT] if sentiment is not None else []
    arousal = None
    if affect.voice and "audio" in windows:
        arousal = of_voice(affect.voice, windows["audio"])
    elif windows.keys() & {"audio", "video"}:
        arousal = _mean(probabilities, affect.arousal)
    valence = fmean(found) if (found := face + words) else None
    return {
        "valence": valence,
        "valence_reason": NO_VALENCE if valence is None else None,
        "arousal": arousal,
        "arousal_reason": NO_AROUSAL if arousal is None else None,
    }


def without(affect: Affect | None, reason: str) -> dict[str, Any]:
    """The fields of an estimate that has neither, for ``reason``; none without ``affect``."""
    if affect is None:
        return {}
    return {"valence": None, "valence_reason": reason, "arousal": None, "arousal_reason": reason}


def of_voice(points: Sequence[float], window: TokenWindow) -> float:
    """The mean of ``points`` [c] over the posterior of the mean token; a token holds logits [c], once or several times,
    each multiplied with SCALE."""
    tokens = window.values[window.mask > 0].astype(np.float64)
    return _mean(softmax(tokens.reshape(-1, len(points)).mean(0) / SCALE).tolist(), points)


def _mean(weights: Sequence[float], points: Sequence[float]) -> float:
    return sum(w * p for w, p in zip(weights, points, strict=True))
