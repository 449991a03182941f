"""The microphone worker on a real sound server: what was played is what is published, in time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_mer.capture.microphone import BLOCK, BLOCK_US
from edge_mer.capture.sample_clock import SampleClock
from edge_mer.contract.clock import SECOND
from edge_mer.contract.raw import SAMPLE_RATE
from tests.capture.process import Capture, capture_process
from tests.devices import PulseAudio, pulseaudio


@pytest.fixture
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PulseAudio]:
    with pulseaudio(tmp_path_factory.mktemp("pulse")) as server:
        yield server


@pytest.fixture
def capture(sound: PulseAudio, tmp_path: Path) -> Iterator[Capture]:
    with sound.quiet_room(), capture_process(tmp_path, "microphone", "audio", sound.env) as running:
        running.until_frames(5)
        yield running


def settled(capture: Capture) -> int:
    """The number of blocks once the sound server has found its own latency."""
    capture.until(lambda: capture.raw[-1].body.sample_index > 2 * SAMPLE_RATE)
    return len(capture.raw)


def heard(capture: Capture, since: int) -> NDArray[np.float64]:
    return np.concatenate([m.payload[0] for m in capture.raw[since:]]).astype(np.float64)


def chirp(seconds: float) -> NDArray[np.int16]:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (12_000 * np.sin(2 * np.pi * (200 + 900 * time) * time)).astype(np.int16)


def best_match(recording: NDArray[np.float64], played: NDArray[np.float64]) -> tuple[float, int]:
    """Normalised correlation of ``played`` at its best place in ``recording``, and the place."""
    size = 1 << (len(recording) + len(played)).bit_length()
    product = np.fft.irfft(np.fft.rfft(recording, size) * np.conj(np.fft.rfft(played, size)), size)
    place = int(np.argmax(product[: len(recording) - len(played)]))
    part = recording[place : place + len(played)]
    return float(product[place] / (np.linalg.norm(part) * np.linalg.norm(played))), place


@pytest.mark.end_to_end
def test_what_is_played_is_what_is_published(sound: PulseAudio, capture: Capture) -> None:
    played = chirp(1.0)
    since = settled(capture)
    began = capture.clock.now_us()
    player = sound.play(played)
    capture.until_frames(round(3 * SAMPLE_RATE / BLOCK))
    player.wait()
    correlation, place = best_match(heard(capture, since), played.astype(np.float64))
    assert correlation > 0.95
    start = capture.raw[since].envelope.origin_us + place * SECOND // SAMPLE_RATE
    assert 0 <= start - began < SECOND


@pytest.mark.end_to_end
def test_blocks_follow_each_other_in_samples_and_in_time(capture: Capture) -> None:
    settled(capture)
    blocks = capture.until_frames(60)
    assert {(m.payload[0].dtype.name, m.payload[0].shape) for m in blocks} == {("int16", (BLOCK,))}
    assert set(np.diff([m.body.sample_index for m in blocks])) == {BLOCK}
    assert [m.envelope.seq for m in blocks] == list(range(blocks[0].envelope.seq, blocks[0].envelope.seq + 60))
    steps = np.diff([m.envelope.origin_us for m in blocks])
    assert steps.min() > 0
    assert np.median(steps) == pytest.approx(BLOCK_US, rel=0.01)
    ages = [m.envelope.created_us - m.envelope.origin_us for m in blocks]
    assert min(ages) >= 0
    assert max(ages) < SECOND
    assert capture.states[-1].health == "ok"


@pytest.mark.end_to_end
def test_a_mask_releases_the_microphone_and_an_unmask_hears_again(sound: PulseAudio, capture: Capture) -> None:
    assert sound.listeners() == 1
    answer, took = capture.command("mask")
    assert answer.ok
    assert took < SECOND
    assert sound.listeners() == 0
    silent = len(capture.raw)
    assert answer.modalities["audio"].last_seq == capture.raw[-1].envelope.seq
    if capture.process.poll() is not None:
        return  # PulseAudio was slow to release, so the worker ended
    capture.command("unmask")
    (first, *_) = capture.until_frames(3)
    assert capture.raw.index(first) == silent
    assert first.body.sample_index == 0
    assert first.body.mask_epoch > answer.modalities["audio"].mask_epoch


@pytest.mark.end_to_end
def test_a_microphone_that_goes_away_ends_the_worker_so_that_it_starts_anew(
    sound: PulseAudio, capture: Capture
) -> None:
    sound.stop()
    capture.until(lambda: capture.process.poll() is not None)
    assert capture.process.poll() == 1
    capture.until(lambda: capture.states[-1].health == "absent")


@pytest.mark.end_to_end
def test_without_any_microphone_it_is_absent_and_says_so(tmp_path: Path) -> None:
    nothing = PulseAudio(tmp_path)
    with capture_process(tmp_path, "microphone", "audio", nothing.env) as capture:
        state = capture.until_health("absent")
        assert state.gate == "live"
        assert "edge-mer devices" in (state.reason or "")


@given(st.lists(st.integers(0, 150_000), min_size=2, max_size=200), st.integers(-100, 100))
def test_block_times_never_go_back_and_stay_near_the_converter(jitter: list[int], drift_ppm: int) -> None:
    clock = SampleClock(SAMPLE_RATE)
    last = -1
    for n, late in enumerate(jitter):
        true = 10 * SECOND + n * BLOCK_US * (1_000_000 + drift_ppm) // 1_000_000
        stamp = clock.stamp(n * BLOCK, true + late)
        assert stamp > last
        assert abs(stamp - true) <= 200_000
        last = stamp


def test_slow_drift_of_a_devices_clock_is_followed_for_hours() -> None:
    clock = SampleClock(SAMPLE_RATE)
    for n in range(0, 4 * 3600 * 31, 1):
        true = n * BLOCK_US * 1_000_200 // 1_000_000
        stamp = clock.stamp(n * BLOCK, true)
        assert abs(stamp - true) < 1000
    assert clock.jumps == 0


def test_lost_samples_move_the_time_forward_at_once() -> None:
    clock = SampleClock(SAMPLE_RATE)
    clock.stamp(0, SECOND)
    assert clock.stamp(BLOCK, 3 * SECOND) == 3 * SECOND
    assert clock.jumps == 1
