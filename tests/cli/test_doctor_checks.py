"""What ``edge-mer doctor`` says of MQTT."""

from __future__ import annotations

from edge_mer.cli.doctor_checks import mqtt
from edge_mer.config import Config


def findings(**section: object) -> list[tuple[bool, str]]:
    return [(f.good, f.what) for f in mqtt(Config.model_validate({"mqtt": section}))]


def test_the_brokers_access_list_is_named_as_the_key_to_unmasking() -> None:
    assert findings() == []
    named = findings(address="mqtt://broker:1883", username="edge_mer")
    assert [good for good, _ in named] == [True]
    assert "access list decides who may unmask" in named[0][1]
    granted = findings(address="mqtt://broker:1883", username="edge_mer", require_grant=True)
    assert granted == [(True, "unmasking over MQTT needs a signed grant")]


def test_mqtt_without_a_user_name_is_a_fault() -> None:
    assert [good for good, _ in findings(address="mqtt://broker:1883")] == [True, False]
