"""Publisher: stamps the envelope and counts the sequence of one topic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from edge_mer.contract import wire
from edge_mer.contract.clock import Clock
from edge_mer.contract.errors import BadMessage
from edge_mer.contract.messages import Body, Envelope, Message
from edge_mer.contract.services import SERVICES


class Publisher:
    """Publishes one topic. Sending never blocks: a slow reader loses messages and counts the gap."""

    def __init__(
        self,
        topic: str,
        source: str,
        boot: str,
        clock: Clock,
        send: Callable[[list[bytes]], object],
        close: Callable[[], None],
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.service = SERVICES[topic]
        self.source, self.boot = source, boot
        self.seq = 0
        self._clock, self._send, self.close = clock, send, close
        self.wanted = wanted  # whether there is a reader; known for ``on_request`` topics, assumed for the others

    def send(self, body: Body, payload: Sequence[NDArray[Any]] = (), *, origin_us: int) -> Message[Any]:
        """Publish and return the message as a reader will get it. Raises BadMessage when it breaks its row."""
        row = self.service
        if type(body) is not row.body:
            raise BadMessage(f"{row.topic}: carries {row.body.__name__}, not {type(body).__name__}")
        envelope = Envelope(
            schema=row.schema,
            source=self.source,
            boot=self.boot,
            seq=self.seq,
            origin_us=origin_us,
            created_us=self._clock.now_us(),
            payload=wire.specs_of(payload),
        )
        frames = wire.encode(row.topic, envelope, body, payload)
        wire.check_size(row.topic, row.max_bytes, frames)
        self._send(frames)
        self.seq += 1
        return Message(row.topic, envelope, body, tuple(payload), frames[1])

    def forward(self, frames: list[bytes]) -> Message[Any]:
        """Publish a message from elsewhere with its original envelope (a replay). Raises BadMessage."""
        row = self.service
        message: Message[Any] = wire.decode(row.topic, row.body, row.version, row.max_bytes, frames)
        self._send(frames)
        return message
