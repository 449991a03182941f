"""The history on disk: one file a day (0600), each hour's tallies sealed with the keys of the modalities behind them.

A tally of voice and face is encrypted with the key of the microphone and with that of the camera: without either it
cannot be read. Keys are kept per day and modality, so that a day, or a modality of all days, is erased by destroying
keys, as in recorded sessions (edge_mer.session.keys).
"""

from __future__ import annotations

import datetime
import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import MODALITIES, Combination, Modality, modalities_of
from edge_mer.contract.errors import BadMessage, PrivacyError
from edge_mer.contract.services import masked_with
from edge_mer.history import erasures
from edge_mer.history.erasures import Erasure
from edge_mer.history.fold import Hour, Hours, Tally
from edge_mer.host.files import check_owner, remove, state_path, version_of, write_atomic
from edge_mer.privacy.keys.data_keys import KeyStore, seal, unseal

FOLDER, KEYS, LOCK = "history", "keys", "lock"
VERSION = 1
EXPIRED = "history.keep_days"


class StoredHour(Struct, frozen=True, forbid_unknown_fields=True):
    """``nothing``: the tally of no modality, which needs no key. ``erased``: modalities erased after this hour."""

    start_s: int
    nothing: Tally = Tally()
    masked_ms: dict[Modality, int] = {}
    counted_ms: int = 0
    sealed: dict[Combination, bytes] = {}
    erased: tuple[Modality, ...] = ()


class DayFile(Struct, frozen=True, forbid_unknown_fields=True):
    """``id`` names the keys of this day. ``transcribed``: words came from the microphone and are erased with it."""

    id: str
    transcribed: bool
    hours: tuple[StoredHour, ...] = ()
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class ReadHour:
    """One hour as it can be read now. ``start``: local time of this host."""

    start: datetime.datetime
    hour: Hour
    erased: tuple[Modality, ...] = ()


