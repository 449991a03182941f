"""EmotionML and ISO/IEC 30150 from one message: valid structure, without loss of data."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.contract.messages import Estimate, EventChange
from edge_mer.gateway.formats import FACTS, RANGES, event_to_emotionml, scaled, to_emotionml, to_iso30150
from tests.gateway.emotionml import from_emotionml
from tests.gateway.estimates import NONE_PRESENT, estimate, estimates

WALL_US = 1_763_735_400_123_456
EM = "{http://www.w3.org/2009/10/emotionml}"
# EmotionML 1.0, sections 2 and 3: attributes and children that each element may have (those that edge_mer can use).
MAY = {
    "emotionml": ({"version", "category-set", "dimension-set"}, {"emotion", "vocabulary", "info"}),
    "emotion": (
        {"start", "end", "duration", "expressed-through", "category-set", "dimension-set", "id", "version"},
        {"category", "dimension", "appraisal", "action-tendency", "reference", "info"},
    ),
    "category": ({"name", "value", "confidence"}, set[str]()),
    "dimension": ({"name", "value", "confidence"}, set[str]()),
    "vocabulary": ({"type", "id"}, {"item", "info"}),
    "item": ({"name"}, {"info"}),
    "info": ({"id"}, set[str]()),
}
MUST = {
    "emotionml": {"version"},
    "category": {"name"},
    "dimension": {"name", "value"},
    "vocabulary": {"type", "id"},
    "item": {"name"},
}


def faults(document: str) -> list[str]:
    """Violations of EmotionML 1.0 in a document."""
    root = ET.fromstring(document)
    found = [] if root.tag == f"{EM}emotionml" and root.get("version") == "1.0" else ["root"]
    vocabularies = {
        f"#{v.get('id')}": (v.get("type"), {i.get("name") for i in v}) for v in root.findall(f"{EM}vocabulary")
    }
    for element in root.iter():
        if not element.tag.startswith(EM):
            continue
        name = element.tag.removeprefix(EM)
        attributes, children = MAY.get(name, (set(), set()))
        found += [f"{name}@{a}" for a in set(element.attrib) - attributes]
        found += [f"{name} without {a}" for a in MUST.get(name, set()) - set(element.attrib)]
        inner = [c.tag for c in element]
        if name == "info":
            found += ["info holds EmotionML"] * any(t.startswith(EM) for t in inner)
        else:
            found += [f"{name}/{t}" for t in inner if t.removeprefix(EM) not in children or not t.startswith(EM)]
        found += [f"{name}: two <info>"] * (inner.count(f"{EM}info") > 1)
        for part in ("value", "confidence"):
            if part in element.attrib and not 0 <= float(element.attrib[part]) <= 1:
                found.append(f"{name}@{part} outside [0, 1]")
        if "end" in element.attrib and not element.attrib["end"].isdigit():
            found.append("end is not a whole number of milliseconds")
        if name == "emotion":
            described = [c for c in element if c.tag in (f"{EM}category", f"{EM}dimension")]
            found += ["emotion describes nothing"] * (not described)
            for child in described:
                kind = child.tag.removeprefix(EM)
                declared = vocabularies.get(element.get(f"{kind}-set", ""), ("", set()))
                if declared[0] != kind or child.get("name") not in declared[1]:
                    found.append(f"{kind} {child.get('name')} is in no declared vocabulary")
    return found


@given(estimates(), st.integers(0, 4_000_000_000_000_000))
def test_every_estimate_gives_a_valid_lossless_document(message: Estimate, wall_us: int) -> None:
    document = to_emotionml(message, wall_us)
    assert not faults(document)
    read = from_emotionml(document)
    assert {name: read[name] for name in FACTS} == {name: getattr(message, name) for name in FACTS}
    assert (read["wall_us"], read["probabilities"]) == (wall_us, message.probabilities)
    for name in RANGES:
        value = getattr(message, name)
        assert read[name] == (None if value is None else pytest.approx(value, abs=1e-9))


def test_validator_detects_faults() -> None:
    good = to_emotionml(estimate(), WALL_US)
    for old, new in (
        ('confidence="0.7"', 'confidence="1.7"'),
        ('name="fear"', 'name="dread"'),
        (' version="1.0"', ""),
        ("expressed-through", "seen-through"),
        ('type="dimension"', 'type="category"'),
    ):
        assert old in good
        assert faults(good.replace(old, new, 1)), new


def test_emotionml_contains_time_channels_and_categories() -> None:
    root = ET.fromstring(to_emotionml(estimate(), WALL_US))
    emotion = root.find(f"{EM}emotion")
    assert emotion is not None
    assert emotion.get("end") == "1763735400123"
    assert emotion.get("expressed-through") == "voice text"
    happy = next(c for c in emotion.findall(f"{EM}category") if c.get("name") == "happy")
    assert happy.attrib == {"name": "happy", "confidence": "0.7"}, "a probability is a confidence, not an intensity"
    dimension = emotion.find(f"{EM}dimension")
    assert dimension is not None
    assert dimension.attrib == {"name": "sentiment", "value": "0.75"}


def test_no_emotion_element_without_present_modalities() -> None:
    document = to_emotionml(NONE_PRESENT, WALL_US)
    assert not faults(document)
    assert ET.fromstring(document).find(f"{EM}emotion") is None
    assert from_emotionml(document)["abstain"] == "nothing is present"


@pytest.mark.parametrize(("sentiment", "value"), [(-3, 0), (0, 0.5), (3, 1)])
def test_sentiment_maps_to_the_unit_interval(sentiment: float, value: float) -> None:
    assert scaled(sentiment) == value


@pytest.mark.parametrize("name", ["valence", "arousal"])
@pytest.mark.parametrize(("point", "value"), [(-1, 0), (0, 0.5), (1, 1)])
def test_valence_and_arousal_map_to_the_unit_interval(name: str, point: float, value: float) -> None:
    assert scaled(point, name) == value


def test_a_dimension_without_a_value_is_left_out_and_its_reason_kept() -> None:
    document = to_emotionml(estimate(valence=0.5, arousal=None, arousal_reason="no arousal labels"), WALL_US)
    root = ET.fromstring(document)
    assert [d.attrib for d in root.iter(f"{EM}dimension")] == [
        {"name": "sentiment", "value": "0.75"},
        {"name": "valence", "value": "0.75"},
    ]
    assert from_emotionml(document)["arousal_reason"] == "no arousal labels"


@given(estimates())
def test_iso_30150_contains_the_same_values(message: Estimate) -> None:
    converted = json.loads(json.dumps(to_iso30150(message, WALL_US), allow_nan=False))
    assert converted["timestamp"] == 1763735400123
    assert {c["name"]: c["confidence"] for c in converted["categories"]} == (message.probabilities or {})
    assert (converted["category"]["name"], converted["category"]["reason"]) == (message.label, message.abstain)
    assert {d["name"]: d["value"] for d in converted["dimensions"]} == {n: getattr(message, n) for n in RANGES}
    assert [d["range"] for d in converted["dimensions"]] == [[-3, 3], [-1, 1], [-1, 1]]
    assert [m["channel"] for m in converted["modalities"]] == ["voice", "face", "text"]
    assert {m["modality"]: m["state"] for m in converted["modalities"]} == {
        m: p.state for m, p in message.presence.items()
    }


def test_characters_outside_xml_are_replaced() -> None:
    document = to_emotionml(estimate(model="a\x00\uffffb"), WALL_US)
    assert from_emotionml(document)["model"] == "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize("end_us", [None, WALL_US + 2_000_000])
def test_an_event_gives_a_valid_document_with_its_times_and_bound(end_us: int | None) -> None:
    change = EventChange(
        event="negative-at-1",
        phase="begin" if end_us is None else "end",
        label="negative",
        begin_us=5_000_000,
        end_us=end_us,
        combinations=("a", "at"),
        evidence=4.5,
        threshold=4.0,
        hours_per_wrong=168.0,
        proven_hours=0.1,
        reason=None,
        biometric=True,
        mask_epoch=3,
        model="m",
    )
    document = event_to_emotionml(change, WALL_US)
    assert not faults(document)
    emotion = ET.fromstring(document).find(f"{EM}emotion")
    assert emotion is not None
    assert emotion.get("start") == str((5_000_000 + WALL_US) // 1000)
    assert (emotion.get("end") is None) == (end_us is None)
    assert emotion.get("expressed-through") == "voice text"
    assert 'hours_per_wrong="168.0"' in document
