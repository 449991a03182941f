"""The process ``mqtt``: this host as a device of Home Assistant. Off unless ``mqtt.address`` is set.

It may always mask. It unmasks only with a key of its own that is paired as a hub (``edge-mer keys new mqtt --hub``),
and only what ``hub.may_unmask`` in the deployment file names; the switch decides. This key serves whoever may publish
at the broker, so the broker's access list is what protects it; with ``mqtt.require_grant`` every client needs a key of
its own instead, and sends a grant. Nothing waits for the broker:
while it is unreachable nothing is queued, and the current state is sent after it reconnects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec
from msgspec import UNSET

from edge_mer.bus import Bus
from edge_mer.client.signer import Signer, host_signer
from edge_mer.config import Config, is_off
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Answer, Grant
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import EdgeMerError, PrivacyError
from edge_mer.contract.messages import EventChange, People, Privacy
from edge_mer.events import corrections
from edge_mer.gateway.mqtt.access import access_notes
from edge_mer.gateway.mqtt.broker import plaintext_password
from edge_mer.gateway.mqtt.debounce import DebounceSettings
from edge_mer.gateway.mqtt.discovery import (
    EXPIRE_S,
    OFF,
    ON,
    ONLINE,
    PRESS,
    Device,
    Names,
    discovery,
    estimate_state,
    event_state,
    switch_states,
    until_states,
)
from edge_mer.gateway.mqtt.link import CONNECTED, BrokerLink
from edge_mer.gateway.mqtt.shown import Shown, forgotten, of_person, passed, seen, step
from edge_mer.gateway.outlet import Outlet, OutletBus, OutletWorker
from edge_mer.gateway.public_message import PublicMessage
from edge_mer.host.files import state_directory
from edge_mer.privacy.keys.host_key import public_key

NAME = "mqtt"
REFRESH_US = EXPIRE_S * SECOND // 3
STALE_US = 2 * SECOND
NEEDS_KEY = "needs paired key: edge-mer keys new mqtt --hub, and hub.may_unmask in the deployment file"
REQUIRES_GRANT = "mqtt.require_grant is set: send a signed grant instead of ON (edge_mer/privacy/README.md)"
GRANT = msgspec.json.Decoder(Grant)


class MqttOutlet(Outlet):
    """Folds estimates and privacy into the states of Home Assistant's entities; forwards its commands to the switch."""

    name = NAME
    topics = ("emotion", "event", "people", "person", "privacy")

    def __init__(self, config: Config, bus: OutletBus) -> None:
        """Raises ConfigError for an invalid address, MissingExtra without paho-mqtt."""
        section = config.mqtt
        self._clock, self._section = bus.clock, section
        self._directory = state_directory(config.privacy.state)
        host = public_key(self._directory)
        if host is None:
            raise PrivacyError("this host has no key yet: start the switch once; retrying")
        self._host = host.public_bytes_raw().hex()
        self.names = Names(self._host[:8], section.discovery, section.base_topic)
        self._device = Device(bus.stamp.room, config.run.room, config.page.address, self._host[:16])
        self._senses = tuple(m for m in MODALITIES if not is_off(config, m))
        self._settings = DebounceSettings(
            round(section.steady_s * SECOND), section.min_confidence, round(section.forget_s * SECOND)
        )
        self._switch = bus.switch(NAME, self._signer)
        self._shown, self._stamp = Shown(), bus.stamp
        self._estimate_us: int | None = None
        self._last_event: str | None = None
        self._since_us = bus.clock.now_us()
        self._privacy: PublicMessage | None = None
        self._lapsed: list[str] = []
        self._refresh_due = 0
        self._accepted = False
        self._counts: Counter[str] = Counter()
        self._link = BrokerLink(section, f"edge_mer_{self.names.node}", self.names.availability, self._counts)

    def publish(self, message: PublicMessage) -> None:
        if isinstance(message.body, Privacy):
            before = self._privacy.body.modalities if self._privacy is not None else {}
            self._lapsed += [
                f"{m}: live again, {now.reason}"
                for m, now in message.body.modalities.items()
                if now.requested == "live" and now.reason and m in before and before[m].requested != "live"
            ]
            self._privacy = message
        elif isinstance(message.body, EventChange):
            self._happened(message.body, message.envelope.created_us)
        elif isinstance(message.body, People):
            self._shown = seen(self._shown, message.body, message.envelope.origin_us)
        elif message.topic == "person":
            self._shown = of_person(self._shown, message.body)
        else:
            self._shown = of_person(self._shown, message.body)
            self._estimate_us = message.envelope.created_us
            self._shown = step(self._shown, message.body, message.envelope.origin_us, self._settings)
            # Never behind something that waits: it could be sent after a mask.
            if self._link.is_idle:
                self._link.client.publish(self.names.emotion, bytes(message.json), qos=0)

    def _happened(self, change: EventChange, created_us: int) -> None:
        """Send an event at once, never behind something that waits; one of before this process began is old."""
        self._last_event = change.event
        if created_us >= self._since_us and self._link.is_idle:
            self._link.client.publish(self.names.event, msgspec.json.encode(event_state(change)), qos=0)

    def forget(self, modalities: tuple[Modality, ...], mask_epoch: int) -> None:
        self._shown, self._estimate_us, self._last_event = forgotten(self._shown), None, None
        if self._link.is_connected:
            self._send_estimate(self._clock.now_us())

    def after(self, now_us: int) -> None:
        """Handle received commands, and send the states that changed."""
        self._shown = passed(self._shown, now_us, self._settings)
        for topic, payload in self._link.arrived():
            self._handle(topic, payload)
        self._link.renew(now_us)
        self._send_states(now_us)

    @property
    def wake(self) -> tuple[int, ...]:
        return (self._link.wake,)

    @property
    def counters(self) -> Counter[str]:
        return self._counts

    @property
    def notes(self) -> tuple[str, ...]:
        unreachable = () if self._link.is_connected else (f"the broker {self._section.address} is not reachable",)
        failure = self._link.failure
        failed = (f"the connection to the broker was renewed: {failure}",) if failure else ()
        return (*unreachable, *failed, *access_notes(self._section, self._accepted), *plaintext_password(self._section))

    def close(self) -> None:
        self._link.close()

    # -- the broker ----------------------------------------------------------------------------------------------

    def _handle(self, topic: str, payload: bytes) -> None:
        names = self.names
        commands = {names.command(m): m for m in MODALITIES}
        if topic == CONNECTED:
            self._accepted = True
            self._announce()
        elif topic == names.birth:
            if payload == ONLINE.encode():
                self._announce()
        elif topic in commands and payload == ON.encode() and self._section.require_grant:
            self._notice(f"unmask {commands[topic]}: {REQUIRES_GRANT}")
        elif topic in commands and payload.startswith(b"{"):
            self._unmask_by_grant(commands[topic], payload)
        elif topic in commands and payload in (ON.encode(), OFF.encode()):
            self._request("unmask" if payload == ON.encode() else "mask", (commands[topic],), 0)
        elif topic == names.guests and payload == PRESS.encode():
            self._request("mask", MODALITIES, round(self._section.guest_hours * 3600))
        elif topic == names.wrong and payload == PRESS.encode():
            self._call_wrong()
        else:
            self._counts["bad_order"] += 1

    def _call_wrong(self) -> None:
        """The last event was wrong: its threshold rises on this host."""
        if self._last_event is None:
            self._notice("wrong: there was no event since the last mask")
            return
        try:
            corrections.wrong(self._directory, self._last_event)
        except (EdgeMerError, OSError) as error:
            self._notice(f"wrong: {error}")
        else:
            self._notice(f"wrong: {self._last_event} is noted")

    def _announce(self) -> None:
        """Home Assistant or the broker has (re)started: send discovery, availability and all states."""
        names = self.names
        self._link.announce([names.guests, names.wrong, *(names.command(m) for m in MODALITIES)])
        self._link.send(names.config, discovery(names, self._device, self._senses), retain=True)
        self._link.send(names.availability, ONLINE, retain=True)

    def _send_states(self, now: int) -> None:
        """Switches when they change, retained. Estimates when they change and at intervals, never retained: the broker
        must not keep data that a mask deletes here."""
        if not self._link.is_connected:
            return
        privacy = self._privacy
        if privacy is not None and now - privacy.envelope.created_us <= STALE_US:
            for modality, state in switch_states(privacy.body.modalities).items():
                self._link.send(self.names.state(modality), state, retain=True)
            for topic, until in until_states(self.names, privacy.body.modalities).items():
                self._link.send(topic, until, retain=True)
            if self._section.require_grant:
                self._link.send(
                    self.names.grant, {"host": self._host, "mask_epoch": privacy.body.mask_epoch}, retain=True
                )
            if self._lapsed:
                self._notice("; ".join(self._lapsed))
                self._lapsed = []
        elif privacy is not None:  # the switch does not run: within one lease every device is closed
            for modality in MODALITIES:
                self._link.send(self.names.state(modality), "None", retain=True)
        if now >= self._refresh_due:
            self._refresh_due = now + REFRESH_US
            self._link.again(self.names.estimate)
        if self._estimate_us is not None and now - self._estimate_us <= REFRESH_US:
            self._send_estimate(now)

    def _send_estimate(self, now: int) -> None:
        """Estimates are never queued for another attempt (qos 0): they could be sent after a mask."""
        time = self._stamp.time(now)
        told = {} if time is UNSET else {"time": time}
        self._link.send(self.names.estimate, estimate_state(self._shown), qos=0, told=told)

    # -- the switch ----------------------------------------------------------------------------------------------

    def _signer(self) -> Signer:
        try:
            return host_signer(self._directory, self._clock, NAME)
        except PrivacyError:
            raise PrivacyError(NEEDS_KEY) from None

    def _request(self, action: str, modalities: tuple[Modality, ...], for_s: int) -> None:
        if action == "unmask":
            self._switch.unmask(modalities, self._answered(action, modalities))
        else:
            self._switch.command(action, modalities, self._answered(action, modalities), for_s=for_s)

    def _unmask_by_grant(self, modality: Modality, payload: bytes) -> None:
        """A grant that a client has signed; the switch checks it."""
        try:
            grant = GRANT.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._counts["bad_order"] += 1
            self._notice(f"unmask {modality}: this is no grant: {error}")
            return
        self._switch.command("unmask", (modality,), self._answered("unmask", (modality,)), grant=grant)

    def _answered(self, action: str, modalities: tuple[Modality, ...]) -> Callable[[Answer], None]:
        return lambda answer: self._notice(f"{action} {', '.join(modalities)}: {'done' if answer.ok else answer.text}")

    def _notice(self, text: str) -> None:
        self._link.again(self.names.notice)
        self._link.send(self.names.notice, text[:255])


def build(config: Config, bus: Bus) -> OutletWorker:
    return OutletWorker.of(MqttOutlet, config, bus)
