"""Opens a recorded session, finished or cut off, and gives its messages as a reader on the bus got them."""

from __future__ import annotations

import mmap
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mcap.writer import MCAP0_MAGIC

from edge_mer.errors import BadMessage, SessionError
from edge_mer.messages import InputRef, Message
from edge_mer.session import blocks, format
from edge_mer.session.ledger import name

CACHED_CHUNKS = 16


class Session:
    """``faults`` names everything that was found damaged so far; ``check`` looks at the whole file.

    ``trailer`` is None when the file was cut off, ``opening`` when its start is damaged.
    """

    def __init__(self, path: Path) -> None:
        """Raises SessionError for what is not a session, or is one of a newer version."""
        self.path = path
        self._data = memoryview(_map(path))
        self._layout = blocks.walk(self._data)
        self.finished = self._layout.finished
        self._faults = dict.fromkeys(self._layout.faults)
        self.opening = self._metadata(format.OPENING, format.Opening)
        self.trailer = self._metadata(format.TRAILER, format.Trailer)
        self._cache: OrderedDict[int, list[blocks.Entry]] = OrderedDict()
        self._index: dict[InputRef, tuple[int, int]] | None = None
        if self.opening is not None and self.opening.format > format.VERSION:
            raise SessionError(f"{path} is of format {self.opening.format}, newer than this version; update edge_mer")
        if not self.finished:
            for number in range(self.chunks):
                self._load(number)  # a cut file has no index of its channels

    @property
    def faults(self) -> list[str]:
        return list(self._faults)

    @property
    def topics(self) -> frozenset[str]:
        """The topics of which something was recorded."""
        return frozenset(c.topic for c in self._layout.channels.values())

    @property
    def chunks(self) -> int:
        return len(self._layout.chunks)

    def messages(self, *topics: str, start_us: int = 0) -> Iterator[Message[Any]]:
        """In the order of recording; all topics when none is named. Damaged ones go to ``faults`` instead.

        ``start_us``: leave out what was recorded before that time of the recording host's monotonic clock.
        """
        for number, place in enumerate(self._layout.chunks):
            if place.last_us < start_us:
                continue
            for position, entry in enumerate(self._load(number)):
                if entry.log_us >= start_us and (not topics or entry.channel.topic in topics):
                    message = self._decode(number, position, entry)
                    if message is not None:
                        yield message

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
        """Read everything once; all faults of the file, none when it is as it was written."""
        self._faults.update(dict.fromkeys(blocks.check(self._layout, self._data)))
        self._index = self._build_index()
        for _ in self.messages():
            pass
        return self.faults

    def _load(self, number: int) -> list[blocks.Entry]:
        if number not in self._cache:
            try:
                entries = blocks.load(self._layout, self._data, self._layout.chunks[number])
            except blocks.DAMAGE as error:
                self._faults[f"chunk {number} at byte {self._layout.chunks[number].start}: {error}"] = None
                entries = []
            self._cache[number] = entries
            if len(self._cache) > CACHED_CHUNKS:
                self._cache.popitem(last=False)
        self._cache.move_to_end(number)
        return self._cache[number]

    def _decode(self, number: int, position: int, entry: blocks.Entry) -> Message[Any] | None:
        try:
            return format.unpack(entry.channel.topic, entry.channel.encoding, entry.data)
        except BadMessage as error:
            self._faults[f"chunk {number}, message {position}: {error}"] = None
            return None

    def _build_index(self) -> dict[InputRef, tuple[int, int]]:
        index: dict[InputRef, tuple[int, int]] = {}
        for number in range(self.chunks):
            for position, (channel, _, data) in enumerate(self._load(number)):
                try:
                    e = format.envelope(channel.encoding, data)
                except BadMessage:
                    continue  # named when it is decoded
                ref = InputRef(channel.topic, e.source, e.boot, e.seq)
                if ref in index:
                    self._faults[f"chunk {number}, message {position}: {name(ref)} is there twice"] = None
                index.setdefault(ref, (number, position))
        return index

    def _metadata(self, record: str, kind: type[format.S]) -> format.S | None:
        found = self._layout.metadata.get(record)
        if found is None:
            return None
        try:
            return format.from_metadata(kind, found)
        except SessionError as error:
            self._faults[str(error)] = None
            return None


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


def is_cut(path: Path) -> bool:
    """Whether ``path`` is a session that was never finished: its recorder died."""
    try:
        data = _map(path)
    except SessionError:
        return False
    return data[-len(MCAP0_MAGIC) :] != MCAP0_MAGIC or len(data) == len(MCAP0_MAGIC)
