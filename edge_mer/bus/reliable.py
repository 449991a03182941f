"""Reliable topics: a bounded log on the publisher's side, acknowledged and resent over ROUTER/DEALER."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edge_mer.bus.contract import Bus
from edge_mer.bus.publisher import Publisher
from edge_mer.contract import wire
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Subscribe
from edge_mer.contract.errors import BadMessage
from edge_mer.contract.messages import Body, Message
from edge_mer.contract.services import SERVICES

RESEND_US = SECOND
FORGET_US = 10 * SECOND
ACK_US = SECOND // 2
GIVE_UP_US = 2 * RESEND_US


@dataclass
class _Peer:
    """``waiting_us``: time of the oldest message without an acknowledgement."""

    acked: int
    sent: int
    waiting_us: int
    last_us: int


class ReliablePublisher:
    """Keeps the last ``keep`` messages; a reader that falls further behind sees a gap in the sequence."""

    def __init__(self, bus: Bus, topic: str, source: str, keep: int = 2_000) -> None:
        self._bus = bus
        self._server = bus.server(topic)
        self._log: deque[tuple[int, list[bytes]]] = deque(maxlen=keep)
        self._peers: dict[bytes, _Peer] = {}
        self._publisher = Publisher(topic, source, bus.boot, bus.clock, self._append, self._server.close)

    @property
    def seq(self) -> int:
        return self._publisher.seq

    @property
    def behind(self) -> int | None:
        """How many messages the slowest reader has not acknowledged; None without a reader."""
        return max((self.seq - 1 - peer.acked for peer in self._peers.values()), default=None)

    def send(self, body: Body, payload: Sequence[NDArray[Any]] = (), *, origin_us: int) -> Message[Any]:
        message = self._publisher.send(body, payload, origin_us=origin_us)
        self.pump()
        return message

    def forget(self) -> None:
        """Delete the messages that are kept: readers that lack them see a gap."""
        self._log.clear()

    def _append(self, frames: list[bytes]) -> None:
        self._log.append((self._publisher.seq, frames))

    def pump(self) -> None:
        """Process subscriptions and send each reader the messages it lacks. Call once a turn."""
        now = self._bus.clock.now_us()
        while (item := self._server.receive()) is not None:
            peer_id, message = item
            if isinstance(message, Subscribe):
                self._receive_subscription(peer_id, message, now)
        for peer_id, peer in list(self._peers.items()):
            if now - peer.last_us > FORGET_US:
                del self._peers[peer_id]
                continue
            if peer.sent == peer.acked:
                peer.waiting_us = now
            elif now - peer.waiting_us > RESEND_US:
                peer.sent, peer.waiting_us = peer.acked, now
            for seq, frames in self._log:
                if seq > peer.sent:
                    self._server.send(peer_id, frames)
                    peer.sent = seq

    def _receive_subscription(self, peer_id: bytes, message: Subscribe, now: int) -> None:
        after = message.after if message.boot == self._bus.boot else -1
        peer = self._peers.setdefault(peer_id, _Peer(after, after, now, now))
        if after > peer.acked:
            peer.waiting_us = now
        peer.acked, peer.last_us = after, now
        peer.sent = max(peer.sent, after)

    def close(self) -> None:
        self._server.close()


class ReliableReader:
    """Every message of one reliable topic, in order. ``counters["gap"]``: how many were lost permanently."""

    def __init__(self, bus: Bus, topic: str) -> None:
        self._bus, self._row = bus, SERVICES[topic]
        self._client = bus.client(topic)
        self._boot, self._last = "", -1
        self._acked_us = -ACK_US
        self._jumped_us: int | None = None
        self._previous = 0
        self.counters: Counter[str] = Counter()

    def drain(self) -> list[Message[Any]]:
        fresh: list[Message[Any]] = []
        while (frames := self._client.receive()) is not None:
            message = self._check(frames) if isinstance(frames, list) else None
            if message is not None:
                fresh.append(message)
        now = self._bus.clock.now_us()
        if fresh or now - self._acked_us >= ACK_US:
            self._acked_us = now
            self._client.send(Subscribe(boot=self._boot, after=self._last))
        return fresh

    def _check(self, frames: list[bytes]) -> Message[Any] | None:
        row = self._row
        try:
            message: Message[Any] = wire.decode(row.topic, row.body, row.version, row.max_bytes, frames)
        except BadMessage:
            self.counters["bad"] += 1
            return None
        envelope = message.envelope
        if envelope.boot != self._boot:
            self._boot, self._last, self._jumped_us = envelope.boot, -1, None
        if envelope.seq <= self._last:
            return None
        if envelope.seq > self._last + 1 and not self._is_lost(envelope.seq):
            return None
        self._jumped_us = None
        self.counters["gap"] += envelope.seq - self._last - 1
        self._last = envelope.seq
        return message

    def _is_lost(self, seq: int) -> bool:
        """Whether the publisher had time to resend the missing messages, and ``seq`` is the oldest that it still has:
        it resends from there on, so the sequence numbers go back at the beginning of each resend."""
        now = self._bus.clock.now_us()
        if self._jumped_us is None:
            self._jumped_us, self._previous = now, seq
        is_oldest, self._previous = seq <= self._previous, seq
        waited = now - self._jumped_us
        return waited > 2 * GIVE_UP_US or (waited > GIVE_UP_US and is_oldest)

    def close(self) -> None:
        self._client.close()
