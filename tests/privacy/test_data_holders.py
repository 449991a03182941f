"""Silence is no proof: a receipt names a data holder only when it has confirmed, or the kernel shows that it ended.

The data holders are real processes; the switch and its bus are in memory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_mer.bus import Client
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Closed, Exited, LeaseRequest, ProcessId, Purge, Purged, Register
from edge_mer.contract.domain import Modality
from edge_mer.contract.messages import Receipt
from edge_mer.host.process_handle import process_id
from edge_mer.privacy.switch.registrations import FILE as MEMBERS
from tests.switch_bench import SwitchBench, kinds, received

Start = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes that do nothing until they are killed."""
    processes: list[subprocess.Popen[bytes]] = []

    def started() -> subprocess.Popen[bytes]:
        processes.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
        return processes[-1]

    yield started
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def bench(tmp_path: Path) -> SwitchBench:
    return SwitchBench(tmp_path, runtime=tmp_path)


def holder(
    bench: SwitchBench, name: str, process: ProcessId | None, boot: str = "life", modality: Modality = "audio"
) -> Client:
    client = bench.bus().client("switch")
    client.send(Register(name=name, boot=boot, modalities=(modality,), gate=False, process=process))
    bench.turn()
    return client


def confirm(bench: SwitchBench, client: Client, name: str, boot: str = "life") -> None:
    for order in received(client):
        if isinstance(order, Purge):
            client.send(Purged(modality=order.modality, name=name, boot=boot, mask_epoch=order.mask_epoch))
    bench.turn()


def receipts(bench: SwitchBench) -> list[Receipt]:
    assert bench.switch is not None
    found = bench.switch._gates["audio"].receipt
    return [found] if found is not None else []


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def wait_for_end(process: subprocess.Popen[bytes]) -> None:
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def test_a_living_data_holder_that_does_not_answer_keeps_the_receipt_back_for_ever(
    bench: SwitchBench, start: Start
) -> None:
    process = start()
    client = holder(bench, "record-7", process_id(process.pid))
    bench.ask("mask", "audio")
    bench.run(3600 * SECOND, step_us=10 * SECOND)
    (answer,) = bench.answers()
    assert not answer.ok
    expected = f"audio: record-7 did not confirm the purge (process {process.pid})"
    assert answer.text == expected
    for _ in range(2):  # the complaint is repeated: in answers, and in what status and page show
        bench.ask("status")
        bench.turn()
        (status,) = bench.answers()
        assert status.ok
        assert status.text == expected
        assert status.modalities["audio"].unconfirmed == (expected,)
    assert receipts(bench) == []
    assert process.poll() is None, "it only does not answer: it is not killed"
    confirm(bench, client, "record-7")
    assert receipts(bench)[0].purged == ("record-7",)
    bench.ask("status")
    bench.turn()
    (status,) = bench.answers()
    assert (status.text, status.modalities["audio"].unconfirmed) == ("", ())


def test_one_that_the_kernel_shows_as_ended_counts_as_purged(bench: SwitchBench, start: Start) -> None:
    process = start()
    holder(bench, "record-7", process_id(process.pid))
    bench.ask("mask", "audio")
    bench.turn()
    assert receipts(bench) == []
    process.kill()
    wait_for_end(process)
    bench.turn()
    assert receipts(bench)[0].purged == ("record-7 (its process ended)",)
    assert bench.answers()[0].ok


def test_its_end_wakes_the_switch(bench: SwitchBench, start: Start) -> None:
    process = start()
    holder(bench, "record-7", process_id(process.pid))
    assert bench.switch is not None
    (fd,) = bench.switch.wake
    assert os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[pidfd]"
    process.kill()
    wait_for_end(process)
    bench.turn()
    assert bench.switch.wake == ()


