"""Every capture worker is open exactly while its gate is, publishes nothing after a close, and measures its health."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_mer.bus import Reader
from edge_mer.capture.device import Fault
from edge_mer.capture.gated_source import EXIT_HELD, RELEASE_US, CaptureWorker, GatedSource
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import DeviceError
from edge_mer.contract.messages import Message, SensorState
from tests.switch_bench import BOOT_ID, FakeDevice, SwitchBench

FRAME_US = 66_667


class Left(Exception):
    """Stands for os._exit."""


class Capture:
    """A camera worker on a switch bench, and readers of its topics."""

    def __init__(self, directory: Path) -> None:
        self.bench = SwitchBench(directory)
        self.bus = self.bench.bus("life")
        self.device = FakeDevice(self.bench.clock)
        self.raw, self.state = self.bench.bus().reader("raw/video"), self.bench.bus().reader("state/video")
        self.source = GatedSource(self.bench.config, self.bus, "camera", "video", self.device, self.leave, BOOT_ID)
        self.worker = CaptureWorker(self.source)
        self.bench.turn(self.worker)

    def leave(self, code: int) -> None:
        raise Left(code)

    def run(self, us: int, give: int = 1, repeats: int = 0) -> None:
        """Let time pass with ``give`` frames per frame interval."""
        self.bench.run(us, self.worker, step_us=FRAME_US, each=lambda: self.device.give(give, repeats))

    def health(self) -> str:
        return newest(self.state).health


def newest(reader: Reader) -> SensorState:
    body = reader.read_latest(reader.topics[0], SECOND).body
    assert isinstance(body, SensorState)
    return body


def seqs(messages: list[Message[Any]]) -> list[int]:
    return [m.envelope.seq for m in messages]


@pytest.fixture
def capture(tmp_path: Path) -> Capture:
    return Capture(tmp_path)


def test_the_device_opens_only_under_a_lease(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)
    bench.kill_switch()
    device = FakeDevice(bench.clock)
    worker = CaptureWorker(GatedSource(bench.config, bench.bus(), "camera", "video", device, boot_id=BOOT_ID))
    bench.run(5 * SECOND, worker)
    assert device.opened == 0
    bench.start_switch()
    bench.run(SECOND, worker)
    assert device.opened == 0, "a restarted switch starts masked"
    bench.ask("unmask", "video")
    bench.run(SECOND, worker)
    assert device.opened == 1


def test_frames_carry_the_mask_epoch_and_times_of_the_device(capture: Capture) -> None:
    capture.run(SECOND)
    frames = capture.raw.drain()
    assert 14 <= len(frames) <= 15
    assert {m.body.mask_epoch for m in frames} == {2}
    assert [m.envelope.origin_us for m in frames] == sorted(m.envelope.origin_us for m in frames)


def test_nothing_is_published_after_a_mask_including_earlier_captures(capture: Capture) -> None:
    capture.run(SECOND)
    before = capture.raw.drain()
    capture.device.give(5)
    capture.bench.ask("mask", "video")
    assert capture.bench.switch is not None
    capture.bench.switch.turn()
    capture.worker.turn()
    capture.bench.turn(capture.worker)
    capture.run(SECOND)
    assert capture.raw.drain() == []
    (answer,) = capture.bench.answers()
    assert answer.ok
    assert answer.modalities["video"].last_seq == before[-1].envelope.seq
    assert (capture.device.closed, newest(capture.state).gate) == (True, "masked")


def test_an_unmask_opens_a_fresh_device_under_a_new_epoch(capture: Capture) -> None:
    capture.run(SECOND)
    capture.bench.ask("mask", "video")
    capture.run(SECOND)
    capture.raw.drain()
    capture.bench.ask("unmask", "video")
    capture.run(SECOND)
    frames = capture.raw.drain()
    assert {m.body.mask_epoch for m in frames} == {4}
    assert capture.device.opened == 2


def test_a_mask_and_unmask_in_one_turn_still_closes_the_device(capture: Capture) -> None:
    capture.run(SECOND)
    capture.raw.drain()
    capture.device.give(3)
    capture.bench.ask("mask", "video")
    capture.bench.ask("unmask", "video", grant=capture.bench.grant("video", ahead=1))
    capture.bench.turn(capture.worker)
    assert capture.device.opened == 2
    assert capture.raw.drain() == []


def test_a_device_that_does_not_release_ends_the_process(capture: Capture) -> None:
    capture.device.stuck = True
    capture.bench.ask("mask", "video")
    capture.bench.turn(capture.worker)
    capture.bench.clock.advance(RELEASE_US - 1)
    capture.bench.turn(capture.worker)
    assert capture.bench.answers() == []
    assert newest(capture.state).gate == "live", "masked means closed"
    assert capture.worker.turn() == 1
    capture.bench.clock.advance(1)
    with pytest.raises(Left, match=str(EXIT_HELD)):
        capture.worker.turn()


def test_a_device_that_could_not_be_interrupted_at_first_is_interrupted_again_before_the_limit(
    capture: Capture,
) -> None:
    capture.device.stuck = True
    capture.bench.ask("mask", "video")
    capture.bench.turn(capture.worker)
    capture.device.stuck = False
    capture.bench.clock.advance(capture.worker.turn())
    capture.bench.turn(capture.worker)
    (answer,) = capture.bench.answers()
    assert answer.ok


def test_loss_of_the_switch_closes_the_device_within_one_lease(capture: Capture) -> None:
    capture.bench.kill_switch()
    capture.run(2 * SECOND + 2 * FRAME_US)
    assert capture.device.closed
    assert newest(capture.state).gate == "masked"


def test_the_state_is_published_on_change_and_once_a_second(capture: Capture) -> None:
    capture.run(SECOND)
    capture.state.drain()
    capture.run(5 * SECOND)
    assert 4 <= len(capture.state.drain()) <= 6
    capture.bench.ask("mask", "video")
    capture.bench.turn(capture.worker)
    assert newest(capture.state).gate == "masked"


def test_health_warms_up_and_is_then_ok(capture: Capture) -> None:
    assert capture.health() == "warming"
    capture.run(3 * SECOND)
    assert capture.health() == "ok"
    assert newest(capture.state).rate_hz == pytest.approx(15, rel=0.01)


def test_a_device_that_goes_silent_is_absent_after_three_intervals_and_the_jitter(capture: Capture) -> None:
    capture.run(3 * SECOND)
    silent = capture.bench.clock.now_us()
    while capture.health() == "ok":
        capture.bench.clock.advance(10_000)
        capture.bench.turn(capture.worker)
    assert 3 * FRAME_US <= capture.bench.clock.now_us() - silent <= 3 * FRAME_US + 100_000 + 10_000
    capture.run(SECOND)
    assert capture.health() == "ok"


def test_the_wait_ends_when_the_device_counts_as_lost(capture: Capture) -> None:
    capture.run(SECOND)
    for _ in range(50):
        if capture.health() == "absent":
            return
        wait = capture.worker.turn()
        assert wait > 0
        capture.bench.clock.advance(wait)
        capture.bench.turn(capture.worker)
    pytest.fail("the loss was not detected")


def test_a_jittery_device_raises_no_false_alarm_for_an_hour(capture: Capture) -> None:
    capture.run(2 * SECOND)
    for second in range(3600):
        late = (second * 7919) % 180_000
        capture.bench.clock.advance(FRAME_US + late)
        capture.device.give()
        capture.worker.turn()
        if second % 30 == 0:
            capture.bench.turn(capture.worker)
            assert capture.health() == "ok"
        capture.bench.switch.turn()  # type: ignore[union-attr]


def test_identical_frames_are_frozen_from_the_tenth_on_and_not_published(capture: Capture) -> None:
    capture.run(SECOND)
    capture.raw.drain()
    for repeats in range(20):
        capture.run(FRAME_US, repeats=repeats)
    assert capture.health() == "frozen"
    assert len(capture.raw.drain()) == 9
    capture.run(SECOND)
    assert capture.health() == "ok"


def test_a_fault_of_the_device_is_published(capture: Capture) -> None:
    capture.device.fault = Fault("absent", "the clip has no video track")
    capture.run(2 * SECOND, give=0)
    state = newest(capture.state)
    assert (state.health, state.reason, state.gate) == ("absent", "the clip has no video track", "live")


def test_a_lost_device_is_absent_and_ends_the_worker(capture: Capture) -> None:
    capture.device.error = DeviceError("microphone was unplugged")
    with pytest.raises(DeviceError):
        capture.worker.turn()
    state = newest(capture.state)
    assert (state.health, state.reason) == ("absent", "microphone was unplugged")


def test_a_device_at_three_times_its_rate_is_limited_and_counted(capture: Capture) -> None:
    capture.run(20 * SECOND, give=3)
    published = (capture.source.last_seq or 0) + 1
    assert 15 * 20 <= published <= 1.5 * 15 * 21
    assert capture.source.flood == pytest.approx(20 * 45 - published, abs=3)
    assert newest(capture.state).dropped >= capture.source.flood - 45
    assert capture.worker.counters["video.flood"] == capture.source.flood


def test_an_oversized_block_is_counted_and_not_published(capture: Capture) -> None:
    capture.device.payload = np.zeros(3_000_000, np.uint8)
    capture.run(SECOND)
    assert capture.raw.drain() == []
    assert capture.worker.counters["video.unfit"] >= 14


Event = st.sampled_from(["mask", "unmask", "kill", "start", "give", "wait", "long wait"])


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60, deadline=None)
@given(st.lists(Event, max_size=25))
def test_after_any_events_the_device_is_open_only_while_the_gate_is(
    tmp_path_factory: pytest.TempPathFactory, events: list[str]
) -> None:
    capture = Capture(tmp_path_factory.mktemp("state"))
    bench = capture.bench
    privacy = bench.bus().reader("privacy")
    for event in events:
        if event in ("mask", "unmask") and bench.switch:
            bench.ask(event, "video")
        elif event == "kill" and bench.switch:
            bench.kill_switch()
        elif event == "start" and not bench.switch:
            bench.start_switch()
        elif event == "give":
            capture.device.give(2)
        elif "wait" in event:
            capture.run(3 * SECOND if event == "long wait" else FRAME_US)
        bench.turn(capture.worker)
        assert capture.device.closed != capture.source.gate.is_open
        states = [m.body.modalities["video"] for m in privacy.drain()]
        if states and states[-1].effective == "masked":
            assert capture.device.closed, "the switch says masked while the device is open"
    frames = capture.raw.drain()
    epochs = [m.body.mask_epoch for m in frames]
    assert epochs == sorted(epochs)
    assert seqs(frames) == list(range(len(frames)))


def test_three_hundred_toggles_leave_one_device_open(capture: Capture) -> None:
    for _ in range(300):
        capture.bench.clock.advance(20_000)
        capture.bench.ask("mask", "video")
        capture.bench.turn(capture.worker)
        assert capture.device.closed
        capture.bench.ask("unmask", "video")
        capture.bench.turn(capture.worker)
        assert capture.device.is_open
        capture.bench.answers()
    assert capture.device.opened == 301


def test_two_tracks_of_one_process_are_masked_separately(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)
    bus = bench.bus("life")
    audio, video = FakeDevice(bench.clock), FakeDevice(bench.clock)
    worker = CaptureWorker(
        GatedSource(bench.config, bus, "file", "audio", audio, boot_id=BOOT_ID),
        GatedSource(bench.config, bus, "file", "video", video, boot_id=BOOT_ID),
    )
    bench.turn(worker)
    bench.ask("mask", "audio")
    bench.turn(worker)
    assert (audio.closed, video.closed) == (True, False)
    worker.close()
    assert video.closed
