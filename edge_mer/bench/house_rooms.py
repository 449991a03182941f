"""Many rooms in one process, to measure the cost of the process ``house``: SESSION PORT PORT...

Each room has two ports, with CURVE, and plays the public messages of a recorded session again and again at its own
speed. Where the session has no ``voice``, it plays levels of a made-up voice.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import zmq

from edge_mer.contract import wire
from edge_mer.contract.clock import SECOND, SystemClock
from edge_mer.contract.house import VOICE_STEP_US, Voice
from edge_mer.contract.messages import Envelope, Message
from edge_mer.contract.services import SERVICES
from edge_mer.gateway.house.room import TOPICS
from edge_mer.session.reader import Session

STEPS = 5


def played(session: Session) -> list[Message[Any]]:
    """What a house reads of a room, in order of creation."""
    found: list[Message[Any]] = list(session.messages(*TOPICS))
    begin, end = session.span_us
    if not any(m.topic == "voice" for m in found):
        found += _made_up(begin, end)
    return sorted(found, key=lambda m: m.envelope.created_us)


def _made_up(begin_us: int, end_us: int) -> Iterator[Message[Any]]:
    """Utterances of 3 s with a pause of 2 s after each."""
    for seq, at in enumerate(range(begin_us, end_us, STEPS * VOICE_STEP_US)):
        is_speech = (at - begin_us) // SECOND % 5 < 3
        levels = tuple(-25 - (7 * (seq + n)) % 13 if is_speech else None for n in range(STEPS))
        until = at + STEPS * VOICE_STEP_US
        head = Envelope(
            schema=SERVICES["voice"].schema, source="voice", boot="b", seq=seq, origin_us=at, created_us=until
        )
        yield Message("voice", head, Voice(levels=levels, mask_epoch=0), (), b"")


class PlayedRoom:
    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], keys: tuple[bytes, bytes], ports: tuple[int, int]
    ) -> None:
        self.topics, self.requests = context.socket(zmq.PUB), context.socket(zmq.ROUTER)
        for socket, port in zip((self.topics, self.requests), ports, strict=True):
            socket.curve_server, socket.curve_secretkey = True, keys[1]
            socket.bind(f"tcp://127.0.0.1:{port}")

    def answer(self) -> None:
        while self.requests.poll(0):
            *route, data = self.requests.recv_multipart()
            reply = {"id": msgspec.json.decode(data)["id"], "ok": True, "text": "", "result": {}}
            self.requests.send_multipart([*route, msgspec.json.encode(reply)])


def main() -> None:
    path, *numbers = sys.argv[1:]
    ports = [int(n) for n in numbers]
    messages, clock = played(Session(Path(path))), SystemClock()
    public, secret = zmq.curve_keypair()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    rooms = [PlayedRoom(context, (public, secret), (a, b)) for a, b in zip(ports[::2], ports[1::2], strict=True)]
    print(public.decode(), flush=True)
    begin, end = messages[0].envelope.created_us, messages[-1].envelope.created_us + SECOND
    for turn in range(sys.maxsize):
        offset = clock.now_us() - begin
        for message in messages:
            head = message.envelope
            while (left := head.created_us + offset - clock.now_us()) > 0:
                for room in rooms:
                    room.answer()
                time.sleep(min(left, SECOND // 50) / SECOND)
            moved = msgspec.structs.replace(
                head, boot=f"t{turn}", origin_us=head.origin_us + offset, created_us=head.created_us + offset
            )
            frames = wire.encode(message.topic, moved, message.body)
            for room in rooms:
                room.topics.send_multipart(frames)
        time.sleep(max(0, end + offset - clock.now_us()) / SECOND)


if __name__ == "__main__":
    main()
