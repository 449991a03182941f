"""Settings of the fold in microseconds; stored in the journal, because a replay must use the same."""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

from edge_mer import config
from edge_mer.contract.modalities import TABLE, Modality
from edge_mer.fusion.affect import LABELS, Affect

# A weak voice or face needs twice as many tokens before it takes part.
WEAK: Final = 2.0


class FusionSettings(Struct, frozen=True):
    """Times in microseconds. ``smoothing`` is the weight of the previous estimate, 0 for none.

    From sensor calibration: ``delay_us`` is how late a modality's tokens are stamped relative to the others; ``demand``
    multiplies the share of valid tokens that a weak sensor needs. From the personal neutral: ``baseline`` as returned
    by edge_mer.fusion.baseline.shifts. ``affect`` gives valence and arousal; sessions from before them have none.
    """

    window_us: int
    hop_us: int
    lateness_us: int
    horizon_us: int
    smoothing: float
    min_tokens: float
    hysteresis_hops: int
    max_age_us: dict[Modality, int]
    delay_us: dict[Modality, int] = {}
    demand: dict[Modality, float] = {}
    baseline: dict[Modality, tuple[float, ...]] = {}
    affect: Affect | None = None


UNCALIBRATED = config.SensorsConfig()


def settings_from(section: config.FusionConfig, sensors: config.SensorsConfig = UNCALIBRATED) -> FusionSettings:
    smooth = math.exp(-section.hop_s / section.smoothing_s) if section.smoothing_s else 0.0
    return FusionSettings(
        window_us=round(section.window_s * 1e6),
        hop_us=round(section.hop_s * 1e6),
        lateness_us=round(section.lateness_s * 1e6),
        horizon_us=round(section.horizon_s * 1e6),
        smoothing=smooth,
        min_tokens=section.min_tokens,
        hysteresis_hops=section.hysteresis_hops,
        max_age_us={m: round(s * 1e6) for m, s in section.max_age_s.items()},
        delay_us=delays(sensors.offset_s),
        demand=demands(sensors),
        affect=LABELS,
    )


def delays(offset_s: float) -> dict[Modality, int]:
    """Which modality is stamped late, and by how much: video for ``offset_s`` > 0, else audio."""
    if not offset_s:
        return {}
    return {"video" if offset_s > 0 else "audio": round(abs(offset_s) * 1e6)}


def demands(sensors: config.SensorsConfig) -> dict[Modality, float]:
    """A voice close to the noise level, and a small or badly lit face, need more tokens to take part."""
    return {m: WEAK for m, row in TABLE.items() if row.weak is not None and getattr(sensors, row.weak)}
