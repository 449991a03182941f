"""Deletes old recordings with their keys: those older than ``record.keep_days``, and the oldest above ``keep_gb``.

Only finished or cut edge_mer sessions in the folder of the recording are deleted, never one that is being written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from edge_mer.config import RecordConfig
from edge_mer.contract.clock import SECOND, Clock
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import EdgeMerError
from edge_mer.session.keys import KeyStore
from edge_mer.session.reader import Session, is_held

INTERVAL_US = 3600 * SECOND
DAY_US = 86_400 * SECOND
log = logging.getLogger("recorder")


class OldRecording(NamedTuple):
    """One recording; ``ended_us`` in wall time."""

    ended_us: int
    size: int
    path: Path
    session: str


class Retention:
    def __init__(self, settings: RecordConfig, current: Path, keys: KeyStore) -> None:
        self._settings, self._current, self._keys = settings, current, keys
        self._due_us = 0

    def turn(self, clock: Clock) -> None:
        """Once an hour, from the first turn on."""
        now = clock.now_us()
        if now < self._due_us or not (self._settings.keep_days or self._settings.keep_gb):
            return
        self._due_us = now + INTERVAL_US
        found = recordings(self._current)
        gone = expired(found, clock.wall_us(), self._settings, _size(self._current))
        kept = sessions_of(set(self._current.parent.glob("*.mcap")) - {old.path for old in gone})
        for old in gone:
            delete(old, self._keys if old.session not in kept else None)


def sessions_of(paths: Iterable[Path]) -> frozenset[str]:
    """Session ids of these files; a part trimmed from a recording has the same id and needs its keys."""
    found = set()
    for path in paths:
        with suppress(EdgeMerError, OSError):
            if (opening := Session(path, glance=True).opening) is not None:
                found.add(opening.session)
    return frozenset(found)


def recordings(current: Path) -> list[OldRecording]:
    """The recordings beside ``current``, the oldest first. MCAP files of other programs are left out."""
    found = []
    for path in current.parent.glob("*.mcap"):
        try:
            session = Session(path, glance=True)
        except (EdgeMerError, OSError):
            continue
        opening = session.opening
        if opening is not None and path != current and path.is_file() and not path.is_symlink() and not is_held(path):
            ended = max(session.span_us[1], opening.opened_us) + opening.wall_offset_us
            found.append(OldRecording(ended, _size(path), path, opening.session))
    return sorted(found)


def expired(found: list[OldRecording], wall_us: int, settings: RecordConfig, written: int) -> list[OldRecording]:
    """The part of ``found`` (the oldest first) to delete; the current recording has ``written`` bytes."""
    limit = wall_us - round(settings.keep_days * DAY_US)
    gone = [o for o in found if settings.keep_days and o.ended_us < limit]
    total = written + sum(o.size for o in found) - sum(o.size for o in gone)
    for old in found:
        if settings.keep_gb and total > settings.keep_gb * 1e9 and old not in gone:
            gone.append(old)
            total -= old.size
    return gone


def delete(old: OldRecording, keys: KeyStore | None) -> None:
    """Delete the keys first: then no copy can be read. ``keys`` is None when another file still needs them."""
    try:
        if keys is not None:
            for modality in MODALITIES:
                keys.erase(old.session, modality)
        old.path.unlink(missing_ok=True)
    except (OSError, EdgeMerError) as error:
        log.error("%s is due for deletion and could not be deleted: %s", old.path, error)
        return
    log.warning("%s was deleted: record.keep_days or record.keep_gb", old.path)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
