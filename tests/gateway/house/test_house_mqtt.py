"""The house over a real mosquitto: one device that masks all rooms, shows how far they are, and unmasks nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_mer.contract.house import House, HouseMask, RoomState
from edge_mer.gateway.house.mqtt import discovery, state
from tests.gateway.house.stage import HouseStage
from tests.gateway.test_mqtt import Broker, HomeAssistant


def room(*gates: str, reachable: bool = True) -> RoomState:
    named = dict(zip(("audio", "video"), gates, strict=False))
    return RoomState(reachable, None, named, (), None, None, None)  # type: ignore[arg-type]


def test_state_says_the_worst_of_all_rooms() -> None:
    closed, open_, silent = room("masked", "hard"), room("masked", "live"), room(reachable=False)
    pending = HouseMask("x", "pending", "a", 0, None, ("a",), {"b": "it does not answer"}, None)
    assert state(House(rooms={"a": closed}, mask=None, voices=()))["state"] == "masked"
    assert state(House(rooms={"a": closed, "b": silent}, mask=None, voices=()))["state"] == "unknown"
    assert state(House(rooms={"a": silent, "b": open_}, mask=None, voices=()))["state"] == "live"
    shown = state(House(rooms={"a": closed, "b": silent}, mask=pending, voices=()))
    assert shown["state"] == "pending"
    assert shown["missing"] == {"b": "it does not answer"}


def test_discovery_is_one_device_without_a_way_to_unmask() -> None:
    found = discovery("edge_mer/house/0123abcd", "0123abcd", 3)
    topics = {c["command_topic"] for c in found["components"].values() if "command_topic" in c}
    assert topics == {"edge_mer/house/0123abcd/mask", "edge_mer/house/0123abcd/guests"}
    assert len({c["unique_id"] for c in found["components"].values()}) == len(found["components"])


@pytest.mark.end_to_end
def test_button_masks_every_room_and_nothing_unmasks(house: Callable[..., HouseStage], tmp_path: Path) -> None:
    broker = Broker(tmp_path, "allow_anonymous true")
    found, hass = house("kitchen", "bath"), HomeAssistant(broker.port)
    found.node.close()
    found.kill()
    mqtt = found.config.mqtt.model_copy(update={"address": f"mqtt://127.0.0.1:{broker.port}"})
    found.config = found.config.model_copy(update={"mqtt": mqtt})
    found.start()
    base = f"edge_mer/house/{found.node._host[:8]}"

    def shown() -> str:
        hass.turn()
        return str(json.loads(hass.received.get(f"{base}/state", "{}")).get("state"))

    try:
        found.until(lambda: shown() == "live")
        assert hass.received[f"{base}/availability"] == "online"
        assert f"homeassistant/device/edge_mer_house_{found.node._host[:8]}/config" in hass.received
        hass.client.publish(f"{base}/mask", "PRESS")
        found.until(lambda: shown() == "masked")
        assert all(r.requested() == {"masked"} for r in found.rooms.values())
        for payload in ("UNMASK", "ON", "", "\x00" * 500):
            hass.client.publish(f"{base}/mask", payload)
            hass.client.publish(f"{base}/guests", payload)
        found.until(lambda: hass.turn() or found.node.counters["bad_order"] >= 8)
        assert all(r.requested() == {"masked"} for r in found.rooms.values())
    finally:
        broker.stop()
