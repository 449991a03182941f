"""The personal neutral: voice and face of a person without expression, so that they are not taken for an emotion.

Opt-in, on this host, erasable. It is learnt by command, from tokens that perception publishes, and stored in the state
directory; the shifts that fusion derives from it are in the journal's opening, so a replay is exact without the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edge_mer.contract.messages import Body, Feature, Message, SensorState
from edge_mer.contract.modalities import TABLE, Modality
from edge_mer.fusion.novelty import LEAST
from edge_mer.fusion.window import TokenWindow

# Tokens of about 10 s, of each modality that has a neutral.
FEWEST: Final[Mapping[Modality, int]] = {
    m: row.neutral_tokens for m, row in TABLE.items() if row.neutral_tokens is not None
}
MODALITIES: Final[tuple[Modality, ...]] = tuple(FEWEST)
# How far a personal neutral is moved to that of the training data. Of 0, 1/4, 1/2, 3/4 and 1, 1/2 had the best
# likelihood for faces, and nearly that of 3/4 for voice and both; selected on the actors of calibration.baseline.
SHARE: Final = 0.5


class Neutral(Struct, frozen=True):
    """One modality: the mean of ``tokens`` tokens (of a face: of their logarithm) by the encoder ``model``."""

    level: tuple[float, ...]
    tokens: int
    model: str
    date: str


Baseline = dict[Modality, Neutral]


@dataclass(frozen=True, slots=True, eq=False)
class Learning:
    """Sums of one modality while a person is neutral. ``spoiled``: masked during learning, so nothing is kept."""

    total: NDArray[np.float64] | None = None
    tokens: int = 0
    model: str = ""
    mask_epoch: int | None = None
    spoiled: bool = False


def described(modality: Modality, values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Tokens [n, d] on the scale on which they are averaged and moved."""
    tokens = np.asarray(values, np.float64)
    return np.log(np.maximum(tokens, 0) + LEAST) if TABLE[modality].posterior else tokens


def learn(state: Mapping[Modality, Learning], message: Message[Body]) -> dict[Modality, Learning]:
    """Fold in one feature or sensor state. A mask, or another epoch, discards the modality permanently."""
    body = message.body
    if not isinstance(body, (Feature, SensorState)) or body.modality not in MODALITIES:
        return dict(state)
    was = state.get(body.modality, Learning())
    now = replace(was, mask_epoch=body.mask_epoch if was.mask_epoch is None else was.mask_epoch)
    masked = isinstance(body, SensorState) and body.gate != "live"
    if was.spoiled or masked or body.mask_epoch != now.mask_epoch:
        return {**state, body.modality: Learning(spoiled=True)}
    if isinstance(body, Feature):
        values, _, _, valid = message.payload
        rows = described(body.modality, values[valid.astype(bool)])
        if not np.isfinite(rows).all() or (was.model not in ("", body.model)):
            return {**state, body.modality: Learning(spoiled=True)}
        total = rows.sum(0) if was.total is None else was.total + rows.sum(0)
        now = replace(now, total=total, tokens=was.tokens + len(rows), model=body.model)
    return {**state, body.modality: now}


def learnt(state: Mapping[Modality, Learning], date: str) -> tuple[Baseline, list[str]]:
    """The modalities with enough tokens, and the reasons why others are missing."""
    found, lacking = Baseline(), list[str]()
    for m in MODALITIES:
        s = state.get(m, Learning())
        if s.spoiled:
            lacking.append(f"{m}: it was masked, or its encoder changed, during learning; nothing of it is kept")
        elif s.total is None or s.tokens < FEWEST[m]:
            lacking.append(f"{m}: {s.tokens} usable tokens, expected at least {FEWEST[m]} (10 s)")
        else:
            found[m] = Neutral(tuple((s.total / s.tokens).tolist()), s.tokens, s.model, date)
    return found, lacking


def shifts(
    baseline: Baseline, neutral: Mapping[Modality, tuple[float, ...]], encoders: Mapping[Modality, str]
) -> dict[Modality, tuple[float, ...]]:
    """The vector added to each audio token, and the factors of each face posterior.

    ``neutral``: of the people that fusion was calibrated on. Baselines of other encoders, and modalities without a
    calibrated neutral, are left out.
    """
    out: dict[Modality, tuple[float, ...]] = {}
    for m, own in baseline.items():
        if m not in neutral or own.model != encoders[m] or len(own.level) != len(neutral[m]):
            continue
        way = SHARE * (np.array(neutral[m]) - own.level)
        out[m] = tuple((np.exp(way) if TABLE[m].posterior else way).tolist())
    return out


def moved(modality: Modality, values: NDArray[np.float32], shift: tuple[float, ...]) -> NDArray[np.float32]:
    """Tokens [n, d] shifted, so that the personal neutral is closer to that of the calibration data."""
    tokens = np.asarray(values, np.float64)
    if TABLE[modality].posterior:
        shares = (tokens + LEAST) * shift
        return np.asarray(shares / shares.sum(-1, keepdims=True), np.float32)
    return np.asarray(tokens + shift, np.float32)


def personal(modality: Modality, window: TokenWindow, shift: tuple[float, ...] | None) -> TokenWindow:
    """A window with its valid tokens shifted; empty slots stay 0."""
    if shift is None or not window.tokens:
        return window
    there = window.mask > 0
    values = window.values.copy()
    values[there] = moved(modality, values[there], shift)
    return replace(window, values=values)
