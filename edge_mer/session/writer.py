"""Writes one session file: a new chunk at least once a second, so that a crash loses at most one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from mcap.writer import CompressionType, Writer

from edge_mer.clock import SECOND
from edge_mer.errors import SessionError
from edge_mer.messages import Message
from edge_mer.services import SERVICES
from edge_mer.session import format

CHUNK_US = SECOND
CHUNK_BYTES = 1_000_000
NS = 1_000


class SessionWriter:
    """Methods raise OSError when the disk does; ``abandon`` then leaves what is whole on the disk."""

    def __init__(self, path: Path, opening: format.Opening) -> None:
        """Raises SessionError when the file exists or its folder cannot be written."""
        try:
            self._file = path.open("xb")
        except FileExistsError:
            raise SessionError(f"{path} exists and is not overwritten; choose another name") from None
        except OSError as error:
            raise SessionError(f"cannot record to {path}: {error.strerror}") from error
        self.path, self.messages = path, dict.fromkeys(SERVICES, 0)
        self._writer = Writer(self._file, CHUNK_BYTES, CompressionType.ZSTD, enable_data_crcs=True)
        self._channels: dict[tuple[str, str], int] = {}
        self._schemas: dict[str, int] = {}
        self._chunk_us: int | None = None
        self._writer.start(format.PROFILE, f"edge_mer {opening.versions.get('edge_mer', '')}")
        self._writer.add_metadata(format.OPENING, format.to_metadata(opening))
        self._file.flush()

    @property
    def due_us(self) -> int | None:
        """When the open chunk must be written at the latest; None while it is empty."""
        return None if self._chunk_us is None else self._chunk_us + CHUNK_US

    def add(self, message: Message[Any], now_us: int) -> None:
        if self._chunk_us is None:
            self._chunk_us = now_us
        encoding, data = format.pack(message)
        envelope = message.envelope
        self._writer.add_message(self._channel(message.topic, encoding), _nanoseconds(now_us), data,
                                 _nanoseconds(envelope.created_us), envelope.seq & 0xFFFFFFFF)  # fmt: skip
        self.messages[message.topic] += 1

    def flush(self) -> None:
        """End the chunk: after this nothing is held in memory."""
        self._writer.flush()  # type: ignore[no-untyped-call]
        self._chunk_us = None

    def close(self, trailer: format.Trailer) -> None:
        self.flush()
        self._writer.add_metadata(format.TRAILER, format.to_metadata(trailer))
        self._writer.finish()  # type: ignore[no-untyped-call]
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """After an OSError: let go of the file. A reader recovers every whole chunk of it."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _channel(self, topic: str, encoding: str) -> int:
        if (topic, encoding) not in self._channels:
            row = SERVICES[topic]
            if row.schema not in self._schemas:
                data = format.header_schema(row.schema, row.body)
                self._schemas[row.schema] = self._writer.register_schema(row.schema, "jsonschema", data)
            self._channels[topic, encoding] = self._writer.register_channel(topic, encoding, self._schemas[row.schema])
        return self._channels[topic, encoding]


def _nanoseconds(us: int) -> int:
    """A foreign worker may send any integer as a time; MCAP holds 64 unsigned bits of nanoseconds."""
    return min(max(us * NS, 0), 2**64 - 1)
