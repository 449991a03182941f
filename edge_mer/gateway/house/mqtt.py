"""The house as one device of Home Assistant: it masks all rooms and shows how far they are. It cannot unmask.

Topics: ``edge_mer/house/NODE/...``, ``edge_mer`` being ``mqtt.base_topic`` and NODE the first 8 digits of this host's
public key. Formats: as in edge_mer.gateway.mqtt.discovery.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import edge_mer
from edge_mer.config import MqttConfig
from edge_mer.contract.house import House
from edge_mer.gateway.mqtt.discovery import ONLINE, PRESS
from edge_mer.gateway.mqtt.link import CONNECTED, BrokerLink

STATES = ("live", "pending", "masked", "unknown")
Mask = Callable[[str, int], object]


class HouseMqtt:
    """``mask``: called with a requester and seconds (0 without end) for each press of a button."""

    def __init__(self, section: MqttConfig, node: str, mask: Mask) -> None:
        """Raises ConfigError for an invalid address, MissingExtra without paho-mqtt."""
        self._section, self._node, self._mask = section, node, mask
        self.base = f"{section.base_topic}/house/{node}"
        self._guest_s = round(section.guest_hours * 3600)
        self._presses = {f"{self.base}/mask": 0, f"{self.base}/guests": self._guest_s}
        self.counters: Counter[str] = Counter()
        self._link = BrokerLink(section, f"edge_mer_house_{node}", f"{self.base}/availability", self.counters)

    @property
    def wake(self) -> tuple[int, ...]:
        return (self._link.wake,)

    @property
    def notes(self) -> tuple[str, ...]:
        return () if self._link.is_connected else (f"the broker {self._section.address} is not reachable",)

    def turn(self, house: House, now_us: int) -> None:
        """Handle presses, and send the state where it changed."""
        for topic, payload in self._link.arrived():
            if topic == CONNECTED or (self._link.is_birth(topic) and payload == ONLINE.encode()):
                self._announce()
            elif topic in self._presses and payload == PRESS.encode():
                self._mask("mqtt", self._presses[topic])
            else:
                self.counters["bad_order"] += 1
        self._link.renew(now_us)
        if self._link.is_connected:
            self._link.send(f"{self.base}/state", state(house), retain=True)

    def close(self) -> None:
        self._link.close()

    def _announce(self) -> None:
        self._link.announce(list(self._presses))
        config = f"{self._section.discovery}/device/edge_mer_house_{self._node}/config"
        self._link.send(config, discovery(self.base, self._node, self._section.guest_hours), retain=True)
        self._link.send(f"{self.base}/availability", ONLINE, retain=True)


def state(house: House) -> dict[str, Any]:
    """Retained by the broker, so it holds what masks are, and nothing derived from a person."""
    mask = house.mask
    gates = {n: set(r.gates.values()) for n, r in house.rooms.items()}
    unknown = [n for n, r in house.rooms.items() if not r.reachable]
    live = [n for n, found in gates.items() if "live" in found]
    pending = mask is not None and mask.state == "pending"
    return {
        "state": "pending" if pending else "live" if live else "unknown" if unknown else "masked",
        "live": live,
        "unknown": unknown,
        "missing": mask.missing if pending and mask is not None else {},
        "receipt": mask.receipt if mask is not None else None,
    }


def discovery(base: str, node: str, guest_hours: float) -> dict[str, Any]:
    """The payload that registers the house as one device."""

    def button(name: str, topic: str, icon: str) -> dict[str, Any]:
        return {
            "platform": "button",
            "name": name,
            "command_topic": f"{base}/{topic}",
            "payload_press": PRESS,
            "icon": icon,
        }

    entities: dict[str, dict[str, Any]] = {
        "mask": button("Mask the whole house", "mask", "mdi:eye-off"),
        "guests": button(f"Guests: mask the whole house for {guest_hours:g} h", "guests", "mdi:account-group"),
        "state": {
            "platform": "sensor",
            "name": "Sensors of the house",
            "device_class": "enum",
            "options": list(STATES),
            "state_topic": f"{base}/state",
            "value_template": "{{ value_json.state }}",
            "json_attributes_topic": f"{base}/state",
            "icon": "mdi:home-lock",
        },
    }
    for key, entity in entities.items():
        entity["unique_id"] = f"edge_mer_house_{node}_{key}"
    return {
        "device": {"identifiers": [f"edge_mer_house_{node}"], "name": "edge_mer house", "manufacturer": "edge_mer"},
        "origin": {"name": "edge_mer", "sw_version": edge_mer.__version__},
        "availability_topic": f"{base}/availability",
        "components": entities,
    }
