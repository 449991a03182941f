"""The process ``hub``: the public topics on one XPUB socket, and requests on one ROUTER socket. Off by default.

It carries exactly the rows that the services table marks public. Capture and fusion never wait for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from edge_mer.bus import Bus, Publisher
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Modality
from edge_mer.contract.messages import HubHeartbeat
from edge_mer.gateway.curve_listener import CurveListener
from edge_mer.gateway.outlet import PUBLIC, RETAINED, Outlet, OutletBus, OutletWorker, lower_priority
from edge_mer.gateway.public.publisher import PublicPublisher
from edge_mer.gateway.public_message import PublicMessage
from edge_mer.gateway.requests.server import RequestServer

NAME = "hub"
BEAT_US = SECOND


class PublicOutlet(Outlet):
    """Sends each message to its TCP subscribers, and a heartbeat once a second."""

    name = NAME
    topics = tuple(t for t in PUBLIC if t != "heartbeat")
    turn_us = SECOND // 5

    def __init__(self, config: Config, bus: OutletBus, heartbeat: Publisher) -> None:
        """Raises ConfigError for addresses that cannot be bound, and for plaintext that other hosts could reach."""
        self._listener = CurveListener(bus, config)
        section = config.hub
        self.publisher = PublicPublisher(bus, self._listener, section.publish) if section.publish else None
        self._last: dict[str, PublicMessage] = self.publisher.last if self.publisher else {}
        self.requests = RequestServer(bus, self._listener, section.requests, self._last) if section.requests else None
        self._heartbeat, self._stamp = heartbeat, bus.stamp
        self._beat_due = 0

    def before(self, now_us: int) -> None:
        if self._listener.turn() and self.publisher is not None:
            self.publisher.reopen()

    def publish(self, message: PublicMessage) -> None:
        if self.requests is not None and message.topic == "emotion":
            self.requests.answer_with(message)
        if self.publisher is not None:
            self.publisher.publish(message)
        elif message.topic in RETAINED:
            self._last[message.topic] = message

    def forget(self, modalities: tuple[Modality, ...], mask_epoch: int) -> None:
        """Nothing to do: every estimate is sent in the turn in which it arrives, and none is kept."""

    def wants(self, topic: str) -> bool:
        return self.publisher is not None and self.publisher.wants(topic)

    def after(self, now_us: int) -> None:
        if now_us >= self._beat_due:
            self._beat_due = now_us + BEAT_US
            beat = HubHeartbeat(topics=tuple(PUBLIC), next_us=self._beat_due)
            self.publish(PublicMessage(self._stamp(self._heartbeat.send(beat, origin_us=now_us))))
        if self.publisher is not None:
            self.publisher.turn(now_us)
        if self.requests is not None:
            self.requests.turn(now_us)

    @property
    def counters(self) -> Mapping[str, int]:
        found = Counter({"refused": self._listener.refused})
        for part in (self.publisher, self.requests):
            if part is not None:
                found += part.counters
        return found

    def close(self) -> None:
        for part in (self.publisher, self.requests):
            if part is not None:
                part.close()


def build(config: Config, bus: Bus) -> OutletWorker:
    """Raises ConfigError when a configured address cannot be used."""
    lower_priority()
    heartbeat = bus.publisher("heartbeat", NAME)
    return OutletWorker(NAME, bus, lambda own: [PublicOutlet(config, own, heartbeat)], config.run.room_name)
