"""What the switch restores: masks always, what was live only with ``resume``, and nothing from a damaged file."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_mer.contract.domain import MODALITIES
from edge_mer.privacy.switch.state import FILE
from tests.switch_bench import EVERYBODY, SwitchBench

RESUME = msgspec.structs.replace(EVERYBODY, resume=True)


def requested(bench: SwitchBench) -> dict[str, str]:
    assert bench.switch is not None
    return {m: s.requested for m, s in bench.switch.states().items()}


def reasons(bench: SwitchBench) -> dict[str, str | None]:
    assert bench.switch is not None
    return {m: s.reason for m, s in bench.switch.states().items()}


def restart(bench: SwitchBench) -> None:
    bench.kill_switch()
    bench.start_switch()
    bench.turn()


def test_a_restarted_switch_starts_masked_with_a_reason(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)
    bench.ask("mask", "video", requester="anna")
    bench.turn()
    restart(bench)
    assert requested(bench) == dict.fromkeys(MODALITIES, "masked")
    assert reasons(bench)["video"] == "masked by anna"
    assert "has started" in (reasons(bench)["audio"] or "")


def test_with_resume_what_was_live_is_live_again_and_a_mask_stays(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path, RESUME)
    bench.ask("mask", "video", requester="anna")
    bench.turn()
    restart(bench)
    assert requested(bench) == {"audio": "live", "video": "masked", "text": "live"}


def test_hard_stays_hard_over_a_restart(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path, RESUME)
    bench.ask("mask", "audio", hard=True)
    bench.turn()
    restart(bench)
    assert requested(bench)["audio"] == "hard"


def test_resume_leaves_requested_masks(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)
    bench.ask("mask", "video", requester="anna")
    bench.turn()
    restart(bench)
    bench.ask("resume", *MODALITIES, grant=bench.grant(*MODALITIES))
    bench.turn()
    assert requested(bench) == {"audio": "live", "video": "masked", "text": "live"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state directory of a switch that had everything live, with ``resume``."""
    bench = SwitchBench(tmp_path_factory.mktemp("saved"), RESUME)
    restart(bench)
    assert requested(bench) == dict.fromkeys(MODALITIES, "live")
    bench.kill_switch()
    return bench.directory


def test_a_state_file_cut_or_flipped_at_every_byte_leaves_everything_masked(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # what the disk does is not the question here
    good = (saved / FILE).read_bytes()
    damaged = [good[:n] for n in range(len(good))]
    damaged += [good[:n] + bytes([good[n] ^ 1 << n % 8]) + good[n + 1 :] for n in range(len(good))]
    shutil.copytree(saved, tmp_path / "copy")
    assert requested(reopened(tmp_path / "copy")) == dict.fromkeys(MODALITIES, "live"), "the copy was good"
    for content in damaged:
        (tmp_path / "copy" / FILE).write_bytes(content)
        bench = reopened(tmp_path / "copy")
        assert "live" not in requested(bench).values()
        assert "damaged" in (reasons(bench)["audio"] or "")
        assert "sudo edge-mer unmask audio" in (reasons(bench)["audio"] or "")


def reopened(directory: Path) -> SwitchBench:
    return SwitchBench(directory, deployment=None, live=False)


def test_the_state_of_another_host_is_refused(saved: Path, tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path, RESUME)
    bench.kill_switch()
    shutil.copy(saved / FILE, tmp_path / FILE)
    bench.start_switch()
    assert "live" not in requested(bench).values()


def test_epochs_are_never_used_twice_even_when_the_state_is_lost(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)
    assert bench.switch is not None
    before = max(bench.switch.epochs().values())
    bench.kill_switch()
    (tmp_path / FILE).write_bytes(b"")
    bench.start_switch()
    assert min(bench.switch.epochs().values()) > before


class FullDisk:
    """os.write fails as on a full disk while ``full``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full, self._write = False, os.write
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "write", self.write)

    def fsync(self, fd: int) -> None:
        self._check()
        self._fsync(fd)

    def write(self, fd: int, data: Any) -> int:
        self._check()
        return self._write(fd, data)

    def _check(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_masks_but_never_unmasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, disk = SwitchBench(tmp_path, RESUME), FullDisk(monkeypatch)
    disk.full = True
    bench.ask("mask", "audio")
    bench.turn()
    assert requested(bench)["audio"] == "masked"
    bench.ask("unmask", "audio")
    bench.turn()
    assert requested(bench)["audio"] == "masked"
    answer = next(a for a in bench.answers() if not a.ok)
    assert "No space left on device" in answer.text
    bench.kill_switch()
    disk.full = False
    bench.start_switch()
    assert "live" not in requested(bench).values(), "what could not be saved is not remembered as live"
