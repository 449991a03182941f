"""Outlets: components that send messages to other hosts. An outlet cannot publish data from before a mask.

A subclass of ``Outlet`` names its public topics and implements ``publish`` for one message and ``forget`` for a purge.
``OutletWorker`` does the rest: only it reads the bus; it drops messages from before a mask, revokes the messages that
outlets still hold, and acknowledges a purge only after ``forget`` has returned. When ``forget`` raises or does not
return, the purge is not acknowledged: the process ends or is killed, and the receipt records that.
"""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import msgspec
import zmq

from edge_mer.bus import Bus, Reader, ReliableReader, ZmqBus
from edge_mer.client.pending_commands import PendingCommands
from edge_mer.client.signer import Signer
from edge_mer.client.transports import BusTransport
from edge_mer.config import Config
from edge_mer.contract import wire
from edge_mer.contract.clock import SECOND, Clock
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.messages import Message
from edge_mer.contract.services import SERVICES
from edge_mer.gateway.lazy_topic import LazyTopic
from edge_mer.gateway.public_message import MessageTracker, PublicMessage
from edge_mer.gateway.stale_after_mask import StaleAfterMask
from edge_mer.gateway.stamp import Stamp
from edge_mer.privacy.purge_client import PurgeClient

PUBLIC = {s.topic: s for s in SERVICES.values() if s.public}
_SPLIT = {row.split_from: row.topic for row in PUBLIC.values() if row.split_from is not None}
# State that new clients receive. It excludes data derived from a person, so nothing from before a mask is resent.
RETAINED = frozenset(t for t, s in PUBLIC.items() if s.policy == "latest" and not s.biometric)
# Sensing and fusion have priority over outlets, whatever the load from clients.
NICE = 10


class NotPublic(EdgeMerError):
    """An outlet requests a topic that may not leave this host."""


class OutletBus:
    """The part of the bus that an outlet may use: the clock, external sockets, and commands to the switch.

    ``stamp`` adds room and time to messages that an outlet makes itself; those that it receives have both.
    """

    def __init__(self, bus: Bus, room: str | None = None) -> None:
        self.clock: Clock = bus.clock
        self.stamp = Stamp(room or socket.gethostname())
        self.__bus = bus
        self.__commands: list[PendingCommands] = []

    def socket(self, kind: int) -> zmq.Socket[bytes]:
        """A ZeroMQ socket for external clients; a turn begins when it is readable."""
        assert isinstance(self.__bus, ZmqBus)
        return self.__bus.socket(kind)

    def release(self, *sockets: zmq.Socket[bytes]) -> None:
        assert isinstance(self.__bus, ZmqBus)
        self.__bus.release(*sockets)

    def switch(self, requester: str, signer: Callable[[], Signer] | None = None) -> PendingCommands:
        """Commands to the privacy switch; answers arrive within a turn. Without ``signer`` the outlet can only forward
        grants that clients have signed."""
        commands = PendingCommands(BusTransport(self.__bus), self.clock, requester, signer)
        self.__commands.append(commands)
        return commands

    def turn(self) -> None:
        for commands in self.__commands:
            commands.turn()


