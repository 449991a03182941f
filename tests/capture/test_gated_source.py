"""What every capture worker keeps: open exactly while the gate is, nothing after a close, health as measured."""

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
    """A camera worker in a house, and what its readers see."""

    def __init__(self, directory: Path) -> None:
        self.house = SwitchBench(directory)
        self.bus = self.house.bus("life")
        self.device = FakeDevice(self.house.clock)
        self.raw, self.state = self.house.bus().reader("raw/video"), self.house.bus().reader("state/video")
        self.source = GatedSource(self.house.config, self.bus, "camera", "video", self.device, self.leave, BOOT_ID)
        self.worker = CaptureWorker(self.source)
        self.house.turn(self.worker)

    def leave(self, code: int) -> None:
        raise Left(code)

    def run(self, us: int, give: int = 1, repeats: int = 0) -> None:
        """Let time pass with ``give`` frames per frame interval."""
        self.house.run(us, self.worker, step_us=FRAME_US, each=lambda: self.device.give(give, repeats))

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
    house = SwitchBench(tmp_path)
    house.kill_switch()
    device = FakeDevice(house.clock)
    worker = CaptureWorker(GatedSource(house.config, house.bus(), "camera", "video", device, boot_id=BOOT_ID))
    house.run(5 * SECOND, worker)
    assert device.opened == 0
    house.start_switch()
    house.run(SECOND, worker)
    assert device.opened == 0, "a restarted switch starts masked"
    house.ask("unmask", "video")
    house.run(SECOND, worker)
    assert device.opened == 1


def test_frames_carry_the_mask_epoch_and_times_of_the_device(capture: Capture) -> None:
    capture.run(SECOND)
    frames = capture.raw.drain()
    assert 14 <= len(frames) <= 15
    assert {m.body.mask_epoch for m in frames} == {2}
    assert [m.envelope.origin_us for m in frames] == sorted(m.envelope.origin_us for m in frames)


def test_nothing_is_published_after_the_mask_not_even_what_was_captured_before(capture: Capture) -> None:
    capture.run(SECOND)
    before = capture.raw.drain()
    capture.device.give(5)
    capture.house.ask("mask", "video")
    assert capture.house.switch is not None
    capture.house.switch.turn()
    capture.worker.turn()
    capture.house.turn(capture.worker)
    capture.run(SECOND)
    assert capture.raw.drain() == []
    (answer,) = capture.house.answers()
    assert answer.ok
    assert answer.modalities["video"].last_seq == before[-1].envelope.seq
    assert (capture.device.closed, newest(capture.state).gate) == (True, "masked")


def test_an_unmask_opens_a_fresh_device_under_a_new_epoch(capture: Capture) -> None:
    capture.run(SECOND)
    capture.house.ask("mask", "video")
    capture.run(SECOND)
    capture.raw.drain()
    capture.house.ask("unmask", "video")
    capture.run(SECOND)
    frames = capture.raw.drain()
    assert {m.body.mask_epoch for m in frames} == {4}
    assert capture.device.opened == 2


def test_a_mask_and_unmask_in_one_turn_still_closes_the_device(capture: Capture) -> None:
    capture.run(SECOND)
    capture.raw.drain()
    capture.device.give(3)
    capture.house.ask("mask", "video")
    capture.house.ask("unmask", "video", grant=capture.house.grant("video", ahead=1))
    capture.house.turn(capture.worker)
    assert capture.device.opened == 2
    assert capture.raw.drain() == []


def test_a_device_that_does_not_release_ends_the_process(capture: Capture) -> None:
    capture.device.stuck = True
    capture.house.ask("mask", "video")
    capture.house.turn(capture.worker)
    capture.house.clock.advance(RELEASE_US - 1)
    capture.house.turn(capture.worker)
    assert capture.house.answers() == []
    assert newest(capture.state).gate == "live", "masked means closed"
    assert capture.worker.turn() == 1
    capture.house.clock.advance(1)
    with pytest.raises(Left, match=str(EXIT_HELD)):
        capture.worker.turn()


def test_loss_of_the_switch_closes_the_device_within_one_lease(capture: Capture) -> None:
    capture.house.kill_switch()
    capture.run(2 * SECOND + 2 * FRAME_US)
    assert capture.device.closed
    assert newest(capture.state).gate == "masked"


def test_the_state_is_said_on_change_and_once_a_second(capture: Capture) -> None:
    capture.run(SECOND)
    capture.state.drain()
    capture.run(5 * SECOND)
    assert 4 <= len(capture.state.drain()) <= 6
    capture.house.ask("mask", "video")
    capture.house.turn(capture.worker)
    assert newest(capture.state).gate == "masked"


def test_health_warms_up_and_is_then_ok(capture: Capture) -> None:
    assert capture.health() == "warming"
    capture.run(3 * SECOND)
    assert capture.health() == "ok"
    assert newest(capture.state).rate_hz == pytest.approx(15, rel=0.01)


def test_a_device_that_goes_silent_is_absent_after_three_intervals_and_the_jitter(capture: Capture) -> None:
    capture.run(3 * SECOND)
    silent = capture.house.clock.now_us()
    while capture.health() == "ok":
        capture.house.clock.advance(10_000)
        capture.house.turn(capture.worker)
    assert 3 * FRAME_US <= capture.house.clock.now_us() - silent <= 3 * FRAME_US + 100_000 + 10_000
    capture.run(SECOND)
    assert capture.health() == "ok"


