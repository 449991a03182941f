"""Remove every retained message of this host from the broker: discovery, availability, states, also of old versions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from edge_mer.config import MqttConfig
from edge_mer.contract.errors import ConfigError, EdgeMerError, missing_extra
from edge_mer.gateway.mqtt.broker import broker_of, prepare
from edge_mer.gateway.mqtt.discovery import ONLINE, Names

WAIT_S = 10.0
# For retained messages, where the broker's access list keeps our own marker from us.
QUIET_S = 2.0
TURN_S = 0.05


class BrokerFailed(EdgeMerError):
    """The broker does not answer, refuses, or still has this host as a client."""


def forget(section: MqttConfig, names: Names) -> tuple[str, ...]:
    """The topics that were cleared, sorted. Raises BrokerFailed, and ConfigError without ``mqtt.address``."""
    try:
        from paho.mqtt.client import Client, MQTTMessage
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError:
        raise missing_extra("paho-mqtt", "hub") from None
    if section.address is None:
        raise ConfigError("mqtt.address is not set: name the broker, as --set mqtt.address=mqtt://broker.local")
    retained: dict[str, bytes] = {}
    state: dict[str, Any] = {"refused": "", "subscribed": False, "ended": False}
    marker = f"{names.base}/forget"

    def received(client: object, user: object, message: MQTTMessage) -> None:
        state["ended"] |= message.topic == marker
        if message.retain and message.payload:
            retained[message.topic] = bytes(message.payload)

    def connected(client: Client, user: object, flags: object, reason: Any, properties: object) -> None:
        if reason.is_failure:
            state["refused"] = str(reason)
        else:
            client.subscribe([(f"{names.base}/#", 1), (f"{names.prefix}/+/edge_mer_{names.node}/#", 1)])

    def subscribed(client: Client, *_: object) -> None:
        state["subscribed"] = True
        client.publish(marker, b"end", qos=1)  # comes back behind all retained messages

    client = Client(CallbackAPIVersion.VERSION2, client_id=f"edge_mer_{names.node}_forget")
    prepare(client, section)
    client.on_connect, client.on_subscribe, client.on_message = connected, subscribed, received
    _, host, port = broker_of(section.address)
    try:
        client.connect(host, port)
    except OSError as error:
        raise BrokerFailed(f"the broker {section.address} is not reachable: {error}") from error
    if not _turn(client, lambda: bool(state["subscribed"] or state["refused"]), WAIT_S) or state["refused"]:
        raise BrokerFailed(f"the broker {section.address} did not accept us: {state['refused'] or 'no answer'}")
    _turn(client, lambda: bool(state["ended"]), QUIET_S)
    if retained.get(names.availability) == ONLINE.encode():
        raise BrokerFailed("this host is connected to the broker and would announce itself again: stop edge-mer run")
    sent = [client.publish(topic, b"", qos=1, retain=True) for topic in retained]
    if not _turn(client, lambda: all(each.is_published() for each in sent), WAIT_S):
        raise BrokerFailed(f"the broker {section.address} did not confirm that it removed everything; try again")
    client.disconnect()
    return tuple(sorted(retained))


def _turn(client: Any, done: Callable[[], bool], seconds: float) -> bool:
    """Whether ``done`` became true in time."""
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        client.loop(TURN_S)
    return done()