def test_a_stopped_one_is_killed_and_only_then_proven(bench: SwitchBench, start: Start) -> None:
    process = start()
    holder(bench, "record-7", process_id(process.pid))
    stop(process)
    bench.ask("mask", "audio")
    bench.turn()
    assert receipts(bench) == []
    bench.run(SECOND // 10)
    wait_for_end(process)
    bench.turn()
    assert process.wait() == -signal.SIGKILL
    assert receipts(bench)[0].purged == ("record-7 (it was stopped, so it was killed)",)


def test_a_stopped_one_lives_on_while_nothing_is_masked(bench: SwitchBench, start: Start) -> None:
    process = start()
    holder(bench, "record-7", process_id(process.pid))
    stop(process)
    bench.run(SECOND)
    assert process.poll() is None


def test_a_stopped_capture_process_is_killed_and_only_then_closed(bench: SwitchBench, start: Start) -> None:
    process = start()
    gate = bench.bus().client("switch")
    gate.send(
        LeaseRequest(modality="audio", name="microphone", boot="life", last_seq=None, process=process_id(process.pid))
    )
    bench.turn()
    stop(process)
    bench.ask("mask", "audio")
    bench.turn()
    assert bench.switch is not None
    assert bench.switch.states()["audio"].effective == "live"
    bench.run(SECOND // 10)
    wait_for_end(process)
    bench.turn()
    assert bench.switch.states()["audio"].effective == "masked"
    assert receipts(bench)[0].checks == ("microphone: it was stopped, so it was killed",)


def test_a_new_life_does_not_settle_the_debts_of_one_that_still_runs(bench: SwitchBench, start: Start) -> None:
    former, process = start(), start()
    holder(bench, "recorder", process_id(former.pid))
    bench.ask("mask", "audio")
    bench.turn()
    later = holder(bench, "recorder", process_id(process.pid), boot="second life")
    confirm(bench, later, "recorder", boot="second life")
    assert receipts(bench) == []
    former.kill()
    wait_for_end(former)
    bench.turn()
    assert receipts(bench)[0].purged == ("recorder", "recorder (its process ended)")


def test_without_a_number_only_its_word_or_the_supervisors_counts(bench: SwitchBench) -> None:
    holder(bench, "container", None)
    bench.ask("mask", "audio")
    bench.run(60 * SECOND, step_us=SECOND)
    (answer,) = bench.answers()
    assert answer.text == (
        "audio: container did not confirm the purge (the kernel does not show whether it still runs)"
    )
    bench.bus().client("switch").send(Exited(name="container", boot="life"))
    bench.turn()
    assert receipts(bench)[0].purged == ("container (its process ended)",)


def test_a_restarted_switch_knows_who_took_part_before_it(bench: SwitchBench, start: Start) -> None:
    """A recorder that is stopped while the switch restarts cannot register again, and still holds everything."""
    process = start()
    holder(bench, "record-7", process_id(process.pid))
    bench.kill_switch()
    stop(process)
    bench.start_switch()
    bench.turn()
    assert receipts(bench) == []
    bench.run(3 * SECOND)
    wait_for_end(process)
    bench.turn()
    assert receipts(bench)[0].purged == ("record-7 (it was stopped, so it was killed)",)


def test_one_known_from_before_gets_its_orders_as_soon_as_it_speaks(bench: SwitchBench, start: Start) -> None:
    process = start()
    holder(bench, "record-7", process_id(process.pid))
    bench.kill_switch()
    bench.start_switch()
    bench.turn()
    again = holder(bench, "record-7", process_id(process.pid))
    assert kinds(received(again)) == ["Purge"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"boot_id":"another boot","members":[]}'])
def test_a_lost_list_of_members_stops_nothing(bench: SwitchBench, start: Start, content: bytes) -> None:
    holder(bench, "record-7", process_id(start().pid))
    bench.kill_switch()
    (bench.directory / MEMBERS).write_bytes(content)
    bench.start_switch()
    bench.turn()
    assert bench.switch is not None
    assert bench.switch.wake == ()


def test_one_that_registers_before_the_receipt_must_purge_for_it(bench: SwitchBench, start: Start) -> None:
    first, late = start(), start()
    client = holder(bench, "fusion", process_id(first.pid))
    bench.ask("mask", "audio")
    bench.turn()
    newcomer = holder(bench, "record-9", process_id(late.pid))
    confirm(bench, client, "fusion")
    assert receipts(bench) == []
    confirm(bench, newcomer, "record-9")
    assert receipts(bench)[0].purged == ("fusion", "record-9")


def test_a_confirmation_of_another_life_does_not_count(bench: SwitchBench, start: Start) -> None:
    client = holder(bench, "fusion", process_id(start().pid))
    bench.ask("mask", "audio")
    bench.turn()
    (order,) = received(client)
    assert isinstance(order, Purge)
    client.send(Purged(modality="audio", name="fusion", boot="another", mask_epoch=order.mask_epoch))
    client.send(
        Closed(
            modality="audio",
            name="fusion",
            boot="life",
            mask_epoch=order.mask_epoch,
            closed_us=0,
            last_seq=None,
            handle_closed=True,
        )
    )
    bench.turn()
    assert receipts(bench) == []
