"""One ``emotion`` message in two standard formats, EmotionML 1.0 (XML) and the terms of ISO/IEC 30150 (JSON), and one
``event`` message in EmotionML.

EmotionML is the W3C Recommendation of 22 May 2014. Its vocabulary of six big emotions has no neutral, so each document
defines the seven classes itself. A class has its probability as ``confidence``. It has no ``value``, because that is an
intensity, which is not measured. An emotion has one set of dimensions, so sentiment stands beside valence and arousal
(as W3C's vocabularies name them) in one of this document. ISO/IEC 30150-1:2022 is a model and 30150-31 (annotation of
data streams) is a draft without a published JSON form: ``to_iso30150`` uses their terms (modality, timestamp, category,
dimension, value).
"""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET  # used to write only; no foreign documents are parsed

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import EMOTIONS, EVENT_LABELS, Combination, modalities_of
from edge_mer.contract.messages import Estimate, EventChange
from edge_mer.contract.modalities import TABLE

NAMESPACE = "http://www.w3.org/2009/10/emotionml"
OURS = "urn:edge_mer:emotion:1"
CATEGORIES, DIMENSIONS, EVENTS = "edge_mer-categories", "edge_mer-dimensions", "edge_mer-events"
SENTIMENT = "sentiment"
LOWEST, HIGHEST = -3.0, 3.0
# Each dimension with its range; EmotionML has all of them in [0, 1].
RANGES = {SENTIMENT: (LOWEST, HIGHEST), "valence": (-1.0, 1.0), "arousal": (-1.0, 1.0)}
MILLISECOND = SECOND // 1000
# Fields without an EmotionML name: attributes of one element of our namespace in <info>.
FACTS = (
    "combination",
    "label",
    "abstain",
    "confidence",
    "calibrated",
    "sentiment_reason",
    "valence_reason",
    "arousal_reason",
    "revision",
    "final",
    "biometric",
    "mask_epoch",
    "model",
)
EVENT_FACTS = (
    "event",
    "phase",
    "evidence",
    "threshold",
    "hours_per_wrong",
    "proven_hours",
    "reason",
    "biometric",
    "mask_epoch",
    "model",
)
# XML 1.0 cannot represent these characters, not even as references.
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
ET.register_namespace("", NAMESPACE)
ET.register_namespace("em", OURS)


def scaled(value: float, name: str = SENTIMENT) -> float:
    """A value of the dimension ``name`` as the [0, 1] of EmotionML; 0.5 is neutral."""
    lowest, highest = RANGES[name]
    return (value - lowest) / (highest - lowest)


def _dimensions(estimate: Estimate) -> dict[str, float]:
    """The dimensions that have a value."""
    return {name: value for name in RANGES if (value := getattr(estimate, name)) is not None}


def to_emotionml(estimate: Estimate, wall_us: int) -> str:
    """An EmotionML 1.0 document of one estimate. ``wall_us``: its ``origin_us`` on the wall clock (topic ``clock``).

    An estimate with neither classes nor dimensions gives a document without an <emotion>; <info> holds the reason.
    """
    root = _document((CATEGORIES, "category", EMOTIONS), (DIMENSIONS, "dimension", tuple(RANGES)))
    place = root
    if estimate.probabilities is not None or _dimensions(estimate):
        place = _emotion(root, estimate, wall_us)
    _info(place, "estimate", {**{name: getattr(estimate, name) for name in FACTS}, "wall_us": wall_us})
    return ET.tostring(root, encoding="unicode", xml_declaration=False)


def event_to_emotionml(change: EventChange, offset_us: int) -> str:
    """An EmotionML 1.0 document of the beginning or the end of an event. ``offset_us``: to wall time (topic ``clock``).

    Its label has neither value nor confidence: the evidence, a likelihood ratio, is in <info>.
    """
    root = _document((EVENTS, "category", EVENT_LABELS))
    attributes = {"start": str((change.begin_us + offset_us) // MILLISECOND), "category-set": f"#{EVENTS}"}
    if change.end_us is not None:
        attributes["end"] = str((change.end_us + offset_us) // MILLISECOND)
    emotion = ET.SubElement(root, _tag("emotion"), {**attributes, **_through(*change.combinations)})
    ET.SubElement(emotion, _tag("category"), name=change.label)
    _info(emotion, "event", {name: getattr(change, name) for name in EVENT_FACTS})
    return ET.tostring(root, encoding="unicode", xml_declaration=False)


def _document(*vocabularies: tuple[str, str, tuple[str, ...]]) -> ET.Element:
    """An empty document that defines its own vocabularies: (id, kind, items)."""
    root = ET.Element(_tag("emotionml"), version="1.0")
    for name, kind, items in vocabularies:
        vocabulary = ET.SubElement(root, _tag("vocabulary"), type=kind, id=name)
        for item in items:
            ET.SubElement(vocabulary, _tag("item"), name=item)
    return root


def _info(place: ET.Element, name: str, facts: dict[str, object]) -> None:
    """What has no EmotionML name."""
    known = {k: text for k, v in facts.items() if (text := _text(v)) is not None}
    ET.SubElement(ET.SubElement(place, _tag("info")), f"{{{OURS}}}{name}", known)


def _through(*combinations: Combination) -> dict[str, str]:
    channels = dict.fromkeys(TABLE[m].channel for c in combinations for m in modalities_of(c))
    return {"expressed-through": " ".join(channels)} if channels else {}


def _emotion(root: ET.Element, estimate: Estimate, wall_us: int) -> ET.Element:
    attributes = {"end": str(wall_us // MILLISECOND)}  # an estimate describes the window that ends at its origin
    emotion = ET.SubElement(root, _tag("emotion"), {**attributes, **_through(estimate.combination)})
    if estimate.probabilities is not None:
        emotion.set("category-set", f"#{CATEGORIES}")
        for name in EMOTIONS:
            ET.SubElement(emotion, _tag("category"), name=name, confidence=repr(estimate.probabilities[name]))
    if found := _dimensions(estimate):
        emotion.set("dimension-set", f"#{DIMENSIONS}")
        for dimension, value in found.items():
            ET.SubElement(emotion, _tag("dimension"), name=dimension, value=repr(scaled(value, dimension)))
    return emotion


def to_iso30150(estimate: Estimate, wall_us: int) -> dict[str, Any]:
    """The estimate in the terms of ISO/IEC 30150: observation, time, modalities and confidence.

    ``value`` of a category is null because intensity is not measured; ``timestamp`` is wall time in milliseconds.
    """
    probabilities = estimate.probabilities or {}
    return {
        "timestamp": wall_us // MILLISECOND,
        "modalities": [
            {"modality": m, "channel": TABLE[m].channel, "state": p.state, "reason": p.reason}
            for m, p in estimate.presence.items()
        ],
        "category": {
            "name": estimate.label,
            "confidence": estimate.confidence,
            "value": None,
            "reason": estimate.abstain,
            "calibrated": estimate.calibrated,
        },
        "categories": [{"name": name, "confidence": p, "value": None} for name, p in probabilities.items()],
        "dimensions": [
            {
                "name": name,
                "value": getattr(estimate, name),
                "range": list(limits),
                "reason": getattr(estimate, f"{name}_reason"),
            }
            for name, limits in RANGES.items()
        ],
        "annotator": {
            "type": "machine",
            "name": estimate.model,
            "revision": estimate.revision,
            "final": estimate.final,
        },
    }


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return NOT_XML.sub("\N{REPLACEMENT CHARACTER}", value)
    return None if value is None else repr(value)
