"""Reads the records of an MCAP file that may be damaged: finds whole records and names damaged ones."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from io import BytesIO
from typing import NamedTuple

import zstandard
from mcap import records
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.writer import MCAP0_MAGIC

Buffer = memoryview
# A recorder ends a chunk at 1 MB; the last message may be as large as a video frame.
MAX_CHUNK = 16_000_000
# A record of a message has at least 31 bytes.
MAX_MESSAGES = 40_000
NOT_COMPUTED = 0  # MCAP: zero stands for no CRC
DAMAGE = (McapError, struct.error, ValueError, zstandard.ZstdError, MemoryError, OverflowError)

_RECORD = struct.Struct("<BQ")
_SPAN = struct.Struct("<QQ")
_CHUNK_INDEX = struct.Struct("<QQQQ")
_MESSAGE = struct.Struct("<HIQQ")
_FOOTER = struct.Struct("<QQI")
_CRC = struct.Struct("<I")


class RecordPlace(NamedTuple):
    """Position of the content of a record. ``first_us`` to ``last_us`` are the log times (wall) of a chunk."""

    start: int
    end: int
    first_us: int = 0
    last_us: int = 0


class StoredChannel(NamedTuple):
    topic: str
    encoding: str


class StoredMessage(NamedTuple):
    """One stored message, not yet decoded. Times are nanoseconds of wall time."""

    channel: StoredChannel
    sequence: int
    log_ns: int
    publish_ns: int
    data: bytes


@dataclass
class FileLayout:
    """``finished``: footer and closing magic exist; otherwise the file was cut off."""

    chunks: list[RecordPlace] = field(default_factory=list)
    channels: dict[int, StoredChannel] = field(default_factory=dict)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    profile: str = ""
    library: str = ""
    faults: list[str] = field(default_factory=list)
    data_end: RecordPlace | None = None
    footer: RecordPlace | None = None
    finished: bool = False


def index(data: Buffer) -> FileLayout | None:
    """The layout from the summary at the end, so that opening takes the same time for any length.

    None where the summary is missing or damaged; ``check`` compares it with what ``walk`` finds.
    """
    end = len(data) - len(MCAP0_MAGIC)
    footer = end - _FOOTER.size
    if footer < len(MCAP0_MAGIC) + _RECORD.size or bytes(data[end:]) != MCAP0_MAGIC:
        return None
    if _RECORD.unpack_from(data, footer - _RECORD.size) != (Opcode.FOOTER, _FOOTER.size):
        return None
    start, _, recorded = _FOOTER.unpack_from(data, footer)
    if not len(MCAP0_MAGIC) < start <= footer or recorded not in (
        NOT_COMPUTED,
        zlib.crc32(data[start : end - _CRC.size]),
    ):
        return None
    layout = FileLayout(finished=True, footer=RecordPlace(footer, end))
    position = start
    try:
        while position < footer - _RECORD.size:
            opcode, length = _RECORD.unpack_from(data, position)
            place = RecordPlace(position + _RECORD.size, position + _RECORD.size + length)
            if opcode == Opcode.CHUNK_INDEX:
                first, last, at, size = _CHUNK_INDEX.unpack_from(data, place.start)
                layout.chunks.append(RecordPlace(at + _RECORD.size, at + size, first // 1000, last // 1000))
            elif opcode == Opcode.METADATA_INDEX:
                at, size = _SPAN.unpack_from(data, place.start)
                record = records.Metadata.read(_stream(data, RecordPlace(at + _RECORD.size, at + size)))
                layout.metadata[record.name] = record.metadata
            elif opcode == Opcode.CHANNEL:
                _add_channel(layout, _stream(data, place))
            position = place.end
    except DAMAGE:
        return None
    ends = [0, *(c.end for c in layout.chunks)]
    return layout if all(end < c.start < c.end <= start for end, c in zip(ends, layout.chunks, strict=False)) else None


def read_header(layout: FileLayout, data: Buffer) -> None:
    """Read the writing program from the first record; leave it empty where that is damaged."""
    position = len(MCAP0_MAGIC)
    try:
        opcode, length = _RECORD.unpack_from(data, position)
        if opcode == Opcode.HEADER:
            start = position + _RECORD.size
            header = records.Header.read(_stream(data, RecordPlace(start, start + length)))
            layout.profile, layout.library = header.profile, header.library
    except DAMAGE:
        return


def walk(data: Buffer) -> FileLayout:
    """Read the top-level records once, without unpacking any chunk."""
    layout, position = FileLayout(), len(MCAP0_MAGIC)
    while position + _RECORD.size <= len(data) and layout.footer is None:
        opcode, length = _RECORD.unpack_from(data, position)
        start = position + _RECORD.size
        if start + length > len(data):
            layout.faults.append(f"byte {position}: the file ends inside a record of {length} bytes")
            return layout
        try:
            _add_record(layout, opcode, data, RecordPlace(start, start + length))
        except DAMAGE as error:
            layout.faults.append(f"byte {position}: damaged record ({error})")
        position = start + length
    layout.finished = layout.footer is not None and bytes(data[position:]) == MCAP0_MAGIC
    if not layout.finished:
        layout.faults.append(f"byte {position}: the file was cut off, its end is missing")
    return layout


def _add_record(layout: FileLayout, opcode: int, data: Buffer, place: RecordPlace) -> None:
    if opcode == Opcode.CHUNK:
        first, last = _SPAN.unpack_from(data, place.start)
        layout.chunks.append(RecordPlace(place.start, place.end, first // 1000, last // 1000))
    elif opcode == Opcode.CHANNEL:
        _add_channel(layout, _stream(data, place))
    elif opcode == Opcode.METADATA:
        record = records.Metadata.read(_stream(data, place))
        layout.metadata[record.name] = record.metadata
    elif opcode == Opcode.DATA_END:
        layout.data_end = place
    elif opcode == Opcode.FOOTER:
        layout.footer = place


def _add_channel(layout: FileLayout, stream: ReadDataStream) -> None:
    channel = records.Channel.read(stream)
    layout.channels[channel.id] = StoredChannel(channel.topic, channel.message_encoding)


def load(layout: FileLayout, data: Buffer, place: RecordPlace) -> list[StoredMessage]:
    """Unpack one chunk and check it. Raises one of ``DAMAGE``; adds the channels that it declares to the layout."""
    chunk = records.Chunk.read(_stream(data, place))
    raw = memoryview(_decompress(chunk))
    if len(raw) != chunk.uncompressed_size or not _matches(chunk.uncompressed_crc, raw):
        raise ValueError("its checksum differs")
    entries: list[StoredMessage] = []
    position = 0
    while position < len(raw):
        opcode, length = _RECORD.unpack_from(raw, position)
        start, position = position + _RECORD.size, position + _RECORD.size + length
        if position > len(raw):
            raise ValueError("a record in it is longer than the chunk")
        if opcode == Opcode.CHANNEL:
            _add_channel(layout, _stream(raw, RecordPlace(start, position)))
        elif opcode == Opcode.MESSAGE:
            channel, sequence, log_ns, publish_ns = _MESSAGE.unpack_from(raw, start)
            if channel not in layout.channels:
                raise ValueError(f"message of unknown channel {channel}")
            content = bytes(raw[start + _MESSAGE.size : position])
            if len(entries) >= MAX_MESSAGES:
                raise ValueError(f"it holds more than {MAX_MESSAGES} messages; a recorder ends a chunk at 1 MB")
            entries.append(StoredMessage(layout.channels[channel], sequence, log_ns, publish_ns, content))
    return entries


def _decompress(chunk: records.Chunk) -> bytes:
    if chunk.compression == "":
        return chunk.data
    if chunk.compression != "zstd":
        raise ValueError(f"compression {chunk.compression!r} is not supported")
    size = zstandard.frame_content_size(chunk.data)
    if size != chunk.uncompressed_size or size > MAX_CHUNK:
        raise ValueError(f"declares {chunk.uncompressed_size} bytes, holds {size}, at most {MAX_CHUNK} allowed")
    return zstandard.ZstdDecompressor().decompress(chunk.data)


def check(layout: FileLayout, data: Buffer) -> list[str]:
    """Check the checksums of the whole file; ``load`` checks those of the chunks."""
    if layout.data_end is None or layout.footer is None:
        return []
    found = []
    (recorded,) = _CRC.unpack_from(data, layout.data_end.start)
    if not _matches(recorded, data[: layout.data_end.start - _RECORD.size]):
        found.append("the checksum of the data section differs")
    summary, _, recorded = _FOOTER.unpack_from(data, layout.footer.start)
    covered = data[summary : layout.footer.end - _CRC.size]
    if summary != layout.data_end.end or not _matches(recorded, covered):
        found.append("the checksum of the index at the end differs")
    return found


def _matches(recorded: int, content: Buffer) -> bool:
    return recorded in (NOT_COMPUTED, zlib.crc32(content))


def _stream(data: Buffer, place: RecordPlace) -> ReadDataStream:
    return ReadDataStream(BytesIO(data[place.start : place.end]))
