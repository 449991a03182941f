"""Settings of the fold in its own units; written into the journal, because a replay must use the same."""

from __future__ import annotations

import math

from msgspec import Struct

from edge_mer import config
from edge_mer.domain import Modality


class Settings(Struct, frozen=True):
    """Times in microseconds. ``smoothing`` is the weight of the previous estimate, 0 for none."""

    window_us: int
    hop_us: int
    lateness_us: int
    horizon_us: int
    smoothing: float
    min_tokens: float
    hysteresis_hops: int
    max_age_us: dict[Modality, int]


def settings_from(section: config.Fusion) -> Settings:
    smooth = math.exp(-section.hop_s / section.smoothing_s) if section.smoothing_s else 0.0
    return Settings(
        window_us=round(section.window_s * 1e6),
        hop_us=round(section.hop_s * 1e6),
        lateness_us=round(section.lateness_s * 1e6),
        horizon_us=round(section.horizon_s * 1e6),
        smoothing=smooth,
        min_tokens=section.min_tokens,
        hysteresis_hops=section.hysteresis_hops,
        max_age_us={m: round(s * 1e6) for m, s in section.max_age_s.items()},
    )