class Outlet(ABC):
    """One output of the host. For example, a file that a door display reads::

        class DoorDisplay(Outlet):
            name, topics = "door_display", ("emotion", "privacy")

            def __init__(self, config: Config, bus: OutletBus) -> None:
                self._path = Path("/run/display/emotion.json")

            def publish(self, message: PublicMessage) -> None:
                if message.topic == "emotion":
                    self._path.write_bytes(message.json)

            def forget(self, modalities: tuple[Modality, ...], mask_epoch: int) -> None:
                self._path.unlink(missing_ok=True)

    ``OutletWorker.of(DoorDisplay, config, bus)`` is then the worker of its process. A mask is confirmed only after
    ``forget`` returns: it must delete everything, and within a second, because the switch waits no longer.
    """

    name: ClassVar[str]
    topics: ClassVar[tuple[str, ...]]
    turn_us: ClassVar[int] = SECOND // 4

    def __init__(self, config: Config, bus: OutletBus) -> None:
        """Raises EdgeMerError for an unusable configuration; the process then ends."""
        return

    @abstractmethod
    def publish(self, message: PublicMessage) -> None:
        """Send one message of ``topics`` now, or keep it (not copies of it) for later."""

    @abstractmethod
    def forget(self, modalities: tuple[Modality, ...], mask_epoch: int) -> None:
        """Drop everything computed from messages derived from a person; data still being sent must not arrive."""

    def wants(self, topic: str) -> bool:
        """Whether a client currently requests a topic that is computed only on request."""
        return True

    def before(self, now_us: int) -> None:
        """At the beginning of each turn, before purges and messages."""
        return

    def after(self, now_us: int) -> None:
        """At the end of each turn. The next comes within ``turn_us``."""
        return

    @property
    def wake(self) -> tuple[int, ...]:
        """File descriptors that begin a turn at once, beside the sockets of ``OutletBus.socket``."""
        return ()

    @property
    def counters(self) -> Mapping[str, int]:
        """Numbers of lost or refused items, by name."""
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the user about its state."""
        return ()

    def close(self) -> None:
        """Called when its process ends normally."""
        return


class OutletWorker:
    """The worker of a process with one outlet, or with several that share a server."""

    def __init__(
        self, name: str, bus: Bus, make: Callable[[OutletBus], Iterable[Outlet]], room: str | None = None
    ) -> None:
        """``name`` is that of the process; ``room`` of the setting, by default the host name. Raises NotPublic for a
        topic that may not leave this host."""
        self._clock, self._outlet_bus = bus.clock, OutletBus(bus, room)
        self._outlets = tuple(make(self._outlet_bus))
        for outlet in self._outlets:
            check_public(outlet)
        wanted = {"clock"}.union(*(outlet.topics for outlet in self._outlets))
        wanted |= {PUBLIC[topic].split_from or topic for topic in wanted}
        rows = [row for row in PUBLIC.values() if row.topic in wanted and row.split_from is None]
        latest = [row.topic for row in rows if row.policy == "latest" and not row.on_request]
        self._purges = PurgeClient(bus, name, MODALITIES)
        self._readers: list[Reader | ReliableReader] = [bus.reader(*latest)]
        self._readers += [ReliableReader(bus, row.topic) for row in rows if row.policy == "reliable"]
        self._lazy = {row.topic: LazyTopic(bus, row.topic) for row in rows if row.on_request}
        self._stale, self._tracker = StaleAfterMask(), MessageTracker()
        self._own: Counter[str] = Counter()

    @classmethod
    def of(cls, kind: type[Outlet], config: Config, bus: Bus) -> OutletWorker:
        """The worker of one outlet. Lowers the priority of the process below sensing and fusion."""
        lower_priority()
        return cls(kind.name, bus, lambda own: [kind(config, own)], config.run.room_name)

    def turn(self) -> int:
        """Carry out purges, forward new messages, and run the outlets. Returns the longest wait (us)."""
        now = self._clock.now_us()
        for outlet in self._outlets:
            outlet.before(now)
        self._forget(now)
        for reader in self._readers:
            self._forward(reader.drain())
        for topic, lazy in self._lazy.items():
            self._forward(lazy.drain(any(topic in o.topics and o.wants(topic) for o in self._outlets)))
        self._outlet_bus.turn()
        for outlet in self._outlets:
            outlet.after(now)
        return min(outlet.turn_us for outlet in self._outlets)

    @property
    def wake(self) -> tuple[int, ...]:
        return tuple(fd for outlet in self._outlets for fd in outlet.wake)

    @property
    def counters(self) -> Counter[str]:
        found = Counter(self._own)
        for part in (*self._readers, *self._outlets):
            found.update(part.counters)
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(note for outlet in self._outlets for note in outlet.notes)

    def close(self) -> None:
        self._purges.leave()
        for outlet in self._outlets:
            outlet.close()

    def _forget(self, now_us: int) -> None:
        if not (orders := self._purges.orders()):
            return
        mask_epoch = max(order.mask_epoch for order in orders)
        self._stale.record_mask(mask_epoch, now_us)
        for order in orders:
            if order.modality == "audio":
                self._stale.record_mask(order.mask_epoch, now_us, voice=True)
        self._tracker.revoke()
        for outlet in self._outlets:
            outlet.forget(tuple(order.modality for order in orders), mask_epoch)
        for order in orders:  # only now: an outlet that raised or hung above has deleted nothing
            self._purges.done(order)

    def _forward(self, messages: Iterable[Message[Any]]) -> None:
        for message in messages:
            if self._stale.is_stale(message) or (PUBLIC[message.topic].current_only and not message.body.is_current):
                continue
            if message.payload:  # no public topic has a payload
                self._own["not_public"] += 1
                continue
            self._outlet_bus.stamp.observe(message)
            tracked = self._tracker.track(self._outlet_bus.stamp(as_public(message)))
            for outlet in self._outlets:
                if tracked.topic in outlet.topics:
                    outlet.publish(tracked)


def as_public(message: Message[Any]) -> Message[Any]:
    """Estimates of windows in the past leave the host as topic ``revision``: ``emotion`` holds current ones only."""
    topic = _SPLIT.get(message.topic)
    if topic is None or message.body.is_current:
        return message
    envelope = msgspec.structs.replace(message.envelope, schema=PUBLIC[topic].schema)
    header = wire.encode(topic, envelope, message.body)[1]
    return Message(topic, envelope, message.body, (), header)


def check_public(outlet: Outlet) -> None:
    """Raises NotPublic, naming the topics that may not leave this host."""
    if private := sorted(set(outlet.topics) - set(PUBLIC)):
        raise NotPublic(f"{type(outlet).__name__} requests {', '.join(private)}; an outlet may use {', '.join(PUBLIC)}")


def lower_priority() -> None:
    """Lower the CPU priority of this process for its lifetime."""
    os.nice(NICE)