@dataclass(slots=True)
class HistoryStore:
    """Methods raise OSError for disk errors, PrivacyError for damaged files, ConfigError when others may read it."""

    directory: Path
    _keys: KeyStore = field(init=False)

    def __post_init__(self) -> None:
        self._keys = KeyStore(self.directory / KEYS)

    @property
    def erased_version(self) -> object:
        """Changes with every erasure."""
        return version_of(self.directory / erasures.FILE)

    def add(self, hours: Hours, transcribed: bool) -> None:
        """Add what was counted since the last call."""
        with self._locked():
            for day in sorted({day_of(start) for start in hours}):
                found = self._load(day) or DayFile(secrets.token_hex(16), transcribed)
                kept = {h.start_s: h for h in found.hours}
                for start, hour in hours.items():
                    if day_of(start) == day:
                        kept[start] = self._sealed(found.id, kept.get(start, StoredHour(start)), hour)
                day_file = DayFile(found.id, found.transcribed or transcribed, tuple(kept[s] for s in sorted(kept)))
                self._save(day, day_file)

    def days(self) -> list[datetime.date]:
        """Days that have a file, oldest first."""
        found = []
        for path in self.directory.glob("*.json"):
            try:
                found.append(datetime.date.fromisoformat(path.stem))
            except ValueError:
                continue
        return sorted(found)

    def read(self, first: datetime.date, last: datetime.date) -> list[ReadHour]:
        """The hours of these days, oldest first."""
        if not self.directory.exists():
            return []
        with self._locked():
            days = [d for d in self.days() if first <= d <= last]
            files = [f for d in days if (f := self._load(d)) is not None]
            return [hour for f in files for hour in self._read_day(f)]

    def erase(self, what: str, requester: str, wall_us: int) -> Erasure:
        """Erase a modality, or a day as YYYY-MM-DD. Raises PrivacyError for anything else, and where there is none."""
        for modality in MODALITIES:
            if what == modality:
                return self.erase_modality(modality, requester, wall_us)
        try:
            day = datetime.date.fromisoformat(what)
        except ValueError:
            raise PrivacyError(f"{what!r} is no day (YYYY-MM-DD) and none of {', '.join(MODALITIES)}") from None
        return self.erase_day(day, requester, wall_us)

    def erase_day(self, day: datetime.date, requester: str, wall_us: int) -> Erasure:
        """Destroy the keys of a day, and its file. Raises PrivacyError when there is none."""
        if not self.directory.exists() or day not in self.days():
            raise PrivacyError(f"the history has no day {day}")
        with self._locked():
            return self._erase(day.isoformat(), {day: MODALITIES}, requester, wall_us)

    def erase_modality(self, modality: Modality, requester: str, wall_us: int) -> Erasure:
        """Destroy a modality's keys of all days: nothing that was estimated with it, or with words made from it, can be
        read again. Raises PrivacyError without a history."""
        if not self.directory.exists() or not self.days():
            raise PrivacyError("there is no history")
        with self._locked():
            doomed: dict[datetime.date, tuple[Modality, ...]] = {}
            for day in self.days():
                if (found := self._load(day)) is not None:
                    gone = masked_with(modality, found.transcribed)
                    doomed[day] = tuple(m for m in MODALITIES if m in gone)
            return self._erase(modality, doomed, requester, wall_us)

    def expire(self, keep_days: float, wall_us: int) -> list[Erasure]:
        """Erase the days that ended more than ``keep_days`` ago."""
        last = datetime.datetime.fromtimestamp(wall_us / SECOND) - datetime.timedelta(days=keep_days)
        return [self.erase_day(day, EXPIRED, wall_us) for day in self.days() if day < last.date()]

    def _erase(
        self, what: str, doomed: Mapping[datetime.date, tuple[Modality, ...]], requester: str, wall_us: int
    ) -> Erasure:
        """Keys first: from then on no copy can be read, whatever happens next."""
        destroyed = []
        for day, modalities in doomed.items():
            try:
                found = self._load(day)
            except PrivacyError:
                if modalities != MODALITIES:
                    raise
                found = None
            if found is None:  # damaged: its keys are unknown, and without it they open nothing
                remove(self._path(day))
                continue
            destroyed += [f"{day} {m}" for m in modalities if self._keys.erase(found.id, m)]
            if modalities == MODALITIES:
                remove(self._path(day))
            else:
                self._save(day, msgspec.structs.replace(found, hours=tuple(_less(h, modalities) for h in found.hours)))
        return erasures.append(self.directory, what, requester, wall_us, tuple(destroyed))

    def _sealed(self, day_id: str, stored: StoredHour, more: Hour) -> StoredHour:
        hour = _opened(self._ciphers(day_id), stored).hour.plus(more)
        sealed = {}
        for combination, tally in hour.tallies.items():
            data = msgspec.json.encode(tally)
            for m in modalities_of(combination):
                data = seal(self._key(day_id, m), *_place(stored.start_s, combination, m), data)
            sealed[combination] = data
        nothing = hour.tallies.get("none", Tally())
        sealed.pop("none", None)
        return StoredHour(stored.start_s, nothing, dict(hour.masked_ms), hour.counted_ms, sealed, stored.erased)

    def _read_day(self, day: DayFile) -> list[ReadHour]:
        ciphers = self._ciphers(day.id)
        return [_opened(ciphers, stored) for stored in day.hours]

    def _ciphers(self, day_id: str) -> dict[Modality, AESGCM]:
        """The keys of a day that are not erased."""
        return {m: key for m in MODALITIES if (key := self._keys.get(day_id, m)) is not None}

    def _key(self, day_id: str, modality: Modality) -> AESGCM:
        return self._keys.get(day_id, modality) or self._keys.create(day_id, modality)

    def _path(self, day: datetime.date) -> Path:
        return self.directory / f"{day}.json"

    def _load(self, day: datetime.date) -> DayFile | None:
        path = self._path(day)
        try:
            return msgspec.json.decode(path.read_bytes(), type=DayFile)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise PrivacyError(f"{path}: {error}; erase it with: edge-mer history erase {day}") from error

    def _save(self, day: datetime.date, content: DayFile) -> None:
        write_atomic(self._path(day), msgspec.json.encode(content))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The page writes and commands erase: one at a time."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_owner(self.directory)
        fd = os.open(self.directory / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def history_store(config: Config) -> HistoryStore:
    """The history of this configuration."""
    return HistoryStore(state_path(config.privacy.state) / FOLDER)


def day_of(start_s: int) -> datetime.date:
    """The local day of an hour."""
    return datetime.datetime.fromtimestamp(start_s).date()


def _less(stored: StoredHour, modalities: tuple[Modality, ...]) -> StoredHour:
    sealed = {c: data for c, data in stored.sealed.items() if not set(modalities_of(c)) & set(modalities)}
    erased = tuple(m for m in MODALITIES if m in stored.erased or m in modalities)
    return msgspec.structs.replace(stored, sealed=sealed, erased=erased)


def _opened(ciphers: Mapping[Modality, AESGCM], stored: StoredHour) -> ReadHour:
    """What can be read of an hour: a tally whose key is gone is left out."""
    tallies: dict[Combination, Tally] = {"none": stored.nothing} if stored.nothing.total_ms else {}
    for combination, data in stored.sealed.items():
        if set(modalities_of(combination)) <= set(ciphers):
            tallies[combination] = _unsealed(ciphers, stored.start_s, combination, data)
    start = datetime.datetime.fromtimestamp(stored.start_s)
    return ReadHour(start, Hour(tallies, stored.masked_ms, stored.counted_ms), stored.erased)


def _place(start_s: int, combination: Combination, modality: Modality) -> tuple[str, str]:
    """Authenticated with the data, so that a tally cannot be moved to another hour."""
    return f"history/{modality}", f"{start_s} {combination}"


def _unsealed(keys: Mapping[Modality, AESGCM], start_s: int, combination: Combination, data: bytes) -> Tally:
    try:
        for m in reversed(modalities_of(combination)):
            data = unseal(keys[m], *_place(start_s, combination, m), data)
        return msgspec.json.decode(data, type=Tally)
    except (BadMessage, msgspec.DecodeError) as error:
        raise PrivacyError(f"the history of {day_of(start_s)} was changed: {error}") from error
