"""Lost, rolled-back and unsaved state of the switch: masks that only the local button or root lifts, and epochs."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edge_mer.capture.gated_source import GatedSource
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Command
from edge_mer.contract.domain import MODALITIES
from edge_mer.privacy.keys.host_key import host_key
from edge_mer.privacy.switch.receipts import FILE as RECEIPTS
from edge_mer.privacy.switch.receipts import verify
from edge_mer.privacy.switch.requester import ROOT
from edge_mer.privacy.switch.state import FILE, StateFile, SwitchState
from edge_mer.privacy.switch.used_counters import FILE as COUNTERS
from tests.privacy.test_memory import RESUME, reasons, requested, restart
from tests.switch_bench import BOOT_ID, FakeDevice, SwitchBench


def ask_as_root(bench: SwitchBench, *modalities: str) -> None:
    """As over root's socket."""
    assert bench.switch is not None
    command = Command(id=f"root {modalities} {bench.clock.now_us()}", action="unmask", modalities=modalities)  # type: ignore[arg-type]
    bench.switch._commands.receive(lambda answer: None, ROOT, command)
    bench.turn()


def proven(directory: Path, *hard: str) -> SwitchBench:
    """A home in which every modality has a receipt; those in ``hard`` are masked hard, the others live."""
    bench = SwitchBench(directory, live=False)
    bench.turn()
    bench.ask("unmask", *MODALITIES)
    bench.turn()
    for modality in hard:
        bench.ask("mask", modality, hard=True)  # type: ignore[arg-type]
    bench.run(2 * SECOND, step_us=SECOND // 2)
    bench.answers()
    return bench


@pytest.mark.parametrize("left", [None, b"", 0.5, "bit"], ids=["missing", "empty", "half", "one bit"])
def test_a_lost_state_masks_as_strictly_as_the_last_receipt_and_no_key_lifts_it(tmp_path: Path, left: object) -> None:
    bench = proven(tmp_path, "video")
    bench.kill_switch()
    good = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).unlink()
    if left is not None:
        content = {"bit": good[:70] + bytes([good[70] ^ 1]) + good[71:], 0.5: good[: len(good) // 2]}.get(left, b"")  # type: ignore[call-overload]
        (tmp_path / FILE).write_bytes(content)
    bench.start_switch()
    bench.turn()
    closed = {"audio": "masked", "video": "hard", "text": "masked"}
    assert requested(bench) == closed
    assert "only the local button or root on this host unmasks it: sudo edge-mer unmask audio" in str(
        reasons(bench)["audio"]
    )
    assert bench.switch is not None
    assert all(asked.mask is not None for asked in bench.switch.policy.asked.values())
    for action in ("resume", "unmask"):
        bench.ask(action, *MODALITIES, grant=bench.grant(*MODALITIES))
        bench.turn()
        assert requested(bench) == closed
    assert "sudo edge-mer unmask" in bench.answers()[-1].text
    restart(bench)
    assert requested(bench) == closed, "it was saved"
    ask_as_root(bench, *MODALITIES)
    assert set(requested(bench).values()) == {"live"}


def test_without_state_and_receipts_everything_is_hard(tmp_path: Path) -> None:
    bench = proven(tmp_path)
    bench.kill_switch()
    (tmp_path / FILE).unlink()
    (tmp_path / RECEIPTS).unlink()
    bench.start_switch()
    assert requested(bench) == dict.fromkeys(MODALITIES, "hard")


def test_on_the_first_start_a_console_key_unmasks(tmp_path: Path) -> None:
    assert requested(SwitchBench(tmp_path)) == dict.fromkeys(MODALITIES, "live")


def test_a_receipt_newer_than_the_state_wins(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path, RESUME, live=False)
    bench.turn()
    bench.ask("unmask", *MODALITIES)
    bench.run(2 * SECOND, step_us=SECOND // 2)
    old = (tmp_path / FILE).read_bytes()
    bench.ask("mask", "video", hard=True)
    bench.run(3 * SECOND, step_us=SECOND // 2)
    bench.kill_switch()
    (tmp_path / FILE).write_bytes(old)
    bench.start_switch()
    assert requested(bench) == {"audio": "masked", "video": "hard", "text": "masked"}
    assert "is older than receipt" in str(reasons(bench)["audio"])


class FailingSync:
    """os.fsync fails as on a full disk while ``full``."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.full = False
        patch.setattr(os, "fsync", self._fsync)

    def _fsync(self, fd: int) -> None:
        if self.full and "receipts" not in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def disk() -> Iterator[FailingSync]:
    with pytest.MonkeyPatch.context() as patch:
        yield FailingSync(patch)


def test_a_mask_that_is_not_saved_is_not_ok_and_its_receipt_is_not_durable(tmp_path: Path, disk: FailingSync) -> None:
    bench = proven(tmp_path)
    disk.full = True
    bench.ask("mask", "video", hard=True)
    bench.run(2 * SECOND, step_us=SECOND // 10)
    (answer,) = bench.answers()
    assert not answer.ok
    assert "closed, but a restart would forget this mask" in answer.text
    assert "No space left on device" in answer.text
    assert answer.modalities["video"].effective == "hard"
    receipt = verify(tmp_path / RECEIPTS, bench.host_public).receipts[-1]
    assert (receipt.number in answer.receipts, receipt.modality) == (True, "video")
    assert any(check.startswith("not durable") for check in receipt.checks)
    bench.kill_switch()
    disk.full = False
    bench.start_switch()
    assert requested(bench)["video"] == "hard"


def test_a_failed_save_keeps_a_file_that_is_stricter_and_removes_any_other(tmp_path: Path, disk: FailingSync) -> None:
    bench = proven(tmp_path, "video")
    disk.full = True
    bench.ask("unmask", "text")
    bench.turn()
    assert (tmp_path / FILE).exists(), "it says what holds now"
    bench.ask("mask", "audio")
    bench.turn()
    assert not (tmp_path / FILE).exists(), "it says that audio is live"
    assert requested(bench)["audio"] == "masked"


def test_a_state_that_cannot_be_saved_at_the_start_masks_everything(tmp_path: Path, disk: FailingSync) -> None:
    bench = SwitchBench(tmp_path, RESUME, live=False)
    bench.turn()
    bench.ask("unmask", *MODALITIES)
    bench.run(2 * SECOND, step_us=SECOND // 2)
    bench.kill_switch()
    disk.full = True
    bench.start_switch()
    assert requested(bench) == dict.fromkeys(MODALITIES, "masked")
    assert "cannot be saved" in str(reasons(bench)["audio"])
    disk.full = False
    bench.run(2 * SECOND, step_us=SECOND // 2)
    bench.ask("unmask", *MODALITIES)
    bench.turn()
    assert requested(bench) == dict.fromkeys(MODALITIES, "masked")


def test_a_lock_of_a_full_disk_outlives_a_crash_before_the_next_save(tmp_path: Path, disk: FailingSync) -> None:
    bench = proven(tmp_path)
    bench.kill_switch()
    bench.start_switch()
    bench.run(3 * SECOND, step_us=SECOND // 2)
    bench.kill_switch()
    disk.full = True
    bench.start_switch()
    assert "cannot be saved" in str(reasons(bench)["audio"])
    bench.kill_switch()
    disk.full = False
    bench.start_switch()
    bench.ask("unmask", *MODALITIES)
    bench.turn()
    assert "live" not in requested(bench).values(), "only the local button or root lifts it"


def test_a_state_file_of_version_1_still_holds(tmp_path: Path) -> None:
    bench = proven(tmp_path, "video")
    bench.kill_switch()
    key = host_key(tmp_path)
    file = StateFile(tmp_path, key)
    state = file.load()
    old = {"epoch": state.epoch, "wall_us": state.wall_us, "receipts": state.receipts, "head": state.head}
    masks = {"video": {"mask": {"gate": "hard", "by": "masked by anna"}, "holding": None}}
    data = msgspec.json.encode({**old, "asked": masks, "used": {bench.console.signing: 1 << 60}})
    (tmp_path / FILE).write_bytes(key.sign(data) + data)
    (tmp_path / COUNTERS).unlink()
    bench.start_switch()
    assert requested(bench)["video"] == "hard"
    bench.ask("resume", "audio", grant=bench.grant("audio"))
    bench.turn()
    assert "used already" in bench.answers()[-1].text, "its counters are taken over"
    bench.kill_switch()
    assert isinstance(file.load(), SwitchState)
    assert (file.load().version, (tmp_path / COUNTERS).exists()) == (2, True)


class TestEpochs:
    def test_they_grow_when_the_state_is_lost_twice_within_an_hour(self, tmp_path: Path) -> None:
        bench = SwitchBench(tmp_path, RESUME)
        assert bench.switch is not None
        epochs = []
        for lost in (True, *[False] * 6, True, True):
            epochs.append(max(bench.switch.epochs().values()))
            bench.clock.advance(300 * SECOND)
            bench.kill_switch()
            if lost:
                (tmp_path / FILE).unlink()
            bench.start_switch()
        epochs.append(max(bench.switch.epochs().values()))
        assert epochs == sorted(set(epochs))

    def test_a_gate_that_outlived_everything_is_followed(self, tmp_path: Path) -> None:
        bench = proven(tmp_path)
        device = FakeDevice(bench.clock)
        source = GatedSource(bench.config, bench.bus("life"), "camera", "video", device, boot_id=BOOT_ID)
        bench.run(SECOND, source)
        assert device.is_open
        source.gate.mask_epoch = known = 10**10  # of a switch whose files are gone
        bench.kill_switch()
        for name in (FILE, COUNTERS, RECEIPTS):
            (tmp_path / name).unlink()
        bench.start_switch()
        bench.run(3 * SECOND, source)
        assert bench.switch is not None
        assert min(bench.switch.epochs().values()) > known
        ask_as_root(bench, "video")
        bench.run(2 * SECOND, source)
        assert device.is_open
        bench.ask("mask", "video")
        bench.run(SECOND, source)
        assert bench.answers()[-1].ok
        assert not device.is_open


class TestUsedCounters:
    def test_a_used_grant_stays_used_when_state_and_clock_are_lost(self, tmp_path: Path) -> None:
        bench = SwitchBench(tmp_path, live=False)
        grant = bench.grant(*MODALITIES, ahead=10**12)
        bench.ask("unmask", *MODALITIES, grant=grant)
        bench.turn()
        assert bench.answers()[-1].ok
        bench.kill_switch()
        (tmp_path / FILE).unlink()
        bench.clock.epoch_us = -1000 * SECOND
        bench.start_switch()
        ask_as_root(bench, *MODALITIES)
        bench.ask("mask", *MODALITIES)
        bench.turn()
        bench.ask("unmask", *MODALITIES, grant=grant)
        bench.turn()
        assert "used already" in bench.answers()[-1].text
        assert "live" not in requested(bench).values()

    @pytest.mark.parametrize("damage", ["missing", "torn", "older"])
    def test_while_they_are_lost_no_grant_opens_anything_until_root_does(self, tmp_path: Path, damage: str) -> None:
        bench = SwitchBench(tmp_path, RESUME)
        old = (tmp_path / COUNTERS).read_bytes()
        bench.ask("unmask", "video")
        bench.turn()
        bench.run(SECOND, step_us=SECOND // 2)
        bench.kill_switch()
        if damage == "missing":
            (tmp_path / COUNTERS).unlink()
        else:
            (tmp_path / COUNTERS).write_bytes(old if damage == "older" else old[:80])
        for _ in range(2):
            bench.start_switch()
            bench.turn()
            assert "live" not in requested(bench).values(), "what grants had opened is closed too"
            bench.answers()
            bench.ask("unmask", "audio")
            bench.turn()
            answer = bench.answers()[-1]
            assert not answer.ok
            assert "no grant opens anything until the local button or root" in answer.text
            assert "sudo edge-mer unmask all" in answer.text
            bench.kill_switch()
        bench.start_switch()
        ask_as_root(bench, "audio")
        bench.ask("unmask", "video")
        bench.turn()
        assert requested(bench) == {"audio": "live", "video": "live", "text": "masked"}
        restart(bench)
        assert requested(bench) == {"audio": "live", "video": "live", "text": "masked"}

    def test_a_grant_that_cannot_be_written_down_opens_nothing(self, tmp_path: Path, disk: FailingSync) -> None:
        bench = SwitchBench(tmp_path, live=False)
        bench.turn()
        disk.full = True
        bench.ask("unmask", "video")
        bench.turn()
        assert "cannot be written" in bench.answers()[-1].text
        assert requested(bench)["video"] == "masked"


def test_a_copy_of_the_whole_directory_starts(tmp_path: Path) -> None:
    """As a backup is put back: nothing in it contradicts anything else."""
    bench = proven(tmp_path / "a") if (tmp_path / "a").mkdir() is None else None
    assert bench is not None
    bench.kill_switch()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    copy = SwitchBench(tmp_path / "b", deployment=None, live=False)
    assert copy.switch is not None
    assert copy.switch.notes == ()
