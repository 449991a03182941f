"""Damage to every file of the switch, full disks and crashes within a save: a device whose mask held stays closed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Lease, LeaseRequest
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import ConfigError, PrivacyError
from edge_mer.privacy.switch.state import FILE as STATE
from edge_mer.privacy.switch.state import Holding
from tests.switch_bench import EVERYBODY, SwitchBench, received

FILES = (STATE, "grants.state", "receipts.jsonl", "host.key", "host.pub", "deployment.toml", "keys.json")
KINDS: dict[str, dict[str, Any]] = {"masked": {}, "hard": {"hard": True}, "timed": {"for_s": 3600}}
CALLS = ("open", "write", "fsync", "fchmod", "replace", "unlink", "ftruncate", "truncate", "link")
PREFIXES = BITS = 5


class Crash(BaseException):
    """The process ends here."""


class Disk:
    """Stands before the system calls of the file layer: ``full``, or a crash before call ``crash_at``."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.crash_at: int | None = None
        self.calls = 0
        for name in CALLS:
            patch.setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name: str, call: Any) -> Any:
        def wrapper(*arguments: Any, **keywords: Any) -> Any:
            self.calls += 1
            if self.crash_at is not None and self.calls > self.crash_at:
                raise Crash
            if self.full and name in ("write", "fsync"):
                raise OSError(errno.ENOSPC, "No space left on device")
            return None if name == "fsync" else call(*arguments, **keywords)

        return wrapper

    def heal(self) -> None:
        self.full, self.crash_at, self.calls = False, None, 0


@pytest.fixture
def disk() -> Iterator[Disk]:
    with pytest.MonkeyPatch.context() as patch:
        yield Disk(patch)


@dataclass(frozen=True)
class History:
    """State directories of one home: everything live, then video masked, then audio masked as well.

    ``lifted``: video masked, then unmasked by the console where a console may, else by root.
    """

    live: Path
    masked: Path
    later: Path
    lifted: Path


