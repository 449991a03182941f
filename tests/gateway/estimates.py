"""Estimates for the tests of the gateway."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from edge_mer.contract.domain import COMBINATIONS, EMOTIONS, MODALITIES
from edge_mer.contract.messages import Estimate, Latency, Presence

LATENCY = Latency(capture=1, encode=1, wait=1, fuse=1, publish=1, total=5)


def estimate(**fields: Any) -> Estimate:
    """An estimate of happy with confidence 0.7 from audio and text; ``fields`` override."""
    given: dict[str, Any] = {
        "combination": "at",
        "label": "happy",
        "abstain": None,
        "confidence": 0.7,
        "calibrated": True,
        "probabilities": {e: 0.7 if e == "happy" else 0.05 for e in EMOTIONS},
        "sentiment": 1.5,
        "sentiment_reason": None,
        "revision": 0,
        "final": False,
        "biometric": True,
        "mask_epoch": 7,
        "model": "m1",
        "presence": {
            m: Presence(state="masked" if m == "video" else "present", reason=None, tokens=9) for m in MODALITIES
        },
        "runtime": "onnxruntime",
        "latency_ms": LATENCY,
    }
    return Estimate(**{**given, **fields})


NONE_PRESENT = estimate(
    combination="none",
    label=None,
    abstain="nothing is present",
    confidence=None,
    probabilities=None,
    sentiment=None,
    sentiment_reason="nothing is present",
)

_texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cn", "Cs")), max_size=30)
_shares = st.floats(0, 1)


@st.composite
def estimates(draw: st.DrawFn) -> Estimate:
    """Any estimate that fusion may send, and some that it never sends."""
    has_label = draw(st.booleans())
    return estimate(
        combination=draw(st.sampled_from((*COMBINATIONS, "none"))),
        probabilities={e: draw(_shares) for e in EMOTIONS} if has_label else None,
        label=draw(st.sampled_from(EMOTIONS)) if has_label else None,
        confidence=draw(_shares) if has_label else None,
        abstain=None if has_label else draw(_texts),
        sentiment=draw(st.none() | st.floats(-3, 3)),
        sentiment_reason=draw(st.none() | _texts),
        calibrated=draw(st.booleans()),
        final=draw(st.booleans()),
        revision=draw(st.integers(0, 99)),
        model=draw(_texts),
    )
