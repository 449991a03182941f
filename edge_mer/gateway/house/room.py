"""The connection to one room: its public topics and its requests, over CURVE, with the key of this house.

A room is not trusted: what it sends is bounded in size and rate, checked against the services table, and dropped where
it is from before a mask.
"""

from __future__ import annotations

import secrets
from collections import Counter
from typing import Any

import msgspec
import zmq

from edge_mer.bus import Reader, ZmqBus
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.messages import Message
from edge_mer.contract.room_address import RoomAddress
from edge_mer.contract.services import SERVICES
from edge_mer.gateway.requests.server import Reply
from edge_mer.host.limits import Budget
from edge_mer.privacy.keys.identity import Identity

TOPICS = ("emotion", "person", *(f"state/{m}" for m in MODALITIES), "privacy", "clock", "voice")
LONGEST_MESSAGE = max(SERVICES[t].max_bytes for t in TOPICS)
LONGEST_REPLY = 64_000
# Whole messages that wait; more are lost by the room, not by the others.
QUEUED = 64
# Twice what a room sends.
MOST_HZ, BURST = 2 * sum(SERVICES[t].rate_hz for t in TOPICS), 100.0
MOST_REPLIES = 20
RECONNECT_MS, SLOWEST_RECONNECT_MS = 100, 2000
HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS = 2000, 10_000
_REPLY = msgspec.json.Decoder(Reply)


class Room:
    """``counters``: ``flood`` (messages beyond the rate, dropped unread), ``bad``, ``gap``, ``old``, ``masked``."""

    def __init__(self, name: str, address: RoomAddress, identity: Identity, bus: ZmqBus) -> None:
        self.name, self.host = name, address.host
        self._bus, self._clock = bus, bus.clock
        self._topics = self._connected(zmq.SUB, identity, address, address.publish, LONGEST_MESSAGE)
        for topic in TOPICS:
            self._topics.subscribe(topic.encode())
        self._requests = self._connected(zmq.DEALER, identity, address, address.requests, LONGEST_REPLY)
        self._budget, self._own = Budget(MOST_HZ, BURST), Counter[str]()
        self._left = 0
        self.reader = Reader(TOPICS, bus.clock, self._next, lambda: None)
        self._sent: dict[str, tuple[str, int]] = {}

    @property
    def counters(self) -> Counter[str]:
        return self._own + self.reader.counters

    def messages(self) -> list[Message[Any]]:
        """What has arrived, as far as the rate allows."""
        self._left = QUEUED
        return self.reader.drain()

    def ask(self, request: str, **fields: Any) -> bool:
        """Send a request; its answer comes from ``replies``. False where there is no connection."""
        id_ = secrets.token_hex(8)
        body = msgspec.json.encode({"id": id_, "request": request, **fields})
        try:
            self._requests.send(body, zmq.NOBLOCK)
        except zmq.ZMQError:
            return False
        self._sent[id_] = request, self._clock.now_us()
        while len(self._sent) > QUEUED:
            del self._sent[next(iter(self._sent))]
        return True

    def replies(self) -> list[tuple[str, int, Reply]]:
        """Answers to our requests: which request, how long it took (us), and the answer. Anything else is dropped."""
        found = []
        for _ in range(MOST_REPLIES):
            if not int(self._requests.get(zmq.EVENTS)) & zmq.POLLIN:
                break
            frames = self._requests.recv_multipart(zmq.NOBLOCK)
            try:
                reply = _REPLY.decode(frames[-1])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._own["bad"] += 1
                continue
            if (sent := self._sent.pop(reply.id, None)) is None:
                self._own["bad"] += 1
            else:
                found.append((sent[0], self._clock.now_us() - sent[1], reply))
        return found

    def close(self) -> None:
        self._bus.release(self._topics, self._requests)

    def _connected(
        self, kind: int, identity: Identity, address: RoomAddress, place: str, longest: int
    ) -> zmq.Socket[bytes]:
        socket = self._bus.socket(kind)
        socket.curve_publickey, socket.curve_secretkey = identity.curve
        socket.curve_serverkey = address.curve.encode()
        options = {
            zmq.IMMEDIATE: 1,  # what is sent without a connection is not kept for later
            zmq.MAXMSGSIZE: longest,
            zmq.SNDHWM: QUEUED,
            zmq.RCVHWM: QUEUED,
            zmq.RECONNECT_IVL: RECONNECT_MS,
            zmq.RECONNECT_IVL_MAX: SLOWEST_RECONNECT_MS,
            zmq.HEARTBEAT_IVL: HEARTBEAT_MS,
            zmq.HEARTBEAT_TIMEOUT: HEARTBEAT_TIMEOUT_MS,
        }
        for option, value in options.items():
            socket.setsockopt(option, value)
        socket.connect(place)
        return socket

    def _next(self) -> list[bytes] | None:
        """The next message within the rate. What is beyond it is dropped unread, so that one room delays no other."""
        while self._left:
            self._left -= 1
            if not int(self._topics.get(zmq.EVENTS)) & zmq.POLLIN:
                return None
            frames = self._topics.recv_multipart(zmq.NOBLOCK)
            if self._budget.take(1, self._clock.now_us()):
                return frames
            self._own["flood"] += 1
        return None
