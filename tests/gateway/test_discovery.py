"""Discovery payloads, checked against the fields and classes in Home Assistant's documentation."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given

from edge_mer.contract.domain import EMOTIONS, MODALITIES
from edge_mer.contract.messages import Estimate, PrivacyState
from edge_mer.gateway.mqtt.discovery import Names, discovery, estimate_state, switch_states
from tests.gateway.estimates import NONE_PRESENT, estimate, estimates

NAMES = Names("0123abcd", "homeassistant")
COMMON = {"platform", "unique_id", "name", "icon", "entity_category", "enabled_by_default", "qos"}
# home-assistant.io/integrations/{sensor,binary_sensor,switch,button}.mqtt: (required, other fields that edge_mer uses).
DOCUMENTED = {
    "sensor": (
        {"state_topic"},
        {"value_template", "device_class", "options", "unit_of_measurement", "state_class", "expire_after"},
    ),
    "binary_sensor": ({"state_topic"}, {"value_template", "payload_on", "payload_off", "expire_after"}),
    "switch": (
        {"command_topic"},
        {"state_topic", "payload_on", "payload_off", "state_on", "state_off", "optimistic", "retain"},
    ),
    "button": ({"command_topic"}, {"payload_press"}),
}


def faults(payload: dict) -> list[str]:  # type: ignore[type-arg]
    found = [] if payload["origin"]["name"] and payload["device"]["identifiers"] else ["device or origin"]
    ids = [c["unique_id"] for c in payload["components"].values()]
    found += ["unique_id twice"] * (len(set(ids)) != len(ids))
    for key, entity in payload["components"].items():
        required, optional = DOCUMENTED[entity["platform"]]
        found += [f"{key} lacks {f}" for f in (required | {"platform", "unique_id"}) - set(entity)]
        found += [f"{key} has {f}" for f in set(entity) - required - optional - COMMON]
        if entity.get("device_class") == "enum" and ("state_class" in entity or not entity.get("options")):
            found.append(f"{key}: an enum has options, and neither unit nor state class")
        if entity.get("entity_category", "diagnostic") not in ("diagnostic", "config"):
            found.append(f"{key}: category")
    return found


def test_discovery_payload_matches_the_documented_fields() -> None:
    payload = json.loads(json.dumps(discovery(NAMES, 3)))
    assert not faults(payload)
    assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", NAMES.config)
    assert payload["components"]["emotion"]["options"] == list(EMOTIONS)
    assert {f"{m}_switch" for m in MODALITIES} < set(payload["components"])
    broken = discovery(NAMES, 3)
    broken["components"]["emotion"]["state_class"] = "measurement"
    assert faults(broken)


@pytest.mark.parametrize("modality", MODALITIES)
def test_switch_entity_is_not_optimistic(modality: str) -> None:
    switch = discovery(NAMES, 3)["components"][f"{modality}_switch"]
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
    state = estimate_state(None, NONE_PRESENT)
    assert (state["emotion"], state["confidence"], state["sentiment"]) == (None, None, None)
    assert (state["valence"], state["arousal"]) == (None, None)
    assert estimate_state("sad", estimate(label="happy"))["confidence"] is None, (
        "the confidence belongs to another emotion"
    )


@pytest.mark.parametrize("name", ["valence", "arousal"])
def test_valence_and_arousal_are_off_until_somebody_turns_them_on(name: str) -> None:
    entity = discovery(NAMES, 3)["components"][name]
    assert (entity["enabled_by_default"], entity["entity_category"]) == (False, "diagnostic")
    assert estimate_state(None, estimate(**{name: -0.123}))[name] == -0.12


@given(estimates())
def test_every_template_refers_to_an_existing_field(message: Estimate) -> None:
    state = json.loads(json.dumps(estimate_state(message.label, message), allow_nan=False))
    for entity in discovery(NAMES, 3)["components"].values():
        if "value_template" in entity:
            found = state
            for part in entity["value_template"].strip("{} ").removeprefix("value_json.").split("."):
                found = found[part]
