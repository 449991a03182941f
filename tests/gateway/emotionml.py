"""Reads back EmotionML documents of ``edge_mer.gateway.formats``, to test that they are lossless."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from edge_mer.gateway.formats import FACTS, NAMESPACE, OURS, RANGES


def from_emotionml(document: str) -> dict[str, Any]:
    """The fields of FACTS, ``wall_us``, ``probabilities``, the dimensions and ``expressed_through`` of one document."""
    root = ET.fromstring(document)
    facts = root.find(f".//{{{OURS}}}estimate")
    assert facts is not None
    emotion = root.find(f"{{{NAMESPACE}}}emotion")
    categories = [] if emotion is None else emotion.findall(f"{{{NAMESPACE}}}category")
    found = [] if emotion is None else emotion.findall(f"{{{NAMESPACE}}}dimension")
    shares = {d.attrib["name"]: float(d.attrib["value"]) for d in found}
    return {
        **{name: _value(name, facts.get(name)) for name in FACTS},
        "wall_us": int(facts.attrib["wall_us"]),
        "probabilities": {c.attrib["name"]: float(c.attrib["confidence"]) for c in categories} or None,
        **{n: shares[n] * (high - low) + low if n in shares else None for n, (low, high) in RANGES.items()},
        "expressed_through": tuple(emotion.get("expressed-through", "").split()) if emotion is not None else (),
    }


def _value(name: str, text: str | None) -> Any:
    if text is None:
        return None
    if name in ("calibrated", "final", "biometric"):
        return text == "true"
    if name in ("revision", "mask_epoch"):
        return int(text)
    return float(text) if name == "confidence" else text
