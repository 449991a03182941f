"""The process ``mqtt``: this host as a device of Home Assistant. Off unless ``mqtt.address`` is set.

It may always mask. It unmasks only with a key of its own that is paired as a hub (``edge-mer keys new mqtt --hub``),
and only what ``hub.may_unmask`` in the deployment file names; the switch decides. Nothing waits for the broker: while
it is away nothing queues up, and what holds then is sent when it is back.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter, deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from edge_mer.bus import Bus
from edge_mer.config import Config, MqttConfig
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Answer, Command
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import ConfigError, PrivacyError, missing_extra
from edge_mer.contract.messages import Estimate, Message, Privacy
from edge_mer.gateway.curve_listener import is_loopback
from edge_mer.gateway.lower_priority import lower_priority
from edge_mer.gateway.mqtt.debounce import DebounceSettings, Steady, passed, step
from edge_mer.gateway.mqtt.discovery import (
    EXPIRE_S,
    OFF,
    OFFLINE,
    ON,
    ONLINE,
    PRESS,
    Names,
    discovery,
    estimate_state,
    switch_states,
)
from edge_mer.gateway.stale_after_mask import StaleAfterMask
from edge_mer.host.files import state_directory
from edge_mer.privacy.keys.host_key import public_key
from edge_mer.privacy.keys.identity import read_identity
from edge_mer.privacy.purge_client import PurgeClient

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

NAME = "mqtt"
TURN_US = SECOND // 4
REFRESH_US = EXPIRE_S * SECOND // 3
STALE_US = 2 * SECOND
# Orders that arrived and are not yet handled; of more, the oldest is dropped and counted.
MOST_ORDERS = 100
LONGEST_PAYLOAD = 64
RECONNECT_S = (1, 30)
KEEPALIVE_S = 15
NEEDS_KEY = "needs paired key: edge-mer keys new mqtt --hub, and hub.may_unmask in the deployment file"
CONNECTED = ""


class MqttOutlet:
    """Folds estimates and privacy into the states of Home Assistant's entities; takes its orders to the switch."""

    def __init__(self, config: Config, bus: Bus) -> None:
        """Raises ConfigError for an address that is none, MissingExtra without paho-mqtt."""
        section = config.mqtt
        self._bus, self._section = bus, section
        self._directory = state_directory(config.privacy.state)
        host = public_key(self._directory)
        if host is None:
            raise PrivacyError("the switch has never run here, so this host has no key yet; it is tried again")
        self._host = host.public_bytes_raw().hex()
        self.names = Names(self._host[:8], section.discovery)
        self._settings = DebounceSettings(
            round(section.steady_s * SECOND), section.min_confidence, round(section.forget_s * SECOND)
        )
        self._reader = bus.reader("emotion", "privacy")
        self._lineage = PurgeClient(bus, NAME, MODALITIES)
        self._switch = bus.client("switch")
        self._steady = Steady()
        self._estimate: Message[Estimate] | None = None
        self._privacy: Message[Privacy] | None = None
        self._before_mask = StaleAfterMask()
        self._said: dict[str, bytes] = {}
        self._asked: dict[str, str] = {}
        self._refresh_due = 0
        self._own: Counter[str] = Counter()
        # Between paho's thread and this one: events in order, and a descriptor that wakes the loop.
        self._events: deque[tuple[str, bytes]] = deque(maxlen=MOST_ORDERS)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._client = self._connect(section)

    def turn(self) -> int:
        """Forget what must be forgotten, fold what came, carry orders to the switch. Returns the longest wait (us)."""
        now = self._bus.clock.now_us()
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        for order in self._lineage.orders():
            self._forget(order.mask_epoch)
            self._lineage.done(order)
        for message in self._reader.drain():
            self._fold(message)
        self._steady = passed(self._steady, now, self._settings)
        while self._events:
            self._handle(*self._events.popleft(), now)
        while (answer := self._switch.receive()) is not None:
            if isinstance(answer, Answer) and (asked := self._asked.pop(answer.id, None)) is not None:
                self._say(self.names.notice, f"{asked}: {'done' if answer.ok else answer.text}"[:255])
        self._publish(now)
        return TURN_US

    @property
    def wake(self) -> tuple[int, ...]:
        return (self._wake,)

    @property
    def counters(self) -> Counter[str]:
        return self._own + self._reader.counters

    @property
    def notes(self) -> tuple[str, ...]:
        away = () if self._client.is_connected() else (f"the broker {self._section.address} is not reached",)
        return (*away, *plaintext_password(self._section))

    def close(self) -> None:
        """Says goodbye, so that Home Assistant need not wait for the last will."""
        self._lineage.leave()
        if self._client.is_connected():
            with suppress(RuntimeError, ValueError):  # the connection was lost meanwhile: the last will says it
                self._client.publish(self.names.availability, OFFLINE, qos=1, retain=True).wait_for_publish(1)
        self._client.disconnect()
        self._client.loop_stop()
        os.close(self._wake)

    # -- the broker ----------------------------------------------------------------------------------------------

    def _connect(self, section: MqttConfig) -> Client:
        try:
            from paho.mqtt import client as paho
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError:
            raise missing_extra("paho-mqtt", "hub") from None
        secure, host, port = broker_of(section.address or "")
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"edge_mer_{self.names.node}")
        if secure:
            client.tls_set(ca_certs=section.ca)
        if section.username is not None:
            client.username_pw_set(section.username, _password(section.password_file))
        client.will_set(self.names.availability, OFFLINE, qos=1, retain=True)
        client.max_queued_messages_set(MOST_ORDERS)
        client.reconnect_delay_set(*RECONNECT_S)
        client.on_connect = self._connected
        client.on_message = self._heard
        client.connect_async(host, port, KEEPALIVE_S)
        client.loop_start()
        return client

    def _connected(self, client: Client, user: object, flags: object, reason: ReasonCode, properties: object) -> None:
        if reason.is_failure:
            self._own["refused"] += 1
        else:
            self._happened(CONNECTED, b"")

    def _heard(self, client: Client, user: object, message: MQTTMessage) -> None:
        # A retained order is an old one: what it unmasked then it must not unmask now.
        if not message.retain or message.topic == self.names.birth:
            self._happened(message.topic, bytes(message.payload[: LONGEST_PAYLOAD + 1]))

    def _happened(self, topic: str, payload: bytes) -> None:
        self._own["dropped"] += len(self._events) == MOST_ORDERS
        self._events.append((topic, payload))
        os.eventfd_write(self._wake, 1)

    def _handle(self, topic: str, payload: bytes, now: int) -> None:
        names = self.names
        commands = {names.command(m): m for m in MODALITIES}
        if topic == CONNECTED:
            self._introduce()
        elif topic == names.birth:
            if payload == ONLINE.encode():
                self._introduce()
        elif topic in commands and payload in (ON.encode(), OFF.encode()):
            self._ask("unmask" if payload == ON.encode() else "mask", (commands[topic],), 0)
        elif topic == names.guests and payload == PRESS.encode():
            self._ask("mask", MODALITIES, round(self._section.guest_hours * 3600))
        else:
            self._own["bad_order"] += 1

    def _introduce(self) -> None:
        """Home Assistant or the broker has just come: say who we are, and everything that holds."""
        names = self.names
        topics = [names.birth, names.guests, *(names.command(m) for m in MODALITIES)]
        self._client.subscribe([(topic, 1) for topic in topics])
        self._said.clear()
        self._say(names.config, discovery(names, self._section.guest_hours), retain=True)
        self._say(names.availability, ONLINE, retain=True)

    def _publish(self, now: int) -> None:
        """Switches when they change, retained. Estimates when they change and now and then, never retained: what a
        mask makes us forget must not stay with the broker."""
        if not self._client.is_connected():
            return
        privacy = self._privacy
        if privacy is not None and now - privacy.envelope.created_us <= STALE_US:
            for modality, state in switch_states(privacy.body.modalities).items():
                self._say(self.names.state(modality), state, retain=True)
        elif privacy is not None:  # the switch is gone: within one lease nothing is open
            for modality in MODALITIES:
                self._say(self.names.state(modality), "None", retain=True)
        if now >= self._refresh_due:
            self._refresh_due = now + REFRESH_US
            self._said.pop(self.names.estimate, None)
        if self._estimate is not None and now - self._estimate.envelope.created_us <= REFRESH_US:
            self._say(self.names.estimate, estimate_state(self._steady.shown, self._estimate.body))

    def _say(self, topic: str, content: Any, retain: bool = False) -> None:
        """What was said last on this connection is not said again; what could not be queued is, at the next turn.

        Estimates are never queued for another attempt: they could go out after a mask.
        """
        payload = content.encode() if isinstance(content, str) else msgspec.json.encode(content)
        if self._said.get(topic) == payload:
            return
        sent = self._client.publish(topic, payload, qos=0 if topic == self.names.estimate else 1, retain=retain)
        if sent.rc == 0:
            self._said[topic] = payload
        else:
            self._own["unsent"] += 1

    # -- the house -----------------------------------------------------------------------------------------------

    def _fold(self, message: Message[Any]) -> None:
        if isinstance(message.body, Privacy):
            self._privacy = message
        elif not self._before_mask.has(message):
            self._estimate = message
            body, at = message.body, message.envelope.origin_us
            if not body.revision:  # a revision is about the past; an automation acts on the present
                self._steady = step(self._steady, body.label, body.confidence, at, self._settings)

    def _forget(self, mask_epoch: int) -> None:
        self._before_mask.order(mask_epoch, self._bus.clock.now_us())
        self._steady, self._estimate = Steady(), None
        if self._client.is_connected():
            self._say(self.names.estimate, estimate_state(None, None))

    def _ask(self, action: str, modalities: tuple[Modality, ...], for_s: int) -> None:
        grant = None
        if action == "unmask":
            try:
                identity = read_identity(self._directory, NAME)
            except PrivacyError:
                identity = None
            if identity is None or self._privacy is None:
                self._say(self.names.notice, f"unmask {modalities[0]}: {NEEDS_KEY}")
                return
            epoch = max(s.mask_epoch for s in self._privacy.body.modalities.values())
            grant = identity.grant(self._host, modalities, epoch, self._bus.clock.wall_us())
        id_ = secrets.token_hex(8)
        while len(self._asked) >= MOST_ORDERS:
            del self._asked[next(iter(self._asked))]
        self._asked[id_] = f"{action} {', '.join(modalities)}"
        self._said.pop(self.names.notice, None)
        self._switch.send(
            Command(id=id_, action=action, modalities=modalities, requester="Home Assistant", grant=grant, for_s=for_s)
        )


def broker_of(address: str) -> tuple[bool, str, int]:
    """Whether with TLS, host and port of ``mqtt://HOST[:PORT]``. Raises ConfigError for anything else."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"mqtt.address = {address!r}: {error}") from error
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/") or parts.username:
        raise ConfigError(
            f"mqtt.address = {address!r}: use mqtt://HOST:1883 or mqtts://HOST:8883; a name and a "
            "password go into mqtt.username and mqtt.password_file"
        )
    secure = parts.scheme == "mqtts"
    return secure, parts.hostname, port or (8883 if secure else 1883)


def plaintext_password(section: MqttConfig) -> tuple[str, ...]:
    """A warning where the password crosses the network for everybody to read."""
    secure, host, _ = broker_of(section.address or "")
    if secure or section.username is None or is_loopback(host) or host == "localhost":
        return ()
    return (f"the password goes to {host} unencrypted; use mqtts://",)


def _password(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text().partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"mqtt.password_file = {path!r}: {error}") from error


def build(config: Config, bus: Bus) -> MqttOutlet:
    lower_priority()
    return MqttOutlet(config, bus)
