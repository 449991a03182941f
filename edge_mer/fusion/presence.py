"""Whether a modality takes part, from data age and quality, with hysteresis (ALGORITHMS.md 5.4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from edge_mer.contract.messages import Presence
from edge_mer.contract.modalities import TABLE, Modality
from edge_mer.fusion.settings import FusionSettings
from edge_mer.fusion.window import ModalityTrack, TokenWindow, drop, newest_end, newest_reason, replaces_context

# Why a modality that has some tokens does not take part.
WARMING, FEW = "warming up", "too few tokens"
NOTHING: Final[Mapping[Modality, str]] = {m: row.words.nothing for m, row in TABLE.items()}
STALE: Final[Mapping[Modality, str]] = {m: row.words.stale for m, row in TABLE.items()}


def needed(modality: Modality, capacity: int, settings: FusionSettings) -> int:
    """Valid tokens that make a modality present: a share of the window, or any recent one of a segment."""
    share = min(1.0, settings.min_tokens * settings.demand.get(modality, 1.0))
    return 1 if replaces_context(modality) else math.ceil(share * capacity)


def decide(
    modality: Modality, track: ModalityTrack, window: TokenWindow, tick_us: int, settings: FusionSettings
) -> tuple[ModalityTrack, Presence]:
    """The track after this tick, and its presence in the estimate. A blocked sensor becomes absent at once."""
    if track.blocked is not None:
        state, reason = track.blocked
        return drop(track, tick_us), Presence(state, reason, 0)
    if not is_recent(modality, track, tick_us, settings):
        return drop(track, tick_us), Presence("absent", STALE[modality], 0)
    if window.tokens >= needed(modality, len(window.mask), settings):
        return replace(track, present=True, poor_hops=0), Presence("present", None, window.tokens)
    nothing = newest_reason(track.pieces, tick_us) or NOTHING[modality]
    if not track.present:
        if not window.tokens:
            return track, Presence("absent", nothing, 0)
        return track, Presence("warming", _why_few(track, tick_us, settings), window.tokens)
    poor = track.poor_hops + 1
    if window.tokens and poor < settings.hysteresis_hops:
        return replace(track, poor_hops=poor), Presence("present", None, window.tokens)
    return drop(track, tick_us), Presence("absent", nothing, window.tokens)


def _why_few(track: ModalityTrack, tick_us: int, settings: FusionSettings) -> str:
    """Whether the stream just started, or has existed long enough and too few of its tokens are valid."""
    began = min(int(p.start_us[0]) for p in track.pieces)
    return WARMING if tick_us - began <= settings.min_tokens * settings.window_us + settings.hop_us else FEW


def is_recent(modality: Modality, track: ModalityTrack, tick_us: int, settings: FusionSettings) -> bool:
    """Whether data, valid or not, still arrives."""
    newest = newest_end(track.pieces, tick_us)
    oldest = tick_us - settings.max_age_us[modality] - settings.delay_us.get(modality, 0)
    return newest is not None and newest > track.cut_us and newest >= oldest
