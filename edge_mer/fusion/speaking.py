"""Whose voice is heard: the motion of each mouth against the loudness of the voice, over two seconds. A pure fold.

A mouth that speaks moves with the loudness of its voice (Cutler and Davis 2000, "Look who's talking"): here by the
correlation of log motion and level, the largest over small shifts. A voice belongs to a person only if it fits this
mouth well, every other much worse, and three times in a row; it is off screen only if it fits none five times in a row.
Then less is enough to stay certain. Thresholds were chosen on the scenes of ``python -m calibration.speaking``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.people import OFF_SCREEN, MouthOpening, Speaking, VoiceCurve

SPAN_US: Final = 2_000_000
# Voice arrives half a second late, mouths a fifth; older evidence decides nothing.
KEPT_US, OLDEST_US = 2 * SPAN_US, 1_500_000
# Of the span, this much must hold a voice, and pictures of a mouth at this rate.
VOICED_US, PICTURES_HZ = 500_000, 9
# What sound does to a mouth that moved between two pictures: levels of the tenth of a second before, at these delays.
AHEAD_US: Final = 100_000
SHIFTS_US: Final = tuple(range(-100_000, 200_001, 50_000))
QUIETEST_DB: Final = -60.0
STILL: Final = 0.02
# Correlation of a mouth that fits, how much better than every other, and of one that does not; then to stay with it.
FITS, CLEARER, ALIEN = 0.5, 0.3, 0.3
STILL_FITS, STILL_CLEARER = 0.35, 0.15
# Spans in a row: that a mouth fits shows sooner than that none does.
AGREED, AGREED_OFF_SCREEN = 3, 5


@dataclass(frozen=True, slots=True)
class VoiceState:
    """``curves``: loudness of the last seconds. ``candidate``: whom the newest span alone speaks for, ``agreed`` times
    in a row. ``owner``: the person whose voice it certainly is, "voice" for one off screen, None where that is not
    certain. ``is_heard``: there is a voice."""

    curves: tuple[VoiceCurve, ...] = ()
    candidate: str | None = None
    agreed: int = 0
    owner: str | None = None
    is_heard: bool = False


def heard(state: VoiceState, curve: VoiceCurve) -> VoiceState:
    """With a piece of loudness more; a gap or a step back in time forgets what was before."""
    last = state.curves[-1] if state.curves else None
    follows = last is not None and abs(curve.begin_us - end_of(last)) <= curve.step_us
    curves = (*state.curves, curve) if follows else (curve,)
    return replace(state, curves=tuple(c for c in curves if end_of(c) > end_of(curve) - KEPT_US))


def end_of(curve: VoiceCurve) -> int:
    return curve.begin_us + curve.step_us * len(curve.levels)


def recent(mouth: Sequence[MouthOpening], more: Sequence[MouthOpening]) -> tuple[MouthOpening, ...]:
    """The motion of one mouth in the last seconds."""
    both = (*mouth, *more)
    return tuple(o for o in both if o.at_us > both[-1].at_us - KEPT_US)


def decide(state: VoiceState, mouths: Mapping[str, Sequence[MouthOpening]], tick_us: int) -> VoiceState:
    """At a tick. ``mouths``: of everybody in view who is not masked; without pictures where there are none."""
    newest = [m[-1].at_us for m in mouths.values() if m]
    end = min([end_of(state.curves[-1]) if state.curves else 0, *newest])
    if end < tick_us - OLDEST_US:
        return VoiceState(state.curves)
    times, levels, voiced_us = _levels(state.curves, end)
    if voiced_us < VOICED_US:
        return VoiceState(state.curves, is_heard=voiced_us > 0)
    fits = {person: _fit(mouth, times, levels, end) for person, mouth in mouths.items()}
    candidate = _candidate(fits)
    if candidate is None and state.owner is not None and _stays(fits, state.owner):
        candidate = state.owner
    agreed = state.agreed + 1 if candidate == state.candidate else 1
    is_certain = candidate == state.owner or agreed >= (AGREED_OFF_SCREEN if candidate == OFF_SCREEN else AGREED)
    return VoiceState(state.curves, candidate, agreed, candidate if is_certain else None, is_heard=True)


def speaking(state: VoiceState, person: str) -> Speaking:
    """What is certain of one person."""
    if state.owner is None and state.is_heard:
        return "unknown"
    return "speaking" if state.owner == person else "silent"


def _candidate(fits: Mapping[str, float | None]) -> str | None:
    known = sorted((fit for fit in fits.values() if fit is not None), reverse=True)
    if not known or known[0] <= ALIEN:
        return OFF_SCREEN if len(known) == len(fits) else None
    is_clear = known[0] >= FITS and (len(known) < 2 or known[0] - known[1] >= CLEARER)
    return next(person for person, fit in fits.items() if fit == known[0]) if is_clear else None


def _stays(fits: Mapping[str, float | None], owner: str) -> bool:
    """Whether the voice may still be the owner's."""
    known = {person: fit for person, fit in fits.items() if fit is not None}
    if owner == OFF_SCREEN:
        return bool(known) and max(known.values()) < STILL_FITS
    others = max((fit for person, fit in known.items() if person != owner), default=0.0)
    return known.get(owner, 0.0) >= max(STILL_FITS, others + STILL_CLEARER)


def _levels(curves: Sequence[VoiceCurve], end_us: int) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
    """Ends (us) and levels (dB) of the steps that the span can need, and how much of the span holds a voice (us)."""
    times: list[int] = []
    levels: list[float] = []
    voiced = 0
    for curve in curves:
        for i, level in enumerate(curve.levels, start=1):
            at = curve.begin_us + curve.step_us * i
            times.append(at)
            levels.append(QUIETEST_DB if level is None else max(QUIETEST_DB, float(level)))
            voiced += curve.step_us if level is not None and end_us - SPAN_US < at <= end_us else 0
    return np.array(times, np.int64), np.array(levels), voiced


def _fit(
    mouth: Sequence[MouthOpening], times: NDArray[np.int64], levels: NDArray[np.float64], end_us: int
) -> float | None:
    """The largest correlation over the shifts; None with too few pictures of the mouth."""
    seen = [o for o in mouth if end_us - SPAN_US < o.at_us <= end_us]
    if len(seen) < PICTURES_HZ * SPAN_US // 1_000_000:
        return None
    moved = np.log(np.array([o.opening for o in seen]) + STILL)
    sums = np.concatenate([[0.0], np.cumsum(levels)])
    at = np.array([o.at_us for o in seen], np.int64)
    best = 0.0
    for shift in SHIFTS_US:
        last = np.searchsorted(times, at - shift, side="right")
        first = np.searchsorted(times, at - shift - AHEAD_US, side="right")
        count = np.maximum(1, last - first)
        sound = np.where(last > first, (sums[last] - sums[first]) / count, QUIETEST_DB)
        best = max(best, _correlation(moved, sound))
    return best


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    one, other = one - one.mean(), other - other.mean()
    size = float(np.sqrt(np.square(one).sum() * np.square(other).sum()))
    return float((one * other).sum()) / size if size > 1e-9 else 0.0