def test_the_wait_ends_when_the_silence_becomes_a_loss(capture: Capture) -> None:
    capture.run(SECOND)
    for _ in range(50):
        if capture.health() == "absent":
            return
        wait = capture.worker.turn()
        assert wait > 0
        capture.house.clock.advance(wait)
        capture.house.turn(capture.worker)
    pytest.fail("the loss was never noticed")


def test_a_jittery_device_raises_no_false_alarm_for_an_hour(capture: Capture) -> None:
    capture.run(2 * SECOND)
    for second in range(3600):
        late = (second * 7919) % 180_000
        capture.house.clock.advance(FRAME_US + late)
        capture.device.give()
        capture.worker.turn()
        if second % 30 == 0:
            capture.house.turn(capture.worker)
            assert capture.health() == "ok"
        capture.house.switch.turn()  # type: ignore[union-attr]


def test_identical_frames_are_frozen_from_the_tenth_on_and_not_published(capture: Capture) -> None:
    capture.run(SECOND)
    capture.raw.drain()
    for repeats in range(20):
        capture.run(FRAME_US, repeats=repeats)
    assert capture.health() == "frozen"
    assert len(capture.raw.drain()) == 9
    capture.run(SECOND)
    assert capture.health() == "ok"


def test_what_the_device_itself_says_is_shown(capture: Capture) -> None:
    capture.device.fault = Fault("absent", "the clip has no video track")
    capture.run(2 * SECOND, give=0)
    state = newest(capture.state)
    assert (state.health, state.reason, state.gate) == ("absent", "the clip has no video track", "live")


def test_a_lost_device_says_absent_and_ends_the_worker(capture: Capture) -> None:
    capture.device.error = DeviceError("microphone was unplugged")
    with pytest.raises(DeviceError):
        capture.worker.turn()
    state = newest(capture.state)
    assert (state.health, state.reason) == ("absent", "microphone was unplugged")


def test_a_device_at_three_times_its_rate_is_held_to_one_and_a_half_and_counted(capture: Capture) -> None:
    capture.run(20 * SECOND, give=3)
    published = (capture.source.last_seq or 0) + 1
    assert 15 * 20 <= published <= 1.5 * 15 * 21
    assert capture.source.flood == pytest.approx(20 * 45 - published, abs=3)
    assert newest(capture.state).dropped >= capture.source.flood - 45
    assert capture.worker.counters["video.flood"] == capture.source.flood


def test_a_block_that_does_not_fit_its_topic_is_counted_not_fatal(capture: Capture) -> None:
    capture.device.payload = np.zeros(3_000_000, np.uint8)
    capture.run(SECOND)
    assert capture.raw.drain() == []
    assert capture.worker.counters["video.unfit"] >= 14


Event = st.sampled_from(["mask", "unmask", "kill", "start", "give", "wait", "long wait"])


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60, deadline=None)
@given(st.lists(Event, max_size=25))
def test_whatever_happens_the_device_is_open_only_while_the_gate_is_and_epochs_never_mix(
    tmp_path_factory: pytest.TempPathFactory, events: list[str]
) -> None:
    capture = Capture(tmp_path_factory.mktemp("state"))
    house = capture.house
    privacy = house.bus().reader("privacy")
    for event in events:
        if event in ("mask", "unmask") and house.switch:
            house.ask(event, "video")
        elif event == "kill" and house.switch:
            house.kill_switch()
        elif event == "start" and not house.switch:
            house.start_switch()
        elif event == "give":
            capture.device.give(2)
        elif "wait" in event:
            capture.run(3 * SECOND if event == "long wait" else FRAME_US)
        house.turn(capture.worker)
        assert capture.device.closed != capture.source.gate.is_open
        said = [m.body.modalities["video"] for m in privacy.drain()]
        if said and said[-1].effective == "masked":
            assert capture.device.closed, "the switch says masked while the device is open"
    frames = capture.raw.drain()
    epochs = [m.body.mask_epoch for m in frames]
    assert epochs == sorted(epochs)
    assert seqs(frames) == list(range(len(frames)))


def test_a_thousand_toggles_leave_one_device_open_and_nothing_behind(capture: Capture) -> None:
    for _ in range(1000):
        capture.house.clock.advance(20_000)
        capture.house.ask("mask", "video")
        capture.house.turn(capture.worker)
        assert capture.device.closed
        capture.house.ask("unmask", "video")
        capture.house.turn(capture.worker)
        assert capture.device.is_open
        capture.house.answers()
    assert capture.device.opened == 1001


def test_one_process_holds_two_tracks_and_masks_them_apart(tmp_path: Path) -> None:
    house = SwitchBench(tmp_path)
    bus = house.bus("life")
    audio, video = FakeDevice(house.clock), FakeDevice(house.clock)
    worker = CaptureWorker(
        GatedSource(house.config, bus, "file", "audio", audio, boot_id=BOOT_ID),
        GatedSource(house.config, bus, "file", "video", video, boot_id=BOOT_ID),
    )
    house.turn(worker)
    house.ask("mask", "audio")
    house.turn(worker)
    assert (audio.closed, video.closed) == (True, False)
    worker.close()
    assert video.closed
