"""The connection to the broker that a process of ours keeps: what arrives waits for its loop, what ends is renewed.

Nothing waits for the broker: while it is unreachable nothing is queued, and ``CONNECTED`` says when to announce anew.
"""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from edge_mer.config import MqttConfig
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import missing_extra
from edge_mer.contract.plain_text import visible
from edge_mer.gateway.mqtt.broker import broker_of, prepare
from edge_mer.gateway.mqtt.discovery import OFFLINE

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

    from edge_mer.gateway.mqtt.watched_client import WatchedClient

# Commands that arrived and are not yet handled; beyond that, the oldest is dropped and counted.
MOST_COMMANDS: Final = 100
LONGEST_PAYLOAD: Final = 1000
RECONNECT_S: Final = (1, 30)
KEEPALIVE_S: Final = 15
LONGEST_REASON: Final = 200
CONNECTED: Final = ""
log = logging.getLogger("mqtt")


class BrokerLink:
    """One client of the broker of ``section``, with a last will of OFFLINE on ``availability``.

    ``counts``: ``refused``, ``bad_order`` (a topic that is no text), ``dropped``, ``thread_ended``, ``unsent``.
    ``failure``: why the connection was last renewed.
    """

    def __init__(self, section: MqttConfig, client_id: str, availability: str, counts: Counter[str]) -> None:
        """Raises ConfigError for an invalid address or file, MissingExtra without paho-mqtt."""
        self._section, self._client_id, self._availability = section, client_id, availability
        self._birth = f"{section.discovery}/status"
        self._counts, self.failure = counts, ""
        # From paho's thread to this one: messages in order, and a descriptor that wakes the loop.
        self._arrived: deque[tuple[str, bytes]] = deque(maxlen=MOST_COMMANDS)
        self._ended: deque[str] = deque(maxlen=1)
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._sent: dict[str, bytes] = {}
        self._renew_due = 0
        self._closing = False
        self.client = self._connect()

    def arrived(self) -> Iterator[tuple[str, bytes]]:
        """Topic and payload of what came since the last call; the topic ``CONNECTED`` once for each connection."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.wake)
        while self._arrived:
            yield self._arrived.popleft()

    def renew(self, now_us: int) -> None:
        """Without its thread the client receives nothing and never reconnects: another one replaces it."""
        if self._ended:
            self.failure = visible(self._ended.popleft())[:LONGEST_REASON]
            self._counts["thread_ended"] += 1
            log.error("the network thread of the MQTT client ended: %s", self.failure)
            self.client.abandon()
            self._renew_due = now_us + RECONNECT_S[0] * SECOND
        if self._renew_due and now_us >= self._renew_due:
            self._renew_due, self.client = 0, self._connect()

    @property
    def is_connected(self) -> bool:
        return not self._renew_due and self.client.is_connected()

    @property
    def is_idle(self) -> bool:
        """Whether what is published now waits behind nothing, so that a mask cannot overtake it."""
        return self.is_connected and not self.client.want_write()

    def announce(self, topics: list[str]) -> None:
        """Subscribe to the birth of Home Assistant and to ``topics``; every state is to be sent again."""
        self.client.subscribe([(topic, 1) for topic in (self._birth, *topics)])
        self._sent.clear()

    def is_birth(self, topic: str) -> bool:
        return topic == self._birth

    def again(self, topic: str) -> None:
        """Send the next content of ``topic`` even if it is equal to the last."""
        self._sent.pop(topic, None)

    def send(
        self, topic: str, content: Any, retain: bool = False, qos: int = 1, told: Mapping[str, Any] | None = None
    ) -> None:
        """Content equal to the last on this connection is not sent again; one that could not be queued is retried at
        the next turn. ``told`` is added to what is sent, and alone is no reason to send."""
        payload = content.encode() if isinstance(content, str) else msgspec.json.encode(content)
        if self._sent.get(topic) == payload:
            return
        sent = self.client.publish(topic, msgspec.json.encode({**content, **told}) if told else payload, qos, retain)
        if sent.rc == 0:
            self._sent[topic] = payload
        else:
            self._counts["unsent"] += 1

    def close(self) -> None:
        """Publish offline, so that Home Assistant need not wait for the last will."""
        self._closing = True
        if self.is_connected:
            with suppress(RuntimeError, ValueError):  # the connection was lost meanwhile: the last will applies
                self.client.publish(self._availability, OFFLINE, qos=1, retain=True).wait_for_publish(1)
        self.client.disconnect()
        self.client.loop_stop()
        os.close(self.wake)

    def _connect(self) -> WatchedClient:
        try:
            from edge_mer.gateway.mqtt.watched_client import WatchedClient
        except ImportError:
            raise missing_extra("paho-mqtt", "hub") from None
        _, host, port = broker_of(self._section.address or "")
        client = WatchedClient(self._client_id, self._thread_ends, self._section.protocol)
        prepare(client, self._section)
        client.will_set(self._availability, OFFLINE, qos=1, retain=True)
        client.max_queued_messages_set(MOST_COMMANDS)
        client.reconnect_delay_set(*RECONNECT_S)
        client.on_connect, client.on_message = self._connected, self._received
        client.connect_async(host, port, KEEPALIVE_S)
        client.loop_start()
        return client

    # -- in the network thread of paho ------------------------------------------------------------------------------

    def _connected(self, client: Client, user: object, flags: object, reason: ReasonCode, properties: object) -> None:
        if reason.is_failure:
            self._counts["refused"] += 1
        else:
            self._queue(CONNECTED, b"")

    def _received(self, client: Client, user: object, message: MQTTMessage) -> None:
        # A retained command is an old one and must not unmask again.
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self._counts["bad_order"] += 1
            return
        if not message.retain or topic == self._birth:
            self._queue(topic, bytes(message.payload[: LONGEST_PAYLOAD + 1]))

    def _queue(self, topic: str, payload: bytes) -> None:
        self._counts["dropped"] += len(self._arrived) == MOST_COMMANDS
        self._arrived.append((topic, payload))
        os.eventfd_write(self.wake, 1)

    def _thread_ends(self, reason: str) -> None:
        if not self._closing:
            self._ended.append(reason)
            os.eventfd_write(self.wake, 1)
