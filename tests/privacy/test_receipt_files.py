"""Receipts in many files: a start reads the tail only, the rest is verified in slices, and damage is reported."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from edge_mer.cli.main import app
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import PrivacyError
from edge_mer.privacy.keys.host_key import host_key
from edge_mer.privacy.switch import receipt_log
from edge_mer.privacy.switch.receipt_log import ReceiptAudit, ReceiptLog
from edge_mer.privacy.switch.receipts import FILE, ChainHead, receipt_files, verify_all
from tests.privacy.test_memory import requested
from tests.privacy.test_receipts import draft
from tests.switch_bench import SwitchBench

KEY = Ed25519PrivateKey.generate()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of four lines, and a tail of two."""
    monkeypatch.setattr(receipt_log, "MOST_LINES", 4)
    monkeypatch.setattr(receipt_log, "TAIL_BYTES", 1200)


def written(directory: Path, count: int, key: Ed25519PrivateKey = KEY) -> ReceiptLog:
    log = ReceiptLog(directory, key, ChainHead())
    for epoch in range(count):
        log.append(draft(epoch))
    return log


def audited(directory: Path, end: ChainHead, key: Ed25519PrivateKey = KEY) -> ReceiptAudit:
    audit = ReceiptAudit(directory, key.public_key(), end)
    for _ in range(100):
        audit.turn()
    assert audit.is_done
    return audit


@pytest.mark.usefixtures("small")
class TestFiles:
    def test_full_files_are_renamed_and_hold_one_chain(self, tmp_path: Path) -> None:
        log = written(tmp_path, 10)
        assert [path.name for path in receipt_files(tmp_path)] == ["receipts.0.jsonl", "receipts.4.jsonl", FILE]
        found = list(verify_all(tmp_path, KEY.public_key(), log.head))
        assert [receipt.number for receipt in found] == list(range(10))
        assert audited(tmp_path, log.head).fault == ""

    @pytest.mark.parametrize("knows_head", [True, False])
    def test_a_new_start_goes_on_in_the_chain(self, tmp_path: Path, knows_head: bool) -> None:
        head = written(tmp_path, 10).head
        again = ReceiptLog(tmp_path, KEY, head if knows_head else None)
        assert (again.head, again.note, again.is_verified) == (head, None, False)
        again.append(draft(10))
        assert len(list(verify_all(tmp_path, KEY.public_key(), again.head))) == 11

    def test_a_crash_between_renaming_and_the_next_file_loses_nothing(self, tmp_path: Path) -> None:
        head = written(tmp_path, 4).head
        (tmp_path / FILE).rename(tmp_path / "receipts.0.jsonl")
        again = ReceiptLog(tmp_path, KEY, head)
        assert (again.head, again.note) == (head, None)
        again.append(draft(4))
        assert len(list(verify_all(tmp_path, KEY.public_key(), again.head))) == 5

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        head = written(tmp_path, 10).head
        (tmp_path / "receipts.4.jsonl").unlink()
        with pytest.raises(PrivacyError, match=f"{FILE}: line 1: receipt 8 does not follow"):
            list(verify_all(tmp_path, KEY.public_key(), head))
        assert "receipt 8 does not follow" in audited(tmp_path, head).fault

    def test_damage_in_an_old_file_is_found_after_the_start(self, tmp_path: Path) -> None:
        head = written(tmp_path, 10).head
        old = tmp_path / "receipts.0.jsonl"
        old.write_bytes(old.read_bytes().replace(b"anna", b"otto", 1))
        assert ReceiptLog(tmp_path, KEY, head).note is None
        assert "receipts.0.jsonl: line 1: it is not what this host's switch signed" in audited(tmp_path, head).fault

    def test_files_that_are_renamed_meanwhile_are_followed(self, tmp_path: Path) -> None:
        log = written(tmp_path, 7)
        end, audit = log.head, ReceiptAudit(tmp_path, KEY.public_key(), log.head)
        audit._step()
        for epoch in range(7, 12):
            log.append(draft(epoch))
        for _ in range(10):
            audit.turn()
        assert (audit.is_done, audit.fault, end.count) == (True, "", 7)

    def test_the_switch_reports_damage_and_goes_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        SwitchBench(tmp_path, live=False).kill_switch()
        (tmp_path / FILE).unlink(missing_ok=True)
        key = host_key(tmp_path)
        written(tmp_path, 10, key)
        old = tmp_path / "receipts.4.jsonl"
        old.write_bytes(old.read_bytes().replace(b"anna", b"otto", 1))
        bench = SwitchBench(tmp_path, deployment=None, live=False)
        bench.run(2 * SECOND)
        assert bench.switch is not None
        assert any("receipts.4.jsonl: line 1" in note for note in bench.switch.notes)
        bench.ask("mask", "video")
        bench.run(3 * SECOND, step_us=SECOND // 10)
        assert bench.answers()[-1].ok
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        (tmp_path / "edge_mer").symlink_to(tmp_path)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        result = CliRunner().invoke(app, ["receipts", "verify"])
        assert (result.exit_code, "receipts.4.jsonl: line 1" in result.stderr) == (6, True)


@pytest.mark.parametrize("form", ["100 files", "one file of an older version"])
def test_a_million_receipts_do_not_delay_a_start(tmp_path: Path, form: str) -> None:
    """The older part is made up; only the tail is signed. Its damage is reported while the switch answers."""
    SwitchBench(tmp_path, live=False).kill_switch()
    for path in receipt_files(tmp_path):
        path.unlink()
    log = ReceiptLog(tmp_path, host_key(tmp_path), ChainHead(999_900, "00" * 32))
    for epoch in range(100):
        log.append(draft(epoch))
    tail = (tmp_path / FILE).read_bytes()
    line = tail.partition(b"\n")[0] + b"\n"
    if form == "100 files":
        part = tmp_path / "receipts.0.jsonl"
        part.write_bytes(line * 10_000)
        for n in range(1, 100):
            os.link(part, tmp_path / f"receipts.{10_000 * n}.jsonl")
    else:
        with (tmp_path / FILE).open("wb") as file:
            file.seek(999_900 * len(line))
            file.write(b"\n" + tail)
    cpu, wall = time.process_time(), time.monotonic()
    bench = SwitchBench(tmp_path, deployment=None, live=False)
    bench.turn()
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    print(f"ready with 1,000,000 receipts in {form}: {wall:.3f} s, {cpu:.3f} s of CPU")
    assert bench.switch is not None
    assert cpu < 1
    assert "audio" in requested(bench)
    assert bench.switch._log.head.count >= 1_000_000
    bench.run(SECOND)
    assert "line " in bench.switch.notes[-1], "the older part is no chain"