def history(place: Path, kind: str, resume: bool) -> History:
    found = History(*(place / name for name in ("live", "masked", "later", "lifted")))
    (place / "home").mkdir()
    bench = SwitchBench(place / "home", msgspec.structs.replace(EVERYBODY, resume=resume), live=False)
    bench.run(SECOND, step_us=SECOND // 4)
    bench.ask("unmask", *MODALITIES)
    bench.run(2 * SECOND, step_us=SECOND // 4)
    shutil.copytree(bench.directory, found.live)
    bench.ask("mask", "video", **KINDS[kind])
    bench.run(2 * SECOND, step_us=SECOND // 4)
    assert bench.answers()[-1].ok
    shutil.copytree(bench.directory, found.masked)
    bench.ask("mask", "audio")
    bench.run(2 * SECOND, step_us=SECOND // 4)
    shutil.copytree(bench.directory, found.later)
    if kind == "hard":
        assert bench.switch is not None
        bench.switch.unmask(("video",), Holding("root on this host", ""), lifts_hard=True)
    else:
        bench.ask("unmask", "video")
    bench.run(2 * SECOND, step_us=SECOND // 4)
    shutil.copytree(bench.directory, found.lifted)
    return found


def opened(directory: Path) -> list[str]:
    """How video opens after a start, and after the ``resume`` of ``edge-mer run``; empty when it stays closed."""
    found = []
    try:
        bench = SwitchBench(directory, deployment=None, live=False)
    except (ConfigError, PrivacyError):  # edge-mer run refuses to start, so there are no leases
        return []
    assert bench.switch is not None
    gate = bench.bus("gate").client("switch")
    for step in ("start", "resume"):
        if step == "resume":
            bench.ask("resume", *MODALITIES, grant=bench.grant(*MODALITIES))
        gate.send(LeaseRequest(modality="video", name="camera", boot="life", last_seq=None))
        bench.turn()
        leased = any(isinstance(m, Lease) for m in received(gate))
        if leased or bench.switch.states()["video"].requested == "live":
            found.append(step)
    bench.kill_switch()
    return found


def damages(past: History, name: str) -> Iterator[tuple[str, bytes | None]]:
    """What may be found in place of a file, and what it is called."""
    good = (past.masked / name).read_bytes()
    yield "missing", None
    for n in range(PREFIXES):
        yield f"first {n * len(good) // PREFIXES} bytes", good[: n * len(good) // PREFIXES]
    for n in range(BITS):
        at = (2 * n + 1) * len(good) // (2 * BITS)
        yield f"bit {n % 8} of byte {at}", good[:at] + bytes([good[at] ^ 1 << n % 8]) + good[at + 1 :]
    yield "older", (past.live / name).read_bytes()
    yield "newer", (past.later / name).read_bytes()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("resume", [False, True], ids=["plain", "resume"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_damage_to_a_file_opens_what_was_masked(tmp_path: Path, disk: Disk, kind: str, resume: bool) -> None:
    past = history(tmp_path, kind, resume)
    broken, attempts = [], 0
    for name in FILES:
        for what, content in damages(past, name):
            place = tmp_path / "try"
            shutil.copytree(past.masked, place)
            if content is None:
                (place / name).unlink()
            else:
                (place / name).write_bytes(content)
            broken += [(name, what, step) for step in opened(place)]
            attempts += 2
            shutil.rmtree(place)
    print(f"crash matrix, damage: {attempts} attempts, {len(broken)} opened")
    assert broken == []
    assert attempts >= 2 * 13 * len(FILES)


@pytest.mark.parametrize("kind", ["masked", "timed"])
def test_a_newer_state_with_older_counters_opens_nothing(tmp_path: Path, disk: Disk, kind: str) -> None:
    past = history(tmp_path, kind, resume=True)
    shutil.copy(past.lifted / STATE, past.masked / STATE)
    assert opened(past.masked) == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("resume", [False, True], ids=["plain", "resume"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_crash_between_any_two_calls_of_a_save_opens_nothing(
    tmp_path: Path, disk: Disk, kind: str, resume: bool
) -> None:
    """The save of the mask itself, once it was answered, and the save of a later mask of another modality."""
    past = history(tmp_path, kind, resume)
    broken, attempts = [], 0
    for begin, modality, more in ((past.live, "video", KINDS[kind]), (past.masked, "audio", {})):
        for crash_at in range(200):
            place = tmp_path / "try"
            shutil.copytree(begin, place)
            bench = SwitchBench(place, deployment=None, live=False)
            if begin is past.live and not resume:
                bench.ask("resume", *MODALITIES, grant=bench.grant(*MODALITIES))
                bench.turn()
                bench.answers()
            disk.heal()
            disk.crash_at = crash_at
            bench.ask("mask", modality, **more)  # type: ignore[arg-type]
            try:
                bench.run(4 * SECOND, step_us=SECOND // 4)
                is_over = True
            except Crash:
                is_over = False
            disk.heal()
            is_answered = any(a.ok for a in bench.answers())
            bench.kill_switch()
            found = opened(place)
            if begin is past.masked or is_answered:
                broken += [(modality, crash_at, step) for step in found]
            attempts += 2
            shutil.rmtree(place)
            if is_over:
                break
        else:
            pytest.fail("a save never ends")
    print(f"crash matrix, crash: {attempts} attempts, {len(broken)} opened")
    assert broken == []
    assert attempts > 40


@pytest.mark.parametrize("resume", [False, True], ids=["plain", "resume"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_on_a_full_disk_is_not_ok_and_is_not_forgotten(
    tmp_path: Path, disk: Disk, kind: str, resume: bool
) -> None:
    past = history(tmp_path, kind, resume)
    bench = SwitchBench(past.live, deployment=None, live=False)
    if not resume:
        bench.ask("resume", *MODALITIES, grant=bench.grant(*MODALITIES))
        bench.turn()
        bench.answers()
    assert bench.switch is not None
    assert bench.switch.states()["video"].requested == "live"
    disk.full = True
    bench.ask("mask", "video", **KINDS[kind])
    bench.run(4 * SECOND, step_us=SECOND // 4)
    (answer,) = bench.answers()
    assert not answer.ok
    assert "a restart would forget this mask" in answer.text
    assert "No space left on device" in answer.text
    assert answer.modalities["video"].effective != "live", "it is closed all the same"
    bench.kill_switch()
    disk.heal()
    assert opened(past.live) == []
