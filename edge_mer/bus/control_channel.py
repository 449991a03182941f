"""Client and server of a reliable endpoint, independent of the transport of the frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_mer.contract import control
from edge_mer.contract.control import AnyControl, Control
from edge_mer.contract.errors import BadMessage

Frames = list[bytes]


class Client:
    """One client (DEALER). ``bad`` counts corrupt messages and sends without a receiver: the sender repeats those."""

    def __init__(
        self, send: Callable[[Frames], bool], receive: Callable[[], Frames | None], close: Callable[[], None]
    ) -> None:
        self._send, self._receive, self.close = send, receive, close
        self.bad = 0

    def send(self, message: AnyControl) -> None:
        self.bad += not self._send([control.encode(message)])

    def receive(self) -> AnyControl | Frames | None:
        """The next control message, or the frames of a message of a reliable topic; None when there is none."""
        while (frames := self._receive()) is not None:
            if len(frames) > 1:
                return frames
            try:
                return control.decode(frames[0])
            except BadMessage:
                self.bad += 1
        return None


class Server:
    """The owner of a reliable endpoint (ROUTER). A peer is known by the bytes of its identity."""

    def __init__(
        self, send: Callable[[bytes, Frames], bool], receive: Callable[[], Frames | None], close: Callable[[], None]
    ) -> None:
        self._send, self._receive, self.close = send, receive, close
        self.bad = 0

    def send(self, peer: bytes, message: AnyControl | Sequence[bytes]) -> None:
        frames = [control.encode(message)] if isinstance(message, Control) else list(message)
        self.bad += not self._send(peer, frames)

    def receive(self) -> tuple[bytes, AnyControl] | None:
        """The next message and who sent it; corrupt ones are dropped and counted in ``bad``."""
        while (frames := self._receive()) is not None:
            try:
                if len(frames) != 2:
                    raise BadMessage(f"control: expected one frame, got {len(frames) - 1}")
                return frames[0], control.decode(frames[1])
            except BadMessage:
                self.bad += 1
        return None
