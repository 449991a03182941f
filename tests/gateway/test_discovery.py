"""Discovery payloads, checked against the fields and classes in Home Assistant's documentation."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given

from edge_mer.contract.domain import EMOTIONS, EVENT_LABELS, MODALITIES
from edge_mer.contract.messages import Estimate, EventChange, PrivacyState
from edge_mer.gateway.mqtt.debounce import DebounceSettings
from edge_mer.gateway.mqtt.discovery import (
    Device,
    Names,
    discovery,
    entities,
    estimate_state,
    event_state,
    slug,
    switch_states,
    until_states,
)
from edge_mer.gateway.mqtt.shown import Shown, step
from tests.gateway.estimates import NONE_PRESENT, estimate, estimates

NAMES = Names("0123abcd", "homeassistant")
KITCHEN = Device("Kitchen", "Kitchen", "https://192.168.1.5:7653", "0123abcd")
AT_ONCE = DebounceSettings(0, 0, 10)
COMMON = {
    "platform",
    "unique_id",
    "name",
    "icon",
    "entity_category",
    "qos",
    "default_entity_id",
    "enabled_by_default",
}
# home-assistant.io/integrations/{sensor,binary_sensor,switch,button}.mqtt: (required, other fields that edge_mer uses).
DOCUMENTED = {
    "sensor": (
        {"state_topic"},
        {
            "value_template",
            "device_class",
            "options",
            "unit_of_measurement",
            "expire_after",
            "json_attributes_topic",
            "json_attributes_template",
        },
    ),
    "binary_sensor": ({"state_topic"}, {"value_template", "payload_on", "payload_off", "expire_after"}),
    "switch": (
        {"command_topic"},
        {
            "state_topic",
            "payload_on",
            "payload_off",
            "state_on",
            "state_off",
            "optimistic",
            "retain",
            "device_class",
        },
    ),
    "button": ({"command_topic"}, {"payload_press"}),
    "event": ({"state_topic", "event_types"}, set[str]()),
    # home-assistant.io/integrations/device_trigger.mqtt: it is no entity, so it has no unique_id.
    "device_automation": ({"automation_type", "topic", "type", "subtype"}, {"payload", "value_template"}),
}
NO_ENTITY = "device_automation"


def faults(payload: dict) -> list[str]:  # type: ignore[type-arg]
    found = [] if payload["origin"]["name"] and payload["device"]["identifiers"] else ["device or origin"]
    ids = [c["unique_id"] for c in payload["components"].values() if c["platform"] != NO_ENTITY]
    found += ["unique_id twice"] * (len(set(ids)) != len(ids))
    for key, entity in payload["components"].items():
        required, optional = DOCUMENTED[entity["platform"]]
        of_all = {"platform"} if entity["platform"] == NO_ENTITY else {"platform", "unique_id"}
        found += [f"{key} lacks {f}" for f in (required | of_all) - set(entity)]
        found += [f"{key} has {f}" for f in set(entity) - required - optional - COMMON]
        if entity.get("device_class") == "enum" and ("state_class" in entity or not entity.get("options")):
            found.append(f"{key}: an enum has options, and neither unit nor state class")
        if entity.get("entity_category", "diagnostic") not in ("diagnostic", "config"):
            found.append(f"{key}: category")
    return found


def test_discovery_payload_matches_the_documented_fields() -> None:
    payload = json.loads(json.dumps(discovery(NAMES, KITCHEN)))
    assert not faults(payload)
    assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", NAMES.config)
    assert payload["components"]["emotion"]["options"] == list(EMOTIONS)
    assert {f"{m}_switch" for m in MODALITIES} < set(payload["components"])
    broken = discovery(NAMES, KITCHEN)
    broken["components"]["emotion"]["state_class"] = "measurement"
    assert faults(broken)


@pytest.mark.parametrize("modality", MODALITIES)
def test_switch_entity_is_not_optimistic(modality: str) -> None:
    switch = discovery(NAMES, KITCHEN)["components"][f"{modality}_switch"]
    assert switch["optimistic"] is False
    assert switch["state_topic"] != switch["command_topic"]
    assert switch["retain"] is False, "a retained command would be executed again"


def test_switch_shows_the_measured_not_the_requested_state() -> None:
    closing = PrivacyState("masked", "live", 0, 1, None, None)
    closed = PrivacyState("masked", "masked", 0, 1, None, None)
    opening = PrivacyState("live", "masked", 0, 1, None, None)
    states = switch_states({"audio": closing, "video": closed, "text": opening})
    assert states == {"audio": "ON", "video": "OFF", "text": "OFF"}


def test_no_values_without_present_modalities() -> None:
    state = estimate_state(step(Shown(), NONE_PRESENT, 0, AT_ONCE))
    assert (state["emotion"], state["confidence"], state["sentiment"]) == (None, None, None)
    assert state["why"] == NONE_PRESENT.abstain
    assert (state["valence"], state["arousal"]) == (None, None)


@pytest.mark.parametrize("name", ["valence", "arousal"])
def test_valence_and_arousal_are_off_until_somebody_turns_them_on(name: str) -> None:
    entity = next(e for e in entities(NAMES) if e.key == name)
    assert (entity.enabled, entity.diagnostic) == (False, True)
    state = estimate_state(step(Shown(), estimate(**{name: -0.123}), 0, AT_ONCE))
    assert state[name] == -0.1


@given(estimates())
def test_every_template_refers_to_an_existing_field(message: Estimate) -> None:
    state = json.loads(json.dumps(estimate_state(step(Shown(), message, 0, AT_ONCE)), allow_nan=False))
    for entity in discovery(NAMES, KITCHEN)["components"].values():
        if "value_template" in entity and entity["platform"] != NO_ENTITY:
            found = state
            for part in entity["value_template"].strip("{} ").removeprefix("value_json.").split("."):
                found = found[part]


def test_device_names_its_room_and_its_page() -> None:
    device = discovery(NAMES, KITCHEN)["device"]
    assert (device["name"], device["suggested_area"]) == ("edge_mer Kitchen", "Kitchen")
    assert (device["configuration_url"], device["serial_number"]) == (KITCHEN.page, KITCHEN.host)
    unnamed = discovery(NAMES, Device("host7", None, None, "0123abcd"))["device"]
    assert unnamed["name"] == "edge_mer host7"
    assert not {"suggested_area", "configuration_url"} & set(unnamed), "a host name is no area"


@pytest.mark.parametrize(
    ("room", "found"), [("Living Room 2", "living_room_2"), ("Küche", "kuche"), ("--", "x"), ("台所", "x")]
)
def test_entity_ids_begin_with_the_room(room: str, found: str) -> None:
    assert slug(room, "x") == found
    ids = discovery(NAMES, KITCHEN)["components"]["emotion"]["default_entity_id"]
    assert ids == "sensor.kitchen_emotion"


def test_only_senses_that_are_on_are_announced_and_the_others_removed() -> None:
    components = discovery(NAMES, KITCHEN, ("audio",))["components"]
    assert components["video_switch"] == {"platform": "switch"}
    assert components["text_present"] == {"platform": "binary_sensor"}
    assert "unique_id" in components["audio_switch"]
    assert set(components) == set(discovery(NAMES, KITCHEN)["components"])


def test_nothing_feeds_statistics_and_diagnosis_is_off() -> None:
    for entity in entities(NAMES):
        assert "state_class" not in entity.fields
        assert entity.enabled or entity.diagnostic
    on = {e.key for e in entities(NAMES) if e.enabled}
    assert on == {
        "emotion",
        "sentiment",
        "why",
        "people",
        "speaking",
        "event",
        "wrong",
        "guests",
        "until",
        "notice",
        *(f"{m}_switch" for m in MODALITIES),
    }


def test_masked_until_is_when_the_first_sensor_opens() -> None:
    def until(us: int | None) -> PrivacyState:
        return PrivacyState("masked", "masked", 0, 1, None, None, until_us=us)

    topics = until_states(NAMES, {"audio": until(None), "video": until(7_000_000), "text": until(5_000_000)})
    assert topics[NAMES.first_until] == topics[NAMES.until("text")] == "1970-01-01T00:00:05+00:00"
    assert topics[NAMES.until("audio")] == "None"


@pytest.mark.parametrize("label", EVENT_LABELS)
@pytest.mark.parametrize("phase", ["begin", "end"])
def test_every_event_is_of_an_announced_type_and_has_a_device_trigger(label: str, phase: str) -> None:
    components = discovery(NAMES, KITCHEN)["components"]
    change = EventChange(
        event=f"{label}-a-1",
        phase=phase,  # type: ignore[arg-type]
        label=label,  # type: ignore[arg-type]
        begin_us=0,
        end_us=None if phase == "begin" else 1,
        combinations=("a",),
        evidence=4.0,
        threshold=3.0,
        hours_per_wrong=24.0,
        proven_hours=0.1,
        reason=None,
        biometric=True,
        mask_epoch=0,
        model="m",
    )
    kind = event_state(change)["event_type"]
    assert kind in components["event"]["event_types"]
    triggers = [c for c in components.values() if c["platform"] == NO_ENTITY and c["payload"] == kind]
    assert [t["topic"] for t in triggers] == [components["event"]["state_topic"]] == [NAMES.event]
