"""What the switch remembers: masks always, what was live only with ``resume``, and nothing from a damaged file."""

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


def requested(house: SwitchBench) -> dict[str, str]:
    assert house.switch is not None
    return {m: s.requested for m, s in house.switch.states().items()}


def reasons(house: SwitchBench) -> dict[str, str | None]:
    assert house.switch is not None
    return {m: s.reason for m, s in house.switch.states().items()}


def restart(house: SwitchBench) -> None:
    house.kill_switch()
    house.start_switch()
    house.turn()


def test_a_restarted_switch_starts_masked_and_says_why(tmp_path: Path) -> None:
    house = SwitchBench(tmp_path)
    house.ask("mask", "video", requester="anna")
    house.turn()
    restart(house)
    assert requested(house) == dict.fromkeys(MODALITIES, "masked")
    assert reasons(house)["video"] == "masked by anna"
    assert "has started" in (reasons(house)["audio"] or "")


def test_with_resume_what_was_live_is_live_again_and_a_mask_stays(tmp_path: Path) -> None:
    house = SwitchBench(tmp_path, RESUME)
    house.ask("mask", "video", requester="anna")
    house.turn()
    restart(house)
    assert requested(house) == {"audio": "live", "video": "masked", "text": "live"}


def test_hard_stays_hard_over_a_restart(tmp_path: Path) -> None:
    house = SwitchBench(tmp_path, RESUME)
    house.ask("mask", "audio", hard=True)
    house.turn()
    restart(house)
    assert requested(house)["audio"] == "hard"


def test_resume_leaves_masks_that_somebody_asked_for(tmp_path: Path) -> None:
    house = SwitchBench(tmp_path)
    house.ask("mask", "video", requester="anna")
    house.turn()
    restart(house)
    house.ask("resume", *MODALITIES, grant=house.grant(*MODALITIES))
    house.turn()
    assert requested(house) == {"audio": "live", "video": "masked", "text": "live"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state directory of a switch that had everything live, with ``resume``."""
    house = SwitchBench(tmp_path_factory.mktemp("saved"), RESUME)
    restart(house)
    assert requested(house) == dict.fromkeys(MODALITIES, "live")
    house.kill_switch()
    return house.directory


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
        house = reopened(tmp_path / "copy")
        assert "live" not in requested(house).values()
        assert "damaged" in (reasons(house)["audio"] or "")
        assert "sudo edge-mer unmask audio" in (reasons(house)["audio"] or "")


def reopened(directory: Path) -> SwitchBench:
    return SwitchBench(directory, deployment=None, live=False)


def test_another_hosts_state_is_not_believed(saved: Path, tmp_path: Path) -> None:
    house = SwitchBench(tmp_path, RESUME)
    house.kill_switch()
    shutil.copy(saved / FILE, tmp_path / FILE)
    house.start_switch()
    assert "live" not in requested(house).values()


def test_epochs_never_come_twice_not_even_when_the_state_is_lost(tmp_path: Path) -> None:
    house = SwitchBench(tmp_path)
    assert house.switch is not None
    before = max(house.switch.epochs().values())
    house.kill_switch()
    (tmp_path / FILE).write_bytes(b"")
    house.start_switch()
    assert min(house.switch.epochs().values()) > before


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
    house, disk = SwitchBench(tmp_path, RESUME), FullDisk(monkeypatch)
    disk.full = True
    house.ask("mask", "audio")
    house.turn()
    assert requested(house)["audio"] == "masked"
    house.ask("unmask", "audio")
    house.turn()
    assert requested(house)["audio"] == "masked"
    answer = next(a for a in house.answers() if not a.ok)
    assert "No space left on device" in answer.text
    house.kill_switch()
    disk.full = False
    house.start_switch()
    assert "live" not in requested(house).values(), "what could not be saved is not remembered as live"
