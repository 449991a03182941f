"""Drives the fold of events in tests by plain function calls: estimates in, changes out."""

from __future__ import annotations

from typing import Any

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import EMOTIONS, Combination, Emotion
from edge_mer.contract.messages import Estimate, EventChange
from edge_mer.events.evidence import Ratio
from edge_mer.events.fold import EventState, initial, step
from edge_mer.events.settings import EventSettings, Rule
from edge_mer.fusion.estimate import NO_LATENCY

HOP = SECOND // 2
RATIO = Ratio(intercept=0.0, slope=1.0, floor=-3.0, cap=3.0)
RULE = Rule(threshold=2.0, hours_per_wrong=24.0, proven_hours=0.001)
SETTINGS = EventSettings(
    hop_us=HOP,
    weight=0.5,
    minimum_us=SECOND,
    gap_us=2 * SECOND,
    ratios={"angry": {"a": RATIO, "av": RATIO}, "sad": {"a": RATIO}, "negative": {"t": RATIO}},
    rules={"angry": {"a": RULE, "av": RULE}, "sad": {"a": RULE}, "negative": {"t": RULE}},
)


def estimate(
    label: Emotion | None = None, share: float = 0.95, combination: Combination = "a", **more: Any
) -> Estimate:
    """An estimate with ``share`` for one label; without a label every label is as likely."""
    rest = (1 - share) / (len(EMOTIONS) - 1)
    shares = {e: share if e == label else rest for e in EMOTIONS} if label else dict.fromkeys(EMOTIONS, 1 / 7)
    fields: dict[str, Any] = {
        "combination": combination,
        "probabilities": shares,
        "label": label,
        "abstain": None if label else "low confidence",
        "confidence": max(shares.values()),
        "calibrated": True,
        "sentiment": None,
        "sentiment_reason": None,
        "presence": {},
        "revision": 0,
        "final": False,
        "biometric": True,
        "mask_epoch": 0,
        "model": "m",
        "runtime": "",
        "latency_ms": NO_LATENCY,
    }
    return Estimate(**{**fields, **more})


ANGRY, CALM = estimate("angry"), estimate("neutral")
NOTHING = estimate(combination="none", probabilities=None, confidence=None, abstain="no modality present")


def fold(
    *estimates: Estimate, state: EventState | None = None, settings: EventSettings = SETTINGS, tick_us: int = 0
) -> tuple[EventState, list[EventChange]]:
    """Fold estimates one hop apart, the first at ``tick_us`` + a hop."""
    state, found = state or initial(settings), list[EventChange]()
    for i, one in enumerate(estimates, start=1):
        state, changes = step(settings, state, tick_us + i * HOP, one)
        found += changes
    return state, found
