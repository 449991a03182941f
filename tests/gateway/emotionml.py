"""Reads back EmotionML documents of ``edge_mer.gateway.formats``, to test that they are lossless."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from edge_mer.gateway.formats import FACTS, HIGHEST, LOWEST, NAMESPACE, OURS


def from_emotionml(document: str) -> dict[str, Any]:
    """The fields of FACTS, ``wall_us``, ``probabilities``, ``sentiment`` and ``expressed_through`` of one document."""
    root = ET.fromstring(document)
    facts = root.find(f".//{{{OURS}}}estimate")
    assert facts is not None
    emotion = root.find(f"{{{NAMESPACE}}}emotion")
    categories = [] if emotion is None else emotion.findall(f"{{{NAMESPACE}}}category")
    dimension = None if emotion is None else emotion.find(f"{{{NAMESPACE}}}dimension")
    sentiment = None if dimension is None else float(dimension.attrib["value"]) * (HIGHEST - LOWEST) + LOWEST
    return {
        **{name: _value(name, facts.get(name)) for name in FACTS},
        "wall_us": int(facts.attrib["wall_us"]),
        "probabilities": {c.attrib["name"]: float(c.attrib["confidence"]) for c in categories} or None,
        "sentiment": sentiment,
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
