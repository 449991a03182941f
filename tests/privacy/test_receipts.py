"""Receipts: what they say, and that no line can be changed, removed, added or moved without being named."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mer.bus import ReliableReader
from edge_mer.capture.gated_source import CaptureWorker, GatedSource
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import PrivacyError
from edge_mer.contract.messages import Receipt
from edge_mer.privacy.keys.signing import is_signed, sign
from edge_mer.privacy.purge_client import PurgeClient
from edge_mer.privacy.switch.receipt_log import ReceiptLog
from edge_mer.privacy.switch.receipts import FILE, ChainHead, verify
from tests.switch_bench import BOOT_ID, FakeDevice, SwitchBench

KEY = Ed25519PrivateKey.generate()


def draft(epoch: int = 1) -> Receipt:
    return Receipt(
        number=0,
        modality="video",
        gate="masked",
        mask_epoch=epoch,
        requester="anna",
        requested_us=1,
        closed_us=2,
        purged_us=3,
        wall_offset_us=4,
        boot_id="boot",
        last_seq=5,
        purged=("fusion",),
        handle_closed=True,
        checks=("camera: no handle",),
        previous="",
        signature="",
    )


def written(directory: Path, count: int = 5) -> Path:
    log = ReceiptLog(directory, KEY, ChainHead())
    for epoch in range(count):
        log.append(draft(epoch))
    return directory / FILE


def test_receipts_from_before_rooms_stay_in_one_chain_with_new_ones(tmp_path: Path) -> None:
    path = written(tmp_path, 2)
    assert b"in_room" not in path.read_bytes()
    log = ReceiptLog(tmp_path, KEY, None)
    log.append(msgspec.structs.replace(draft(2), in_room="Kitchen"))
    found = verify(path, KEY.public_key())
    assert [r.in_room for r in found.receipts] == [msgspec.UNSET, msgspec.UNSET, "Kitchen"]


class Child:
    """A data holder that deletes on a purge."""

    def __init__(self, bench: SwitchBench) -> None:
        self._purges = PurgeClient(bench.bus("child-life"), "fusion", ("video",))

    def turn(self) -> None:
        for order in self._purges.orders():
            self._purges.done(order)


@pytest.fixture
def bench(tmp_path: Path) -> SwitchBench:
    return SwitchBench(tmp_path)


def test_a_mask_yields_a_signed_receipt_that_says_what_was_measured(bench: SwitchBench) -> None:
    device = FakeDevice(bench.clock)
    worker = CaptureWorker(GatedSource(bench.config, bench.bus("life"), "camera", "video", device, boot_id=BOOT_ID))
    child, reader = Child(bench), ReliableReader(bench.bus(), "receipt")
    bench.run(2 * SECOND, worker, child, each=device.give)
    reader.drain()
    bench.clock.advance(10_000)
    bench.ask("mask", "video", requester="anna")
    bench.turn(worker, child)
    (answer,) = bench.answers()
    bench.turn()
    body = [m.body for m in reader.drain()][-1]
    assert isinstance(body, Receipt)
    assert answer.receipts == (body.number,)
    assert (body.modality, body.gate, body.requester, body.handle_closed) == ("video", "masked", "anna", True)
    assert body.requested_us == body.closed_us == bench.clock.now_us()
    assert body.last_seq == answer.modalities["video"].last_seq is not None
    assert body.purged == ("fusion",)
    assert body.checks == ("camera: no handle in /proc, a read fails",)
    assert body.requested_us + body.wall_offset_us == bench.clock.wall_us()
    assert body.in_room == bench.config.run.room_name
    on_disk = verify(bench.directory / FILE, bench.host_public).receipts[-1]
    assert on_disk == body


def test_an_answer_waits_for_the_receipt_and_reports_a_full_disk(
    bench: SwitchBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    bench.ask("mask", "video")
    bench.run(2 * SECOND)
    (answer,) = bench.answers()
    assert not answer.ok
    assert "its receipt is not written" in answer.text
    assert "No space left on device" in answer.text
    assert answer.modalities["video"].effective == "masked", "masked all the same"
    monkeypatch.undo()
    bench.run(2 * SECOND)
    assert [r.modality for r in verify(bench.directory / FILE, bench.host_public).receipts][-1] == "video"


def test_a_mask_that_holds_already_is_answered_with_its_receipt(bench: SwitchBench) -> None:
    bench.ask("mask", "video")
    bench.turn()
    bench.ask("mask", "video")
    bench.turn()
    first, second = bench.answers()
    assert first.receipts == second.receipts != ()


def test_a_good_file_is_verified_with_the_public_key_alone(tmp_path: Path) -> None:
    found = verify(written(tmp_path), KEY.public_key())
    assert [r.number for r in found.receipts] == [0, 1, 2, 3, 4]
    assert found.head.count == 5


@pytest.mark.parametrize("line", range(5))
def test_every_changed_line_is_named(tmp_path: Path, line: int) -> None:
    path = written(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b"anna", b"ANNA")
    path.write_bytes(b"".join(lines))
    with pytest.raises(PrivacyError, match=f"line {line + 1}: it is not what this host's switch signed"):
        verify(path, KEY.public_key())


@pytest.mark.parametrize("line", range(4))
def test_a_removed_line_is_named(tmp_path: Path, line: int) -> None:
    path = written(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:line] + lines[line + 1 :]))
    if line == 0:  # what is left begins with receipt 1, whole in itself
        assert verify(path, KEY.public_key()).first == 1
        return
    with pytest.raises(PrivacyError, match=f"line {line + 1}: receipt {line + 1} does not follow"):
        verify(path, KEY.public_key())


def test_a_line_removed_at_the_end_is_missed_by_the_head_that_the_switch_saved(tmp_path: Path) -> None:
    path = written(tmp_path)
    head = verify(path, KEY.public_key()).head
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(PrivacyError, match="line 5: missing; the switch wrote 5 receipts"):
        verify(path, KEY.public_key(), head)


def test_swapped_and_repeated_lines_are_named(tmp_path: Path) -> None:
    path = written(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    for order, bad in (((0, 2, 1, 3, 4), 2), ((0, 1, 1, 2, 3, 4), 3)):
        path.write_bytes(b"".join(lines[i] for i in order))
        with pytest.raises(PrivacyError, match=f"line {bad}: .*does not follow"):
            verify(path, KEY.public_key())


def test_a_line_of_another_branch_is_named_though_the_host_signed_it(tmp_path: Path) -> None:
    """As after a state directory was copied back and used again."""
    ours, other = tmp_path / "ours", tmp_path / "other"
    ours.mkdir(), other.mkdir()
    lines = written(ours).read_bytes().splitlines(keepends=True)
    log = ReceiptLog(other, KEY, ChainHead())
    for epoch in range(100, 105):
        log.append(draft(epoch))
    branch = (other / FILE).read_bytes().splitlines(keepends=True)
    (ours / FILE).write_bytes(b"".join([*lines[:2], branch[2], *lines[3:]]))
    with pytest.raises(PrivacyError, match="line 3: receipt 2 does not follow"):
        verify(ours / FILE, KEY.public_key())


def test_another_hosts_receipts_are_not_ours(tmp_path: Path) -> None:
    with pytest.raises(PrivacyError, match="line 1: it is not what this host's switch signed"):
        verify(written(tmp_path), Ed25519PrivateKey.generate().public_key())


@settings(max_examples=150)
@given(st.integers(0, 20_000))
def test_one_flipped_bit_anywhere_is_named(tmp_path_factory: pytest.TempPathFactory, bit: int) -> None:
    path = written(tmp_path_factory.mktemp("receipts"), 2)
    content = bytearray(path.read_bytes())
    bit %= 8 * len(content)
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(content))
    line = bytes(content[: bit // 8]).count(b"\n") + 1
    with pytest.raises(PrivacyError, match=r"line (\d+)") as caught:
        verify(path, KEY.public_key())
    assert f"line {line}:" in str(caught.value)


def test_a_crash_in_the_middle_of_a_line_loses_that_line_alone(tmp_path: Path) -> None:
    path = written(tmp_path, 3)
    head = verify(path, KEY.public_key()).head
    with path.open("ab") as file:
        file.write(b'{"number":3,"moda')
    log = ReceiptLog(tmp_path, KEY, head)
    log.append(draft())
    assert verify(path, KEY.public_key()).head.count == 4
    assert log.note is None


def test_a_damaged_chain_is_set_aside_and_the_next_receipt_continues_what_the_switch_knows(tmp_path: Path) -> None:
    path = written(tmp_path, 3)
    head = verify(path, KEY.public_key()).head
    path.write_bytes(path.read_bytes().replace(b"anna", b"ANNA", 1))
    log = ReceiptLog(tmp_path, KEY, head)
    assert "line 1" in (log.note or "")
    assert len(list(tmp_path.glob("receipts.damaged-*"))) == 1
    log.append(draft())
    found = verify(path, KEY.public_key(), head)
    assert (found.first, found.receipts[0].previous) == (3, head.hash)


def test_the_switch_goes_on_in_the_same_chain_after_a_kill(bench: SwitchBench) -> None:
    for _ in range(3):
        bench.ask("mask", "video")
        bench.run(100_000)
        bench.kill_switch()
        bench.start_switch()
        bench.run(3 * SECOND)
        bench.ask("unmask", "video")
        bench.run(100_000)
    found = verify(bench.directory / FILE, bench.host_public)
    assert found.first == 0
    assert len(found.receipts) >= 6


def test_a_signature_is_over_the_kind_of_the_record_too() -> None:
    class Other(msgspec.Struct, frozen=True):
        number: int
        signature: str = ""

    class Twin(msgspec.Struct, frozen=True):
        number: int
        signature: str = ""

    signed = sign(KEY, Other(1))
    assert is_signed(KEY.public_key(), signed)
    assert not is_signed(KEY.public_key(), Twin(1, signed.signature))
    assert not is_signed(KEY.public_key(), Other(1, signed.signature.upper()))
