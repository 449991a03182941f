"""The voice encoder: two tokens per second of the last 2 s, the same bytes however the samples were cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mer.bench.recognition import samples
from edge_mer.contract.errors import InputError, ModelError
from edge_mer.fusion.confidence import softmax
from edge_mer.perception.audio import AudioEncoder
from edge_mer.perception.audio_adapter import open_encoder
from edge_mer.perception.encoder import AudioBlock
from edge_mer.perception.voice import CONTEXT, CONTEXT_FRAMES, HISTORY, LOG_MEL, TOP, VoiceEncoder, log_mel
from edge_mer.runtime.backend import TensorSpec
from edge_mer.runtime.onnx import OnnxRuntime
from tests.perception.fakes import F32, activity_graph, audio_graph, voice_graph
from tests.perception.test_audio_encoder import fold, joined

SPOKEN = Path(__file__).parents[2] / "edge_mer" / "demo" / "assets" / "demo.mkv"
RANDOM = np.random.default_rng(0)
SECONDS = 3
VOICE = (RANDOM.normal(0, 0.1, SECONDS * 16_000) * np.sin(np.arange(SECONDS * 16_000) / 900)).astype(np.float32)


def encoder() -> VoiceEncoder:
    return VoiceEncoder(voice_graph(), AudioEncoder(None, activity_graph()))


def test_it_declares_two_tokens_per_second_and_their_delay() -> None:
    spec = encoder().spec
    assert (spec.modality, spec.rate_hz, spec.dim, spec.latency_us) == ("audio", 2.0, 2, 500_000)
    assert spec.model == "0123456789abcdef"


@given(cuts=st.lists(st.integers(0, len(VOICE)), max_size=40))
@settings(max_examples=40)
def test_any_cutting_of_the_samples_gives_the_same_bytes(cuts: list[int]) -> None:
    assert joined(fold(encoder(), VOICE, sorted(cuts), 7)) == joined(fold(encoder(), VOICE, [], 7))


def test_each_token_spans_its_half_second_from_the_first_sample_on() -> None:
    (tokens,) = fold(encoder(), VOICE, [], start_us=1_000_000)
    assert tokens.start_us.tolist() == [1_000_000 + 500_000 * i for i in range(2 * SECONDS)]
    assert (tokens.end_us - tokens.start_us == 500_000).all()
    assert tokens.context == 1_000_000
    assert tokens.cut


def test_a_token_knows_nothing_of_what_comes_after_it() -> None:
    changed = VOICE.copy()
    changed[16_000:] = 0.9
    (one,), (other,) = fold(encoder(), VOICE, []), fold(encoder(), changed, [])
    assert (one.values[:2] == other.values[:2]).all()
    assert (one.values[2:] != other.values[2:]).any()


def test_a_token_forgets_what_is_older_than_two_seconds() -> None:
    changed = VOICE.copy()
    changed[:8_000] = RANDOM.normal(0, 0.3, 8_000)
    (one,), (other,) = fold(encoder(), VOICE, []), fold(encoder(), changed, [])
    assert (one.values[3] != other.values[3]).any()
    assert (one.values[5:] == other.values[5:]).all()


def test_a_gap_starts_a_new_context_and_the_old_sound_is_gone() -> None:
    ear = encoder()
    state, _ = ear.step(ear.initial(), AudioBlock(VOICE[:13_000], 0))
    _, after = ear.step(state, AudioBlock(VOICE[:17_000], 9_000_000))
    (fresh,) = fold(ear, VOICE[:17_000], [], 9_000_000)
    assert joined([after]) == joined([fresh])
    assert after.cut
    assert after.context == 9_000_000


def test_only_the_first_tokens_of_a_stretch_are_cut() -> None:
    parts = fold(encoder(), VOICE, list(range(512, len(VOICE), 512)))
    assert [t.cut for t in parts] == [True] + [False] * (len(parts) - 1)


@pytest.mark.parametrize(("loud_ms", "valid"), [(500, True), (375, True), (250, True), (125, False), (0, False)])
def test_a_token_is_valid_when_half_of_it_holds_a_voice(loud_ms: int, valid: bool) -> None:
    sound = np.zeros(8_000, np.float32)
    sound[len(sound) - loud_ms * 16 :] = 0.5
    (tokens,) = fold(encoder(), sound, [])
    # The window of the last frame before a loud stretch reaches into it by 12.5 ms, which the fake detector hears.
    assert bool(tokens.valid[-1]) == valid


@pytest.mark.parametrize("level", [0.0, 5.0, -5.0, 1e30])
def test_silence_and_clipping_give_finite_tokens(level: float) -> None:
    (tokens,) = fold(encoder(), np.full(8_000, level, np.float32), [])
    assert np.isfinite(tokens.values).all()
    assert len(tokens) == 1


@pytest.mark.parametrize("samples", [np.array([np.nan], np.float32), np.zeros(4, np.int16), None])
def test_a_wrong_block_is_refused(samples: Any) -> None:
    ear = encoder()
    with pytest.raises(InputError):
        ear.step(ear.initial(), AudioBlock(samples, 0))


def test_louder_sound_moves_every_frame_alike() -> None:
    quiet = RANDOM.normal(0, 0.01, HISTORY + 1_600).astype(np.float32)
    moved = log_mel(quiet * np.float32(10)) - log_mel(quiet)
    assert np.abs(moved - 2).max() < 1e-4


def test_digital_silence_is_the_floor() -> None:
    assert np.abs(log_mel(np.zeros(HISTORY + 1_600, np.float32)) + 10).max() < 1e-5


def test_the_front_end_is_whispers_within_1e_4() -> None:
    """Whisper's frames are centred on every 160th sample; here the first is centred on sample 200."""
    torch = pytest.importorskip("torch")
    from edge_mer.large.compat_torchaudio import repair_import

    repair_import()
    audio_utils = pytest.importorskip("transformers.audio_utils")
    samples = RANDOM.normal(0, 0.1, HISTORY + 160 * CONTEXT_FRAMES).astype(np.float32)
    bank = audio_utils.mel_filter_bank(201, 80, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
    spectrum = torch.stft(
        torch.from_numpy(samples), 400, 160, window=torch.hann_window(400), center=False, return_complex=True
    )
    expected = np.log10(np.maximum((spectrum.abs() ** 2).T.numpy() @ bank, 1e-10))
    assert np.abs(log_mel(samples) - expected)[:, :TOP].max() <= 1e-4


def test_half_a_step_of_noise_moves_no_probability_of_the_shipped_voice(models: Path) -> None:
    """What two codecs make of one recording differs by that much. A window without a voice gives no token."""
    graph = OnnxRuntime().load(models / "audio.onnx")
    sound = samples(SPOKEN).astype(np.float32) / np.float32(32_768)
    noise = RANDOM.uniform(-0.5, 0.5, len(sound)).astype(np.float32) / np.float32(32_768)
    moved = []
    for start in range(0, len(sound) - HISTORY - CONTEXT + 1, 8_000):
        some = slice(start, start + HISTORY + CONTEXT)
        if np.abs(sound[some][-8_000:]).max() < 0.1:
            continue
        two = [graph.run({LOG_MEL: log_mel(x[some])[None]})["logits"][0] for x in (sound, sound + noise)]
        moved.append(np.abs(softmax(two[0]) - softmax(two[1])).max())
    assert len(moved) > 10
    assert max(moved) <= 0.01


def test_a_graph_with_other_inputs_is_refused_before_it_runs() -> None:
    other = replace(voice_graph(), inputs={"logmel": TensorSpec((1, 100, 80), F32)})
    with pytest.raises(ModelError, match=r"expected logmel \[1, 200, 80\]"):
        VoiceEncoder(other, AudioEncoder(None, activity_graph()))


def test_the_graphs_input_chooses_the_encoder(tmp_path: Path) -> None:
    class Graphs:
        name = "graphs"

        def __init__(self, graph: Any) -> None:
            self.graph = graph

        def load(self, path: Path) -> Any:
            return activity_graph() if path.name == "speech.onnx" else self.graph

        def describe(self) -> dict[str, str]:
            return {}

    assert isinstance(open_encoder(Graphs(voice_graph()), tmp_path), VoiceEncoder)
    assert isinstance(open_encoder(Graphs(audio_graph()), tmp_path), AudioEncoder)
