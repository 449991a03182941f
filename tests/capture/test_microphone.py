"""The microphone worker on a real sound server: the audio that is played is published with its time."""

from __future__ import annotations

import re
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
from tests.capture.fake_portaudio import FakePortAudio
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


LIVE = (
    # rate, gain of each channel
    (48_000, (1, -1)),
    (44_100, (1,)),
    (44_100, (0, 0, 0, 0, 1, 0)),
    (96_000, (0,) * 9 + (1,) + (0,) * 6),
)


@pytest.mark.end_to_end
@pytest.mark.parametrize(("rate", "gains"), LIVE)
def test_a_voice_comes_through_at_any_rate_and_on_any_channel(
    rate: int, gains: tuple[int, ...], tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    with pulseaudio(tmp_path_factory.mktemp("pulse"), rate, len(gains)) as server:
        time = np.arange(20 * rate) / rate
        voice = (8_000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)
        player = server.play(np.stack([gain * voice for gain in gains], 1))
        with capture_process(tmp_path, "microphone", "audio", server.env) as capture:
            capture.until_frames(5)
            settled(capture)
            blocks = capture.until_frames(30)
            player.kill()
            player.wait()
    sound = np.concatenate([m.payload[0] for m in blocks]).astype(np.float64)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    assert np.argmax(spectrum) * SAMPLE_RATE / len(sound) == pytest.approx(440, abs=2)
    assert -7 < 20 * np.log10(np.sqrt(np.square(sound).mean()) / 5657) < 1, "the server halves a centre channel itself"
    assert set(np.diff([m.body.sample_index for m in blocks])) == {BLOCK}
    assert np.median(np.diff([m.envelope.origin_us for m in blocks])) == pytest.approx(BLOCK_US, rel=0.01)


@pytest.mark.end_to_end
def test_a_muted_microphone_is_silent_until_it_is_heard_again(server: PulseAudio, tmp_path: Path) -> None:
    with (
        server.quiet_room(noise=0),
        capture_process(tmp_path, "microphone", "audio", server.env) as capture,
    ):
        state = capture.until_health("silent")
        assert state.reason == "digital silence: muted?"
        player = server.play(chirp(3.0))
        capture.until_health("ok")
        player.wait()


@pytest.mark.end_to_end
def test_the_microphone_follows_the_default_device_of_the_sound_server(server: PulseAudio, capture: Capture) -> None:
    server.control("load-module", "module-null-sink", "sink_name=other", "rate=44100", "channels=2")
    with server.quiet_room("other", noise=3_000):
        server.control("set-default-source", "other.monitor")

        def hears_the_other() -> bool:
            capture.supervise()  # the sound server may end the stream in place of moving it
            return bool(np.abs(capture.raw[-1].payload[0]).max() > 1_000)

        capture.until(hears_the_other)
        capture.until_health("ok")


def test_a_card_that_refuses_16_khz_mono_opens_at_its_own_rate() -> None:
    card = FakePortAudio(rate=48_000, channels=2, dtype="int16")
    blocks, fault = card.record(seconds=2.0)
    assert fault is None
    assert (card.stream.rate, card.stream.channels) == (48_000, 2)
    assert {len(b.payload[0]) for b in blocks} == {BLOCK}
    assert [b.body.sample_index for b in blocks] == [i * BLOCK for i in range(len(blocks))]
    assert np.abs(np.diff([b.origin_us for b in blocks]) - BLOCK_US).max() <= 1
    assert abs(blocks[0].origin_us - card.began_us) < 1000
    sound = np.concatenate([b.payload[0] for b in blocks]) / 32_768
    expected = card.voice(np.arange(len(sound)) / SAMPLE_RATE)
    assert np.abs(sound - expected)[1_000:-1_000].max() < 1e-3


def test_a_card_that_takes_nothing_is_absent_with_its_reason() -> None:
    _, fault = FakePortAudio(rate=11_025, channels=1, dtype="int16").record(seconds=0)
    assert fault is not None
    assert fault.health == "absent"
    assert re.search(r"cannot open USB card: it takes none of .* Hz .* see: edge-mer devices", fault.reason)


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
