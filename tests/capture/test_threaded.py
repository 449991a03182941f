"""The thread of a device: a bounded queue, nothing after an abort, and the end of the process when it hangs."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from edge_mer.capture.device import Captured, Fault
from edge_mer.capture.gated_source import EXIT_HELD
from edge_mer.capture.threaded import DeviceThread, ThreadedDevice
from edge_mer.contract.errors import DeviceError
from edge_mer.contract.messages import RawVideo
from edge_mer.host.readable import readable
from tests.capture.process import capture_process


class Scripted(ThreadedDevice):
    """A device whose thread is controlled by the test."""

    def __init__(self) -> None:
        super().__init__("scripted", 66_667, capacity=4)
        self.go, self.done = threading.Event(), threading.Event()
        self.give = 0
        self.fail: Exception | None = None

    def _handles(self) -> list[str]:
        return []

    def _run(self, opening: DeviceThread) -> None:
        self.go.wait()
        for n in range(self.give):
            opening.put(Captured(n, n, RawVideo(frame=n, width=1, height=1, mask_epoch=0)))
        if self.fail:
            raise self.fail
        opening.set_fault(Fault("absent", "done"))
        self.done.set()
        opening.aborted.wait()


@pytest.fixture
def device() -> Scripted:
    return Scripted()


def frames(blocks: list[Captured]) -> list[int]:
    return [b.origin_us for b in blocks]


def test_a_full_queue_drops_the_oldest_block_and_counts_it(device: Scripted) -> None:
    device.give = 10
    device.open()
    device.go.set()
    device.done.wait()
    assert frames(device.read()) == [6, 7, 8, 9]
    assert device.counters["dropped"] == 6
    assert device.fault == Fault("absent", "done")
    assert device.read() == []


def test_a_block_wakes_the_loop(device: Scripted) -> None:
    device.give = 1
    device.open()
    assert not readable(device.wake[0], 0)
    device.go.set()
    assert readable(device.wake[0], 10)


def test_an_abort_discards_blocks_and_reopening_starts_empty(device: Scripted) -> None:
    device.give = 3
    device.open()
    device.go.set()
    device.done.wait()
    device.abort()
    assert device.read() == []
    assert device.join(10)
    assert device.closed
    device.give = 1
    device.done.clear()
    device.open()
    device.done.wait()
    assert frames(device.read()) == [0]


def test_blocks_put_after_an_abort_are_discarded(device: Scripted) -> None:
    device.give = 3
    device.open()
    device.abort()
    device.go.set()
    assert device.join(10)
    assert device.read() == []


def test_an_exception_in_the_thread_raises_a_device_error_with_the_cause(device: Scripted) -> None:
    device.fail = ValueError("no such driver")
    device.open()
    device.go.set()
    device.join(10)
    with pytest.raises(DeviceError, match="scripted: ValueError: no such driver"):
        device.read()


@pytest.mark.end_to_end
def test_a_hung_driver_ends_the_process_which_confirms_the_close(tmp_path: Path) -> None:
    module = "tests.capture.stuck_camera"
    with capture_process(tmp_path, "camera", "video", module=module) as capture:
        capture.until_frames(1)
        answer, took = capture.command("mask")
        assert answer.ok
        assert capture.process.poll() == EXIT_HELD
        assert 60_000 <= took < 1_000_000
