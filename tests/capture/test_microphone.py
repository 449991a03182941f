"""The microphone worker on a real sound server: the audio that is played is published with its time."""

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
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PulseAudio]:
    with pulseaudio(tmp_path_factory.mktemp("pulse")) as running:
        yield running


@pytest.fixture
def capture(server: PulseAudio, tmp_path: Path) -> Iterator[Capture]:
    with server.quiet_room(), capture_process(tmp_path, "microphone", "audio", server.env) as running:
        running.until_frames(5)
        yield running


def settled(capture: Capture) -> int:
    """The number of blocks once the sound server's latency estimate has settled."""
    capture.until(lambda: capture.raw[-1].body.sample_index > 2 * SAMPLE_RATE)
    return len(capture.raw)


def recorded(capture: Capture, since: int) -> NDArray[np.float64]:
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
def test_played_audio_is_published_with_its_time(server: PulseAudio, capture: Capture) -> None:
    played = chirp(1.0)
    since = settled(capture)
    began = capture.clock.now_us()
    player = server.play(played)
    capture.until_frames(round(3 * SAMPLE_RATE / BLOCK))
    player.wait()
    correlation, place = best_match(recorded(capture, since), played.astype(np.float64))
    assert correlation > 0.95
    start = capture.raw[since].envelope.origin_us + place * SECOND // SAMPLE_RATE
    assert 0 <= start - began < SECOND


@pytest.mark.end_to_end
def test_blocks_are_contiguous_in_samples_and_time(capture: Capture) -> None:
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
def test_a_mask_releases_the_microphone_and_an_unmask_reopens_it(server: PulseAudio, capture: Capture) -> None:
    assert server.listeners() == 1
    answer, took = capture.command("mask")
    assert answer.ok
    assert took < SECOND
    assert server.listeners() == 0
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
def test_a_lost_microphone_ends_the_worker(server: PulseAudio, capture: Capture) -> None:
    server.stop()
    capture.until(lambda: capture.process.poll() is not None)
    assert capture.process.poll() == 1
    capture.until(lambda: capture.states[-1].health == "absent")


@pytest.mark.end_to_end
def test_a_missing_microphone_is_absent_with_a_reason(tmp_path: Path) -> None:
    nothing = PulseAudio(tmp_path)
    with capture_process(tmp_path, "microphone", "audio", nothing.env) as capture:
        state = capture.until_health("absent")
        assert state.gate == "live"
        assert "edge-mer devices" in (state.reason or "")


@given(st.lists(st.integers(0, 150_000), min_size=2, max_size=200), st.integers(-100, 100))
def test_block_times_are_monotonic_and_near_the_adc_time(jitter: list[int], drift_ppm: int) -> None:
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
