"""Writes one session file: a new chunk at least once a second, so that a crash loses at most one second."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from mcap.writer import CompressionType, Writer

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import SessionError
from edge_mer.contract.messages import Message, RawVideo
from edge_mer.contract.services import SERVICES, Service
from edge_mer.host.files import create_private
from edge_mer.session import format, keys
from edge_mer.session.keys import KeyStore
from edge_mer.session.mcap_scan import StoredMessage

CHUNK_US = SECOND
CHUNK_BYTES = 1_000_000
NS = 1_000


class SessionWriter:
    """Methods raise OSError for disk errors; ``abandon`` then leaves the whole chunks on the disk.

    With ``keys``, sensor content is encrypted with a key of its modality, created when first needed.
    """

    def __init__(self, path: Path, opening: format.SessionOpening, keys: KeyStore | None = None) -> None:
        """Raises SessionError when the file exists or its folder cannot be written."""
        try:
            self._file = create_private(path)
        except FileExistsError:
            raise SessionError(f"{path} exists and is not overwritten; choose another name") from None
        except OSError as error:
            raise SessionError(f"cannot record to {path}: {error.strerror}") from error
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # shows other recorders that this file is being written
        self.path, self.messages = path, dict.fromkeys(SERVICES, 0)
        self.opening, self._keys = opening, keys
        self._ciphers: dict[Modality, AESGCM] = {}
        self._writer = Writer(self._file, CHUNK_BYTES, CompressionType.ZSTD, enable_data_crcs=True)
        self._channels: dict[tuple[str, str], int] = {}
        self._schemas: dict[tuple[str, str], int] = {}
        self._chunk_us: int | None = None
        self._picture = (1, 1)
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
        offset = self.opening.wall_offset_us
        if isinstance(message.body, RawVideo):
            self._picture = message.body.width, message.body.height
        encoding, data = format.pack(message, offset, self._picture)
        encoding, data = self._sealed(SERVICES[message.topic], encoding, data)
        envelope = message.envelope
        self._writer.add_message(
            self._channel(message.topic, encoding),
            _nanoseconds(now_us + offset),
            data,
            _nanoseconds(envelope.created_us + offset),
            envelope.seq & 0xFFFFFFFF,
        )
        self.messages[message.topic] += 1

    def copy(self, entry: StoredMessage) -> None:
        """Copy a message of another file as stored, encrypted or not; both files must have the same wall offset."""
        channel = self._channel(entry.channel.topic, entry.channel.encoding)
        self._writer.add_message(channel, entry.log_ns, entry.data, entry.publish_ns, entry.sequence)
        self.messages[entry.channel.topic] += 1

    def _sealed(self, row: Service, encoding: str, data: bytes) -> tuple[str, bytes]:
        modality = row.modality
        if self._keys is None or modality is None or not sensed(row):
            return encoding, data
        if modality not in self._ciphers:
            self._ciphers[modality] = self._keys.create(self.opening.session, modality)
        return encoding + keys.SUFFIX, keys.seal(self._ciphers[modality], row.topic, encoding, data)

    def flush(self) -> None:
        """End the chunk: afterwards no message is held in memory."""
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
        """After an OSError: close the file as it is. A reader recovers every whole chunk of it."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _channel(self, topic: str, encoding: str) -> int:
        if (topic, encoding) not in self._channels:
            row = SERVICES[topic]
            media = format.media_schema(topic, encoding)
            name, kind, data = media or (row.schema, "jsonschema", format.header_schema(row.schema, row.body))
            if (name, kind) not in self._schemas:
                self._schemas[name, kind] = self._writer.register_schema(name, kind, data)
            self._channels[topic, encoding] = self._writer.register_channel(topic, encoding, self._schemas[name, kind])
        return self._channels[topic, encoding]


def sensed(row: Service) -> bool:
    """Content of one sensor: purged by a mask, and encrypted. The state of a gate is not."""
    return row.modality is not None and row.biometric


def _nanoseconds(us: int) -> int:
    """A faulty worker may send any integer as a time; MCAP stores nanoseconds in 64 unsigned bits."""
    return min(max(us * NS, 0), 2**64 - 1)
