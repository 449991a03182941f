"""Opens a recorded session, finished or cut off, and yields its messages as a reader on the bus received them."""

from __future__ import annotations

import fcntl
import mmap
from collections import Counter, OrderedDict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from mcap.writer import MCAP0_MAGIC

from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import BadMessage, SessionError
from edge_mer.contract.messages import InputRef, Message
from edge_mer.contract.services import SERVICES
from edge_mer.session import format, keys, mcap_scan
from edge_mer.session.completeness import name
from edge_mer.session.keys import KeyStore

CACHED_BYTES = 64_000_000
MAX_FAULTS = 20_000
ENTRY_BYTES = 300


class Session:
    """``faults`` names all damage found so far; ``check`` reads the whole file.

    ``counted``: messages of each topic, after ``check``.
    ``trailer`` is None when the file was cut off, ``opening`` when its start is damaged. Times are microseconds of the
    recording host's monotonic clock.
    """

    def __init__(self, path: Path, keys: KeyStore | None = None, glance: bool = False) -> None:
        """``keys`` decrypt sealed channels; with ``glance`` only opening and span of a cut file are read, no messages.

        Raises SessionError for a file that is no session, or has another version.
        """
        self.path, self._keys = path, keys
        self._data = memoryview(_map(path))
        self._layout = mcap_scan.index(self._data) or mcap_scan.walk(self._data)
        mcap_scan.read_header(self._layout, self._data)
        self.finished = self._layout.finished
        self._faults = dict.fromkeys(self._layout.faults)
        self.opening = self._metadata(format.OPENING, format.SessionOpening)
        self.trailer = self._metadata(format.TRAILER, format.Trailer)
        self._offset_us = self.opening.wall_offset_us if self.opening is not None else 0
        self._cache: OrderedDict[int, list[mcap_scan.StoredMessage]] = OrderedDict()
        self._cached = 0
        self.counted: Counter[str] = Counter()
        self._index: dict[InputRef, tuple[int, int]] | None = None
        if not self.finished and not glance:
            for number in range(self.chunks):
                self._load(number)  # a cut file has no index of its channels

    @property
    def faults(self) -> list[str]:
        return list(self._faults)

    def _fault(self, text: str) -> None:
        if len(self._faults) < MAX_FAULTS:
            self._faults[text] = None

    @property
    def foreign(self) -> str | None:
        """Program that wrote a file which is no recording of edge_mer; None for our own, also damaged ones."""
        layout = self._layout
        if self.opening is not None or layout.profile == format.PROFILE or not (layout.profile or layout.library):
            return None
        return f"{layout.library or 'an unnamed program'} (profile {layout.profile or 'none'})"

    @property
    def topics(self) -> frozenset[str]:
        """The topics with recorded messages."""
        return frozenset(c.topic for c in self._layout.channels.values() if c.topic in SERVICES)

    @property
    def chunks(self) -> int:
        return len(self._layout.chunks)

    @property
    def span_us(self) -> tuple[int, int]:
        """From the first message recorded to the last; (0, 0) for an empty session."""
        chunks = self._layout.chunks
        if not chunks:
            return 0, 0
        return min(c.first_us for c in chunks) - self._offset_us, max(c.last_us for c in chunks) - self._offset_us

    @property
    def sealed(self) -> tuple[Modality, ...]:
        """The modalities that are encrypted."""
        found = {
            SERVICES[c.topic].modality
            for c in self._layout.channels.values()
            if c.encoding.endswith(keys.SUFFIX) and c.topic in SERVICES
        }
        return tuple(m for m in MODALITIES if m in found)

    @property
    def unreadable(self) -> tuple[Modality, ...]:
        """Those of ``sealed`` without a key: erased, or stored on another host."""
        return tuple(m for m in self.sealed if self._ciphers[m] is None)

    @property
    def lost_topics(self) -> frozenset[str]:
        """Topics that cannot be decrypted here."""
        return frozenset(c.topic for c in self._layout.channels.values() if self._is_lost(c))

    @cached_property
    def _ciphers(self) -> dict[Modality, AESGCM | None]:
        if self._keys is None or self.opening is None:
            return dict.fromkeys(MODALITIES)
        return {m: self._keys.get(self.opening.session, m) for m in MODALITIES}

    def _is_lost(self, channel: mcap_scan.StoredChannel) -> bool:
        if not channel.encoding.endswith(keys.SUFFIX):
            return False
        row = SERVICES.get(channel.topic)
        return row is None or row.modality is None or self._ciphers[row.modality] is None

    def messages(self, *topics: str, start_us: int | None = None, end_us: int | None = None) -> Iterator[Message[Any]]:
        """In the order of recording; all topics when none is named. Damaged ones are added to ``faults`` instead.

        ``start_us``, ``end_us``: only what was recorded in ``[start, end)``. Channels without a key are left out.
        """
        for _, message in self.timed(*topics, start_us=start_us, end_us=end_us):
            yield message

    def timed(
        self, *topics: str, start_us: int | None = None, end_us: int | None = None
    ) -> Iterator[tuple[int, Message[Any]]]:
        """As ``messages``, each with the time at which it was recorded."""
        for number, position, entry in self._entries(start_us, end_us):
            if (not topics or entry.channel.topic in topics) and not self._is_lost(entry.channel):
                message = self._decode(number, position, entry)
                if message is not None:
                    yield self.recorded_us(entry), message

    def entries(self, start_us: int | None = None, end_us: int | None = None) -> Iterator[mcap_scan.StoredMessage]:
        """Every whole message as stored in the file, encrypted or not."""
        for _, _, entry in self._entries(start_us, end_us):
            yield entry

    def recorded_us(self, entry: mcap_scan.StoredMessage) -> int:
        return entry.log_ns // 1000 - self._offset_us

    def stamp_ns(self, recorded_us: int) -> int:
        """The ``log_ns`` of a message recorded at that time."""
        return (recorded_us + self._offset_us) * 1000

    def open(self, entry: mcap_scan.StoredMessage) -> Message[Any] | None:
        """Decode one entry; None when its key is missing. Raises BadMessage when it is damaged."""
        if self._is_lost(entry.channel):
            return None
        encoding, data = self._unsealed(entry)
        return format.unpack(entry.channel.topic, encoding, data)

    def lookup(self, ref: InputRef) -> Message[Any] | None:
        """The message that a journal entry names, or None when it was not recorded."""
        if self._index is None:
            self._index = self._build_index()
        where = self._index.get(ref)
        if where is None:
            return None
        number, position = where
        return self._decode(number, position, self._load(number)[position])

    def check(self) -> list[str]:
        """Read everything once; all faults of the file, empty when it is unchanged."""
        walked = mcap_scan.walk(self._data)
        self._faults.update(dict.fromkeys([*walked.faults, *mcap_scan.check(walked, self._data)]))
        if walked.chunks != self._layout.chunks:
            self._fault("the index at the end names other chunks than the file holds")
        self._index = self._build_index()
        for _ in self.messages():
            pass
        return self.faults

    def _entries(self, start_us: int | None, end_us: int | None) -> Iterator[tuple[int, int, mcap_scan.StoredMessage]]:
        first = None if start_us is None else start_us + self._offset_us
        last = None if end_us is None else end_us + self._offset_us
        for number, place in enumerate(self._layout.chunks):
            if (first is not None and place.last_us < first) or (last is not None and place.first_us >= last):
                continue
            for position, entry in enumerate(self._load(number)):
                at = entry.log_ns // 1000
                if (first is None or at >= first) and (last is None or at < last):
                    yield number, position, entry

    def _load(self, number: int) -> list[mcap_scan.StoredMessage]:
        if number not in self._cache:
            try:
                entries = mcap_scan.load(self._layout, self._data, self._layout.chunks[number])
            except mcap_scan.DAMAGE as error:
                self._fault(f"chunk {number} at byte {self._layout.chunks[number].start}: {error}")
                entries = []
            self._cache[number] = entries
            self._cached += _bytes(entries)
            while self._cached > CACHED_BYTES and len(self._cache) > 1:
                self._cached -= _bytes(self._cache.popitem(last=False)[1])
        self._cache.move_to_end(number)
        return self._cache[number]

    def _unsealed(self, entry: mcap_scan.StoredMessage) -> tuple[str, bytes]:
        """Raises BadMessage when decryption fails; not for channels without a key."""
        topic, encoding = entry.channel
        if not encoding.endswith(keys.SUFFIX):
            return encoding, entry.data
        inner = encoding[: -len(keys.SUFFIX)]
        modality = SERVICES[topic].modality
        assert modality is not None
        cipher = self._ciphers[modality]
        assert cipher is not None
        return inner, keys.unseal(cipher, topic, inner, entry.data)

    def _decode(self, number: int, position: int, entry: mcap_scan.StoredMessage) -> Message[Any] | None:
        try:
            return self.open(entry)
        except BadMessage as error:
            self._fault(f"chunk {number}, message {position}: {error}")
            return None

    def _build_index(self) -> dict[InputRef, tuple[int, int]]:
        index: dict[InputRef, tuple[int, int]] = {}
        self.counted.clear()
        for number, position, entry in self._entries(None, None):
            self.counted[entry.channel.topic] += 1
            if self._is_lost(entry.channel):
                continue
            try:
                e = format.envelope(entry.channel.topic, *self._unsealed(entry))
            except BadMessage:
                continue  # reported when it is decoded
            ref = InputRef(entry.channel.topic, e.source, e.boot, e.seq)
            if ref in index:
                self._fault(f"chunk {number}, message {position}: {name(ref)} occurs twice")
            index.setdefault(ref, (number, position))
        return index

    def _metadata(self, record: str, kind: type[format.S]) -> format.S | None:
        found = self._layout.metadata.get(record)
        if found is None:
            return None
        version = found.get("format", str(format.VERSION))
        if kind is format.SessionOpening and version.isdecimal() and int(version) != format.VERSION:
            raise SessionError(
                f"{self.path} has session format {version}, this version reads {format.VERSION}; "
                "use the edge_mer that recorded it"
            )
        try:
            return format.from_metadata(kind, found)
        except SessionError as error:
            self._fault(str(error))
            return None


def _bytes(entries: list[mcap_scan.StoredMessage]) -> int:
    """Approximate memory of a chunk's messages."""
    return sum(len(entry.data) + ENTRY_BYTES for entry in entries)


def _map(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise SessionError(f"{path}: {error.strerror}") from error
    except ValueError:
        raise SessionError(f"{path} is empty") from None
    if data[: len(MCAP0_MAGIC)] != MCAP0_MAGIC:
        raise SessionError(f"{path} is not an MCAP file")
    return data


def check_own(session: Session) -> None:
    """Raises SessionError for a recording of another program."""
    if session.foreign is not None:
        raise SessionError(f"{session.path} is not an edge_mer session: it was written by {session.foreign}")


def is_cut(path: Path) -> bool:
    """Whether ``path`` is an unfinished session: its recorder ended without closing it."""
    try:
        data = _map(path)
    except SessionError:
        return False
    return data[-len(MCAP0_MAGIC) :] != MCAP0_MAGIC or len(data) == len(MCAP0_MAGIC)


def is_held(path: Path) -> bool:
    """Whether a recorder is writing the file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False
