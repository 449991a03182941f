"""Sensor levels of a room: within a decibel, the offset within a frame, and no value without a measurement."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from calibration import sensors as sensor_report
from edge_mer.capture.room.levels import (
    AudioLevels,
    CalibrationFailed,
    VideoLevels,
    add_audio,
    add_frame,
    claps,
    measured,
    offset_us,
)
from edge_mer.capture.room.quality import advice
from edge_mer.capture.room.sensors_section import write_section
from edge_mer.config import Config, FusionConfig, SensorsConfig, load
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import ConfigError
from edge_mer.fusion.settings import settings_from
from tests.fusion.scene import Scene, tokens

RATE = 16_000
TODAY = datetime.date(2026, 11, 21)
CLAPS_S = (2.0, 3.1, 4.3)


def room(
    seconds: float = 6.0, noise_db: float = -60, voice_db: float = -20, clapping: bool = True
) -> NDArray[np.int16]:
    """Noise, a voice for 1.4 s, and three claps."""
    random, n = np.random.default_rng(0), int(seconds * RATE)
    out = random.standard_normal(n) * 10 ** (noise_db / 20)
    time = np.arange(n) / RATE
    swell = np.clip((0.7 - np.abs(time - 1.0)) / 0.2, 0, 1)
    out += swell * np.sin(2 * np.pi * 220 * time) * 2**0.5 * 10 ** (voice_db / 20)
    for at in CLAPS_S if clapping else ():
        since = time - at
        out += (since >= 0) * np.exp(-np.clip(since, 0, 1) / 0.02) * random.standard_normal(n) * 0.4
    return np.clip(out * 32768, -32768, 32767).astype(np.int16)


def levels_of(samples: NDArray[np.int16], block: int = 512, origin_us: int = 0) -> AudioLevels:
    state = AudioLevels()
    for start in range(0, len(samples), block):
        state = add_audio(state, samples[start : start + block], origin_us + start * SECOND // RATE)
    return state


def video(
    offset_s: float = 0.0, fps: float = 15, seconds: float = 6.0, face: float = 0.4, light: int = 120
) -> VideoLevels:
    """Frames whose claps come ``offset_s`` after those of ``room``."""
    state, random = VideoLevels(), np.random.default_rng(1)
    for i in range(int(seconds * fps)):
        at = i / fps
        picture = np.full((60, 80), light, np.int16) + random.integers(-2, 3, (60, 80))
        if any(0 <= at - (c + offset_s) < 1 / fps for c in CLAPS_S):
            picture[20:40, 20:60] += 80
        state = add_frame(
            state, np.clip(picture, 0, 255).astype(np.uint8), face if i % 5 == 0 else None, round(at * SECOND)
        )
    return state


@pytest.mark.parametrize(("noise", "voice"), [(-60, -20), (-45, -12), (-35, -30)])
def test_levels_are_found_within_a_decibel(noise: float, voice: float) -> None:
    found, _ = measured(levels_of(room(noise_db=noise, voice_db=voice, clapping=False)), VideoLevels())
    assert found.noise_floor_db == pytest.approx(noise, abs=1)
    together = 10 * np.log10(10 ** (noise / 10) + 10 ** (voice / 10))
    assert found.voice_db == pytest.approx(together, abs=1)
    assert (found.exposure, found.face_size, found.offset_s) == (None, None, None)


@given(st.integers(1, 4000))
@settings(max_examples=15, deadline=None)
def test_block_size_does_not_change_the_levels(block: int) -> None:
    whole, parts = levels_of(room(2.5), 40_000), levels_of(room(2.5), block)
    assert parts.rms_db == whole.rms_db
    assert claps(parts) == pytest.approx(claps(whole), abs=SECOND // RATE + 1)


@pytest.mark.parametrize("offset", [-0.2, 0.0, 0.13, 0.4])
def test_the_offset_of_claps_is_found_within_a_frame(offset: float) -> None:
    found = offset_us(levels_of(room()), video(offset)) / SECOND
    assert found == pytest.approx(offset, abs=1.1 / 15)


def test_claps_missing_in_audio_or_video_give_no_offset() -> None:
    without_claps = video(9.0)
    with pytest.raises(CalibrationFailed, match=r"3 claps heard, 0 of them seen; expected at least 2"):
        offset_us(levels_of(room()), without_claps)
    with pytest.raises(CalibrationFailed, match=r"0 claps heard"):
        offset_us(levels_of(room(clapping=False)), video())
    found, lacking = measured(levels_of(room(clapping=False)), video())
    assert found.offset_s is None
    assert any("claps heard" in line for line in lacking)


def test_claps_that_disagree_are_refused_with_the_spread() -> None:
    times = tuple(i * SECOND // 10 for i in range(60))
    odd = VideoLevels(times, (100.0,) * 60, (), tuple(50.0 * (i in (16, 31, 47)) for i in range(60)))
    with pytest.raises(CalibrationFailed, match=r"3 claps disagree by \d+ ms, at most 80 ms"):
        offset_us(levels_of(room()), odd)


def test_exposure_and_face_size_are_medians_and_a_missing_face_is_reported() -> None:
    found, _ = measured(AudioLevels(), video(face=0.4, light=90))
    assert found.exposure == pytest.approx(90, abs=1)
    assert found.face_size == 0.4
    found, lacking = measured(AudioLevels(), video(face=0.0))
    assert found.face_size is None
    assert "camera: no face in 18 frames" in lacking
    assert any(line.startswith("microphone: 0.0 s of audio") for line in lacking)


def test_an_invalid_calibration_date_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[sensors]\ndate = "yesterday"\n')
    with pytest.raises(ConfigError, match=r"sensors\.date"):
        load(tmp_path / "c.toml")


def test_without_a_calibration_fusion_uses_its_defaults() -> None:
    plain = settings_from(FusionConfig(), SensorsConfig())
    assert (plain.delay_us, plain.demand) == ({}, {})
    assert plain == settings_from(FusionConfig())


def test_a_weak_voice_needs_twice_as_many_tokens() -> None:
    weak = settings_from(FusionConfig(), SensorsConfig(noise_floor_db=-30, voice_db=-25))
    assert weak.demand == {"audio": 2.0}
    strict, plain = Scene(weak), Scene(settings_from(FusionConfig()))
    took = {}
    for name, scene in (("strict", strict), ("plain", plain)):
        for hop in range(12):
            if scene.hop("audio").estimate.combination == "a":
                took[name] = hop
                break
    assert took["strict"] >= took["plain"] + 2


def test_late_video_is_aligned_with_its_audio() -> None:
    """The same face, stamped 400 ms late by its camera: with the calibration the estimate is the same."""
    plain, late = Scene(), Scene(settings_from(FusionConfig(), SensorsConfig(offset_s=0.4)))
    late.settings = late.fusion.settings
    shifted = settings_from(FusionConfig(), SensorsConfig(offset_s=0.4))
    assert shifted.delay_us == {"video": 400_000}
    assert settings_from(FusionConfig(), SensorsConfig(offset_s=-0.4)).delay_us == {"audio": 400_000}
    ends = [plain.now_us + 100_000 * i for i in range(1, 4)]
    honest = tokens("video", ends)
    plain.give(honest)
    (piece,) = plain.state.tracks["video"].pieces
    late.give(tokens("video", [e + 400_000 for e in ends]))
    (moved,) = late.state.tracks["video"].pieces
    assert moved.end_us.tolist() == piece.end_us.tolist()
    assert moved.start_us.tolist() == piece.start_us.tolist()
    assert late.state.tracks["video"].watermark_us == plain.state.tracks["video"].watermark_us


def test_the_report_shows_origin_and_effect_of_each_value(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    write_section(
        path,
        SensorsConfig(date="2026-01-01", noise_floor_db=-30, voice_db=-25, face_size=0.1, exposure=20, offset_s=0.2),
    )
    config, origin = load(path)
    text = sensor_report.report(config, origin, TODAY)
    assert f"sensors.exposure         20.0           {path}" in text
    assert "audio                    present from 50% of its tokens on; stamped 0 ms earlier" in text
    assert "video                    present from 50% of its tokens on; stamped 200 ms earlier" in text
    for words in ("calibrated 324 days ago", "less than 10 dB above the noise", "too dark", "the face is small"):
        assert words in text
    assert "never calibrated" in sensor_report.report(Config(), load()[1], TODAY)
    assert (
        advice(SensorsConfig(date="2026-11-20", noise_floor_db=-60, voice_db=-20, exposure=120, face_size=0.4), TODAY)
        == []
    )
    assert "digital silence" in advice(SensorsConfig(date="2026-11-20", noise_floor_db=-100), TODAY)[0]
