"""The house as one device of Home Assistant: it masks all rooms and shows how far they are. It cannot unmask.

Topics: ``edge_mer/house/NODE/...``, ``edge_mer`` being ``mqtt.base_topic`` and NODE the first 8 digits of this host's
public key. Formats: as in edge_mer.gateway.mqtt.discovery.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

import edge_mer
from edge_mer.config import MqttConfig
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import missing_extra
from edge_mer.contract.house import House
from edge_mer.gateway.mqtt.broker import broker_of, prepare
from edge_mer.gateway.mqtt.discovery import OFFLINE, ONLINE, PRESS

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

    from edge_mer.gateway.mqtt.watched_client import WatchedClient

MOST_COMMANDS, LONGEST_PAYLOAD, KEEPALIVE_S = 100, 100, 15
RENEW_US = SECOND
CONNECTED = ""
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
        self._events: deque[tuple[str, bytes]] = deque(maxlen=MOST_COMMANDS)
        self._ended: deque[str] = deque(maxlen=1)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._sent: dict[str, bytes] = {}
        self._renew_due = 0
        self._closing = False
        self.counters: Counter[str] = Counter()
        self._client = self._connect()

    @property
    def wake(self) -> tuple[int, ...]:
        return (self._wake,)

    @property
    def notes(self) -> tuple[str, ...]:
        return () if self._client.is_connected() else (f"the broker {self._section.address} is not reachable",)

    def turn(self, house: House, now_us: int) -> None:
        """Handle presses, and send the state where it changed."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        while self._events:
            topic, payload = self._events.popleft()
            if topic == CONNECTED or (topic == self._birth and payload == ONLINE.encode()):
                self._announce()
            elif topic in self._presses and payload == PRESS.encode():
                self._mask("mqtt", self._presses[topic])
            else:
                self.counters["bad_order"] += 1
        if self._ended:
            self._ended.clear()
            self.counters["thread_ended"] += 1
            self._client.abandon()
            self._renew_due = now_us + RENEW_US
        if self._renew_due and now_us >= self._renew_due:
            self._renew_due, self._client = 0, self._connect()
        if not self._renew_due and self._client.is_connected():
            self._send(f"{self.base}/state", state(house))

    def close(self) -> None:
        self._closing = True
        if self._client.is_connected():
            with suppress(RuntimeError, ValueError):
                self._client.publish(f"{self.base}/availability", OFFLINE, qos=1, retain=True).wait_for_publish(1)
        self._client.disconnect()
        self._client.loop_stop()
        os.close(self._wake)

    @property
    def _birth(self) -> str:
        return f"{self._section.discovery}/status"

    def _connect(self) -> WatchedClient:
        try:
            from edge_mer.gateway.mqtt.watched_client import WatchedClient
        except ImportError:
            raise missing_extra("paho-mqtt", "hub") from None
        section = self._section
        _, host, port = broker_of(section.address or "")
        client = WatchedClient(f"edge_mer_house_{self._node}", self._thread_ends, section.protocol)
        prepare(client, section)
        client.will_set(f"{self.base}/availability", OFFLINE, qos=1, retain=True)
        client.max_queued_messages_set(MOST_COMMANDS)
        client.on_connect, client.on_message = self._connected, self._received
        client.connect_async(host, port, KEEPALIVE_S)
        client.loop_start()
        return client

    def _connected(self, client: Client, user: object, flags: object, reason: ReasonCode, properties: object) -> None:
        if reason.is_failure:
            self.counters["refused"] += 1
        else:
            self._queue(CONNECTED, b"")

    def _received(self, client: Client, user: object, message: MQTTMessage) -> None:
        with suppress(UnicodeDecodeError):
            if not message.retain or message.topic == self._birth:  # a retained press is an old one
                self._queue(message.topic, bytes(message.payload[: LONGEST_PAYLOAD + 1]))

    def _queue(self, topic: str, payload: bytes) -> None:
        self._events.append((topic, payload))
        os.eventfd_write(self._wake, 1)

    def _thread_ends(self, reason: str) -> None:
        if not self._closing:
            self._ended.append(reason)
            os.eventfd_write(self._wake, 1)

    def _announce(self) -> None:
        self._client.subscribe([(topic, 1) for topic in (self._birth, *self._presses)])
        self._sent.clear()
        config = f"{self._section.discovery}/device/edge_mer_house_{self._node}/config"
        self._send(config, discovery(self.base, self._node, self._section.guest_hours))
        self._send(f"{self.base}/availability", ONLINE)

    def _send(self, topic: str, content: Any) -> None:
        payload = content.encode() if isinstance(content, str) else msgspec.json.encode(content)
        if self._sent.get(topic) != payload and self._client.publish(topic, payload, qos=1, retain=True).rc == 0:
            self._sent[topic] = payload


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
