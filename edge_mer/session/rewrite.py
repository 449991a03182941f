"""Makes one recording from another: the whole chunks of a damaged one, a part of a long one, a decrypted copy.

Messages are copied as stored, encrypted with the same key: erasing it erases every copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import BadMessage, SessionError
from edge_mer.contract.messages import Message
from edge_mer.contract.services import SERVICES
from edge_mer.session import format
from edge_mer.session.keys import SUFFIX, KeyStore
from edge_mer.session.mcap_scan import StoredMessage
from edge_mer.session.reader import Session, check_own
from edge_mer.session.trailer_builder import TrailerBuilder
from edge_mer.session.writer import CHUNK_US, SessionWriter

BLANK = format.SessionOpening(
    format=format.VERSION,
    session="0" * 32,
    joined=True,
    boot_id="",
    opened_us=0,
    wall_offset_us=0,
    config={},
    versions={},
    threads={},
    host={},
)


def recover(source: Path, target: Path, keys: KeyStore | None = None) -> tuple[format.Trailer, list[str]]:
    """Write every whole chunk of ``source`` as a finished session; returns its trailer and the faults.

    Raises SessionError when ``source`` is no session, or ``target`` exists.
    """
    session = Session(source, keys)
    check_own(session)
    opening = session.opening or BLANK
    reason = None if session.opening else "its opening is lost: time and configuration of the recording are unknown"
    trailer = _write(session, target, opening, session.entries(), "recovered", reason)
    return trailer, session.faults


def trim(source: Path, target: Path, start_us: int, end_us: int | None, keys: KeyStore | None = None) -> format.Trailer:
    """Write what was recorded from ``start_us`` to ``end_us``, counted from the first message.

    The part is verifiable: fusion is folded from where all its inputs exist, and comes into step. Raises SessionError
    when the range is empty, or ``source`` is damaged (recover it first).
    """
    session = Session(source, keys)
    if session.opening is None:
        raise SessionError(f"{source} has no opening: it is damaged, or edge_mer did not record it")
    if faults := session.check():
        raise SessionError(f"{source}: {faults[0]}; first: edge-mer session recover {source} OUT")
    first, last = session.span_us
    begin, end = first + start_us, first + end_us if end_us is not None else last + 1
    if not first <= begin < min(end, last + 1):
        raise SessionError(
            f"{source} lasts {(last - first) / SECOND:.1f} s: the range from "
            f"{start_us / SECOND:g} s to {(end - first) / SECOND:g} s is empty"
        )
    opening = session.opening
    lead: list[StoredMessage] = []
    if begin > first:
        opening = msgspec.structs.replace(opening, joined=True, opened_us=begin)
        lead = _newest_opening(session, begin)
    return _write(session, target, opening, [*lead, *session.entries(begin, end)], "trimmed", _earlier(session))


def unsealed(source: Path, target: Path, keys: KeyStore | None = None) -> format.Trailer:
    """Write a decrypted copy that any tool can read; erasing a key does not affect it."""
    session = Session(source, keys)
    if session.opening is None:
        raise SessionError(f"{source}: its opening is damaged; first: edge-mer session recover {source} OUT")
    return _write(session, target, session.opening, _opened(session), "unsealed copy", _earlier(session))


def _earlier(session: Session) -> str | None:
    return session.trailer.unverifiable if session.trailer is not None else None


def _newest_opening(session: Session, before_us: int) -> list[StoredMessage]:
    """The journal entry with the settings of the fusion instance that runs at ``before_us``."""
    found: list[StoredMessage] = []
    for entry in session.entries(None, before_us):
        if entry.channel.topic == "journal":
            message = session.open(entry)
            if message is not None and message.body.opening is not None:
                found = [entry._replace(log_ns=session.stamp_ns(before_us))]
    return found


def _opened(session: Session) -> Iterator[StoredMessage]:
    for entry in session.entries():
        message = session.open(entry)
        if message is None:
            continue
        encoding, data = entry.channel.encoding, entry.data
        if encoding.endswith(SUFFIX):
            assert session.opening is not None
            encoding, data = format.pack(message, session.opening.wall_offset_us)
        yield entry._replace(channel=entry.channel._replace(encoding=encoding), data=data)


def _write(
    session: Session,
    target: Path,
    opening: format.SessionOpening,
    entries: Iterable[StoredMessage],
    origin: str,
    unverifiable: str | None,
) -> format.Trailer:
    """Raises SessionError for a disk error; ``target`` is then removed."""
    writer = SessionWriter(target, opening)
    try:
        builder = TrailerBuilder(opening, session.lost_topics)
        last_us = _copy(session, writer, builder, entries)
        counters = session.trailer.counters if session.trailer is not None else {}
        trailer = builder.build(writer, last_us, counters, unverifiable, origin)
        writer.close(trailer)
    except BaseException as error:
        writer.abandon()
        target.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise SessionError(f"{target}: {error.strerror or error}") from error
        raise
    return trailer


def _copy(session: Session, writer: SessionWriter, builder: TrailerBuilder, entries: Iterable[StoredMessage]) -> int:
    """Returns the recording time of the last message. No chunk is longer than a second."""
    chunk_us, at = None, writer.opening.opened_us
    for entry in entries:
        if entry.channel.topic not in SERVICES:
            continue
        at = session.recorded_us(entry)
        if chunk_us is not None and not 0 <= at - chunk_us < CHUNK_US:
            writer.flush()
            chunk_us = None
        chunk_us = at if chunk_us is None else chunk_us
        writer.copy(entry)
        if (message := _read(session, entry)) is not None:
            builder.take(message)
    return at


def _read(session: Session, entry: StoredMessage) -> Message[Any] | None:
    """None for an unreadable message: it is copied nevertheless, and the verifier reports it."""
    try:
        return session.open(entry)
    except BadMessage:
        return None
