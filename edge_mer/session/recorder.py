"""Recorder: writes all bus messages that may be recorded into one session file; masked data is never written.

It is a data holder: after it acknowledged a purge, nothing of that modality from below the mask epoch is written, and
nothing older is held in memory. When the disk fails or fills up, recording stops with an error and the application
continues.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Set
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

from edge_mer.bus import Bus, Reader, ReliableReader, ZmqBus
from edge_mer.config import Config
from edge_mer.contract.addresses import public_address
from edge_mer.contract.clock import SECOND, host_boot_id
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import ConfigError, SessionError
from edge_mer.contract.messages import Message, Privacy
from edge_mer.contract.services import SERVICES, Service
from edge_mer.host.worker import THREADS
from edge_mer.privacy.consent.consent_file import agreed
from edge_mer.privacy.purge_client import PurgeClient
from edge_mer.privacy.switch.memory import may_hold_people
from edge_mer.session import format
from edge_mer.session.cpu_info import cpu_name
from edge_mer.session.keys import key_store
from edge_mer.session.reader import is_cut
from edge_mer.session.retention import Retention
from edge_mer.session.trailer_builder import TrailerBuilder
from edge_mer.session.writer import SessionWriter, sensed

TURN_US = SECOND // 20
SPACE_US = SECOND
NICE = 5  # the live path has priority; the queues hold ten seconds
PACKAGES = ("edge_mer", "mcap", "msgspec", "numpy", "onnxruntime", "pyzmq")
SKIPS = "no raw video while a person is masked: pictures show everybody"
log = logging.getLogger("recorder")

FreeBytes = Callable[[Path], int]


class Recorder:
    """A worker. Counter ``stopped`` is 1 once recording ended early, ``unrecorded`` counts messages after that.

    ``person_masked`` counts pictures that were left out, because a person is masked.

    ``joins``: fusion is already running, so the recording does not begin with its first entry.
    """

    def __init__(self, config: Config, bus: Bus, path: Path, name: str, free: FreeBytes, joins: bool) -> None:
        """Raises SessionError when the file cannot be created."""
        consented = agreed(config, bus.clock.wall_us())
        rows = [row for row in SERVICES.values() if may_record(row, config, consented)]
        self._clock = bus.clock
        self._free, self._min_free = free, config.record.min_free_mb * 1_000_000
        self._check_space(path)
        store = key_store(config)
        self._opening = opening(config, bus, joins)
        self._writer: SessionWriter | None = SessionWriter(
            path, self._opening, store if config.record.encrypt else None
        )
        self._retention = Retention(config.record, path, store)
        self.trailer: format.Trailer | None = None
        self._trailer_builder = TrailerBuilder(self._opening)
        raw = [s.modality for s in rows if s.logged == "consent"]
        kept = f"with raw {', '.join(m for m in raw if m)}" if raw else "features and estimates, no raw media"
        self._notes: tuple[str, ...] = (kept,)
        self._holds_video = "video" in raw
        self._purges = PurgeClient(bus, name, MODALITIES, persons=self._holds_video)
        # Pictures show everybody, so none is recorded while anybody is masked, or before the switch has said who is.
        is_live = isinstance(bus, ZmqBus)
        self._skips_video = self._holds_video and is_live and may_hold_people(config.privacy.state)
        self._pictures_from_us = 0
        latest = [s for s in rows if s.policy == "latest"]
        self._sensed = bus.reader(*(s.topic for s in latest if sensed(s)), awaited=True)
        self._other = bus.reader(*(s.topic for s in latest if not sensed(s)), awaited=True)
        self._reliable = [ReliableReader(bus, s.topic) for s in rows if s.policy == "reliable"]
        self._own: Counter[str] = Counter(stopped=0, unrecorded=0, person_masked=0)
        self._space_due_us = 0

    def turn(self) -> int:
        now = self._clock.now_us()
        self._record_all(now)
        self._purge()
        writer = self._writer
        if writer is None:
            return TURN_US
        try:
            if now >= self._space_due_us:
                self._space_due_us = now + SPACE_US
                self._retention.turn(self._clock)
                self._check_space(writer.path)
            if writer.due_us is not None and now + TURN_US >= writer.due_us:
                writer.flush()
        except (OSError, SessionError) as error:
            self._stop(str(error))
        return TURN_US

    def _readers(self) -> tuple[Reader | ReliableReader, ...]:
        return (self._sensed, self._other, *self._reliable)

    def _record_all(self, now: int) -> None:
        for reader in self._readers():
            for message in reader.drain():
                self._record(message, now)

    def _record(self, message: Message[Any], now: int) -> None:
        body = message.body
        if isinstance(body, Privacy):
            for modality, state in body.modalities.items():
                self._sensed.require_epoch(modality, state.mask_epoch)
        if self._writer is None:
            self._own["unrecorded"] += 1
            return
        if message.topic == "raw/video" and (self._skips_video or message.envelope.created_us < self._pictures_from_us):
            self._own["person_masked"] += 1
            return
        try:
            self._writer.add(message, now)
        except (OSError, ConfigError) as error:
            self._stop(str(error))
            return
        self._trailer_builder.take(message)

    def _purge(self) -> None:
        for order in self._purges.orders():
            self._sensed.require_epoch(order.modality, order.mask_epoch)
            if self._writer is not None:
                try:
                    self._writer.flush()
                except OSError as error:
                    self._stop(str(error))
            self._purges.done(order)
        if (mask := self._purges.order()) is not None:
            was, self._skips_video = self._skips_video, self._holds_video and (mask.everybody or bool(mask.persons))
            if was and not self._skips_video:
                self._pictures_from_us = self._clock.now_us()  # those on their way were taken under the mask
            self._purges.confirm(mask)

    def _check_space(self, path: Path) -> None:
        free = self._free(path.parent)
        if free < self._min_free:
            raise SessionError(
                f"{path.parent} has {free // 1_000_000} MB free, less than record.min_free_mb = "
                f"{self._min_free // 1_000_000}; free some space, or record to another disk"
            )

    def _stop(self, reason: str) -> None:
        log.error("recording stopped, the application continues: %s", reason)
        self._own["stopped"] = 1
        self._notes = (f"recording stopped: {reason}",)
        self._finish(f"recording stopped early: {reason}")

    def _finish(self, unverifiable: str | None = None) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        self.trailer = self._trailer_builder.build(writer, self._clock.now_us(), dict(self.counters), unverifiable)
        try:
            writer.close(self.trailer)
        except OSError as error:
            log.error("%s has no trailer: %s", writer.path, error)
            writer.abandon()

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self._notes, SKIPS) if self._skips_video and self._writer is not None else self._notes

    @property
    def wake(self) -> tuple[int, ...]:
        return ()

    @property
    def counters(self) -> Mapping[str, int]:
        total = Counter(self._own)
        for reader in self._readers():
            total.update(reader.counters)
        return total

    def close(self) -> None:
        """Record the remaining messages of the bus, and end the file with its trailer."""
        self._record_all(self._clock.now_us())
        self._finish()
        self._purges.leave()


def build(
    config: Config, bus: Bus, name: str = "recorder", free: FreeBytes | None = None, joins: bool | None = None
) -> Recorder:
    """Record to ``record.path``. A recorder that was killed leaves a cut file: its successor uses the next name.

    ``name``: of this data holder, for the switch; ``free`` returns the free bytes of a folder; ``joins``: fusion is
    already running (None: only for a successor).
    Raises SessionError when there is no path, or a finished file of that name.
    """
    if isinstance(bus, ZmqBus):
        os.nice(NICE)
    if config.record.path is None:
        raise SessionError("record.path is not set; set it, or use --record FILE")
    path = Path(config.record.path).absolute()
    if not path.parent.is_dir():
        raise SessionError(f"cannot record to {path}: {path.parent} is not a folder; create it first")
    is_successor = is_cut(path)
    if is_successor:
        path = successor(path)
        log.warning("%s was cut off; continuing in %s", config.record.path, path)
    return Recorder(
        config,
        bus,
        path,
        name,
        free or (lambda folder: shutil.disk_usage(folder).free),
        is_successor if joins is None else joins,
    )


def may_record(row: Service, config: Config, consented: Set[str]) -> bool:
    """Raw media needs both: consent to that modality, and ``record.raw``."""
    wanted = config.record.raw and row.modality in consented
    return row.logged == "default" or (row.logged == "consent" and wanted)


def successor(path: Path) -> Path:
    """``a.mcap`` is followed by ``a.2.mcap``, then ``a.3.mcap``."""
    number = 2
    while (candidate := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    return candidate


def opening(config: Config, bus: Bus, joined: bool = False) -> format.SessionOpening:
    now = bus.clock.now_us()
    return format.SessionOpening(
        format=format.VERSION,
        session=secrets.token_hex(16),
        joined=joined,
        boot_id=host_boot_id(),
        opened_us=now,
        wall_offset_us=bus.clock.wall_us() - now,
        config=_without_secrets(config.model_dump(mode="json")),
        versions={"python": platform.python_version(), **{p: v for p in PACKAGES if (v := _version(p))}},
        threads={name: os.environ.get(name, "") for name in THREADS},
        host={
            "system": platform.system(),
            "machine": platform.machine(),
            "cpus": str(os.cpu_count()),
            "cpu": cpu_name(),
        },
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except PackageNotFoundError:
        return None


def _without_secrets(value: Any) -> Any:
    """Reduce addresses and camera pipelines to the part that may be published."""
    if isinstance(value, dict):
        return {key: _without_secrets(v) for key, v in value.items()}
    if isinstance(value, str) and ("://" in value or "!" in value):
        return public_address(value) or "***"
    return value
