"""A client of the Wyoming protocol: it sends the audio of a segment to a server, which returns its transcript.

Each event is a line of JSON (``type``, ``data``, ``data_length``, ``payload_length``), then that many bytes of more
data (JSON) and of payload. See github.com/OHF-Voice/wyoming.
"""

from __future__ import annotations

import json
import socket
from typing import Any, BinaryIO

from edge_mer.capture.asr.spread_words import spread
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import DeviceError
from edge_mer.contract.messages import WordTime
from edge_mer.contract.raw import SAMPLE_RATE
from edge_mer.contract.recognisers import RECOGNISERS

WIDTH, CHANNELS = 2, 1
CONNECT_S, ANSWER_S = 3.0, 30.0
MOST_BYTES = 1_000_000


class Wyoming:
    """One connection for each segment, as the protocol's own clients do."""

    confidence: float | None = None  # the protocol has none

    def __init__(self, host: str, port: int, language: str | None = None) -> None:
        self._host, self._port = host, port
        self._language = language or RECOGNISERS["wyoming"].languages[0]
        self._socket: socket.socket | None = None
        self._bytes = 0

    def begin(self) -> None:
        try:
            self._socket = socket.create_connection((self._host, self._port), CONNECT_S)
        except OSError as error:
            raise DeviceError(f"no Wyoming server answers at {self._host}:{self._port}: {error}") from error
        self._socket.settimeout(ANSWER_S)
        self._bytes = 0
        self._send("transcribe", {"language": self._language})
        self._send("audio-start", _FORMAT)

    def feed(self, pcm: bytes) -> None:
        self._send("audio-chunk", _FORMAT, pcm)
        self._bytes += len(pcm)

    def partial(self) -> tuple[WordTime, ...] | None:
        return None

    def end(self) -> tuple[WordTime, ...]:
        assert self._socket is not None
        self._send("audio-stop", {})
        try:
            text = self._transcript()
        except (OSError, ValueError) as error:
            raise DeviceError(f"the Wyoming server at {self._host}:{self._port} failed: {error}") from error
        finally:
            self._socket.close()
        return spread(text, 0, self._bytes * SECOND // (SAMPLE_RATE * WIDTH))

    def _transcript(self) -> str:
        assert self._socket is not None
        with self._socket.makefile("rb") as stream:
            while True:
                kind, data = receive(stream)
                if kind == "transcript":
                    return str(data.get("text", ""))
                if kind == "error":
                    raise ValueError(str(data.get("text", "error")))

    def _send(self, kind: str, data: dict[str, Any], payload: bytes = b"") -> None:
        assert self._socket is not None
        try:
            self._socket.sendall(event(kind, data, payload))
        except OSError as error:
            raise DeviceError(f"the Wyoming server at {self._host}:{self._port} failed: {error}") from error


_FORMAT = {"rate": SAMPLE_RATE, "width": WIDTH, "channels": CHANNELS}


def event(kind: str, data: dict[str, Any], payload: bytes = b"") -> bytes:
    """One event as bytes."""
    header: dict[str, Any] = {"type": kind, "data": data}
    if payload:
        header["payload_length"] = len(payload)
    return json.dumps(header).encode() + b"\n" + payload


def receive(stream: BinaryIO) -> tuple[str, dict[str, Any]]:
    """The next event's type and data; its payload is skipped. Raises ValueError for an invalid event."""
    line = stream.readline(MOST_BYTES)
    if not line.endswith(b"\n"):
        raise ValueError("connection closed" if not line else "an event's header has no end")
    header = json.loads(line)
    if not isinstance(header, dict) or not isinstance(header.get("type"), str):
        raise ValueError("an event without a type")
    data = _table(header.get("data") or {})
    more, skipped = (_length(header, name) for name in ("data_length", "payload_length"))
    if more:
        data.update(_table(json.loads(stream.read(more))))
    stream.read(skipped)
    return header["type"], data


def _length(header: dict[str, Any], name: str) -> int:
    length = header.get(name) or 0
    if not isinstance(length, int) or not 0 <= length <= MOST_BYTES:
        raise ValueError(f"an event whose {name} is {length!r}; at most {MOST_BYTES} bytes are taken")
    return length


def _table(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError("an event whose data is no object")
    return dict(data)


def load(argument: str | None, language: str | None = None) -> Wyoming:
    """``argument``: host:port. ``language``: asked of the server."""
    host, _, port = (argument or "").rpartition(":")
    return Wyoming(host, int(port), language)
