"""The large tier: real architectures with random weights, from disk, under the contract of the starter encoders."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from edge_mer.contract.errors import InputError, MissingExtra, ModelError
from edge_mer.large.checkpoint import find, pull
from edge_mer.perception.detect import Face, FaceDetector, Image
from edge_mer.perception.encoder import AudioBlock, TextSegment, VideoFrame, Word
from edge_mer.perception.load import load_encoder
from edge_mer.runtime.onnx import OnnxRuntime
from tests.large import checkpoints

MODELS = Path(__file__).parents[2] / "edge_mer" / "models"
VOICE = (np.random.default_rng(0).normal(0, 0.1, 24_000) * np.sin(np.arange(24_000) / 900)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


def open_large(modality, name):
    return load_encoder(modality, OnnxRuntime(), MODELS, large=str(name))


class OneFace(FaceDetector):
    def detect(self, image: Image) -> list[Face]:
        return [Face((10.0, 10.0, 40.0, 40.0))]


@pytest.mark.parametrize("kind", ["Wav2Vec2", "WavLM", "Hubert"])
def test_an_audio_model_gives_hidden_states_at_eight_per_second(folder, kind):
    encoder = open_large("audio", checkpoints.voice(folder / kind, kind))
    assert (encoder.spec.modality, encoder.spec.rate_hz, encoder.spec.dim, encoder.spec.latency_us) == (
        "audio",
        8.0,
        16,
        500_000,
    )
    _, tokens = encoder.step(encoder.initial(), AudioBlock(VOICE, 5_000))
    assert tokens.values.shape == (12, 16)
    assert tokens.start_us.tolist() == [5_000 + 125_000 * i for i in range(12)]
    assert tokens.cut
    assert np.ptp(tokens.values, 0).max() > 0


@pytest.mark.parametrize("cuts", [[1], [8_000], list(range(0, 24_000, 700)), [23_999]])
def test_any_split_of_the_audio_gives_the_same_bytes(folder, cuts):
    encoder = open_large("audio", checkpoints.voice(folder / "cut", "Wav2Vec2"))
    _, whole = encoder.step(encoder.initial(), AudioBlock(VOICE, 0))
    state, parts, flags = encoder.initial(), [], []
    for low, high in zip([0, *cuts], [*cuts, len(VOICE)], strict=True):
        state, tokens = encoder.step(state, AudioBlock(VOICE[low:high], low * 125 // 2))
        parts.append(tokens.values)
        flags += [tokens.cut] if len(tokens) else []
    assert np.concatenate(parts).tobytes() == whole.values.tobytes()
    assert flags == [True] + [False] * (len(flags) - 1)


def test_a_gap_drops_the_audio_before_it(folder):
    encoder = open_large("audio", checkpoints.voice(folder / "gap", "WavLM"))
    state, _ = encoder.step(encoder.initial(), AudioBlock(VOICE[:7_000], 0))
    _, after = encoder.step(state, AudioBlock(VOICE[:9_000], 5_000_000))
    _, fresh = encoder.step(encoder.initial(), AudioBlock(VOICE[:9_000], 5_000_000))
    assert after.values.tobytes() == fresh.values.tobytes()
    assert after.start_us.tolist() == fresh.start_us.tolist()
    assert after.cut


def test_large_audio_model_same_errors(folder):
    encoder = open_large("audio", checkpoints.voice(folder / "nan", "Wav2Vec2"))
    with pytest.raises(InputError, match="NaN"):
        encoder.step(encoder.initial(), AudioBlock(np.full(800, np.nan, np.float32), 0))


def test_an_expression_model_gives_seven_labels_then_its_state(folder, monkeypatch):
    monkeypatch.setattr("edge_mer.large.load.detector", lambda backend, models, yunet: OneFace())
    encoder = open_large("video", checkpoints.face(folder / "vit"))
    assert (encoder.spec.modality, encoder.spec.rate_hz, encoder.spec.dim) == ("video", 5.0, 7 + 16)
    image = np.random.default_rng(1).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    _, tokens = encoder.step(encoder.initial(), VideoFrame(image, 0))
    assert tokens.values[0, :7].sum() == pytest.approx(1, abs=1e-5)
    import torch
    from transformers import ViTForImageClassification

    net = ViTForImageClassification.from_pretrained(folder / "vit")
    crop = cv2.resize(cv2.cvtColor(image[10:50, 10:50], cv2.COLOR_BGR2RGB), (32, 32)).astype(np.float32) / 127.5 - 1
    with torch.no_grad():
        posterior = torch.softmax(net(torch.from_numpy(crop.transpose(2, 0, 1)[None])).logits[0], -1).numpy()
    ours = ["neutral", "happy", "sad", "angry", "fear", "disgust", "surprise"]
    expected = [posterior[checkpoints.LABELS.index(e)] for e in ours]
    assert np.abs(tokens.values[0, :7] - expected).max() < 1e-4


def test_an_expression_model_with_other_labels_is_refused(folder):
    name = checkpoints.face(folder / "cats", ("cat", "dog", "happy", "sad", "angry", "fear", "neutral"))
    with pytest.raises(ModelError, match="lacks disgust, surprise"):
        open_large("video", name)


@pytest.mark.parametrize("kind", ["Roberta", "DebertaV2"])
def test_a_text_model_gives_each_sub_word_the_time_of_its_word(folder, kind):
    encoder = open_large("text", checkpoints.text(folder / kind, kind))
    words = (Word("unbelievable", 0, 900), Word("day", 1000, 1200))
    _, tokens = encoder.step(None, TextSegment(4, words, False))
    assert (encoder.spec.dim, tokens.context) == (16, 4)
    assert len(tokens) > 2 or tokens.start_us.tolist() == [0, 1000]
    assert set(tokens.end_us.tolist()) == {900, 1200}
    assert (np.diff(tokens.start_us) >= 0).all()


def test_long_empty_and_non_english_texts_give_finite_tokens(folder):
    encoder = open_large("text", checkpoints.text(folder / "long", "Roberta"))
    long = tuple(Word(f"w{i}", i, i) for i in range(10_000))
    assert len(encoder.step(None, TextSegment(0, long, True))[1]) == 48
    assert encoder.step(None, TextSegment(0, long, True))[1].end_us[-1] == 9_999
    assert len(encoder.step(None, TextSegment(0, (), True))[1]) == 0
    for text in ("😀🎉", "こんにちは", "", "\x00"):
        _, tokens = encoder.step(None, TextSegment(0, (Word(text, 0, 1),), True))
        assert np.isfinite(tokens.values).all()


def test_the_hash_changes_with_the_weights(folder):
    name = checkpoints.face(folder / "hash")
    before = find(str(name)).sha256
    weights = name / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert find(str(name)).sha256 != before


def test_a_pickle_is_refused(folder):
    name = checkpoints.face(folder / "pickle")
    (name / "model.safetensors").rename(name / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no \.safetensors"):
        find(str(name))


def test_a_missing_checkpoint_names_the_pull_command(folder):
    with pytest.raises(ModelError, match="edge-mer models pull owner/missing"):
        find("owner/missing")
    with pytest.raises(ModelError, match="no such folder"):
        find(str(folder / "absent" / "deep"))
    (folder / "empty").mkdir()
    with pytest.raises(ModelError, match=r"config\.json"):
        find(str(folder / "empty"))


def test_a_damaged_checkpoint_is_a_model_error(folder):
    name = checkpoints.text(folder / "damaged", "Roberta")
    weights = name / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(ModelError, match="not a checkpoint for AutoModel"):
        open_large("text", name)


def test_a_model_of_another_kind_is_a_model_error(folder):
    name = checkpoints.text(folder / "wrong", "Roberta")
    with pytest.raises(ModelError):
        open_large("audio", name)


def test_an_offline_pull_names_the_alternatives(monkeypatch):
    import huggingface_hub

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ModelError, match=r"cannot be reached.*need no download"):
        pull("facebook/wav2vec2-base")


def test_pulling_an_invalid_id_is_refused():
    with pytest.raises(ModelError, match="no hub id"):
        pull("no such id/at/all")


def test_a_pulled_checkpoint_is_found_in_the_cache_without_connecting(folder, monkeypatch, tmp_path):
    """The cache as huggingface_hub lays it out: refs, snapshots."""
    import huggingface_hub.constants

    cached = tmp_path / "models--me--voice" / "snapshots" / "abc"
    shutil.copytree(checkpoints.voice(folder / "cached", "Wav2Vec2"), cached)
    (tmp_path / "models--me--voice" / "refs").mkdir()
    (tmp_path / "models--me--voice" / "refs" / "main").write_text("abc")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert find("me/voice").folder == cached


def test_a_missing_extra_names_the_install_command(folder, monkeypatch):
    name = checkpoints.face(folder / "bare")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"edge-mer\[asr\]"):
        open_large("video", name)


def test_wav2vec2_imports_with_the_installed_torchaudio():
    """pip check does not detect this conflict."""
    import importlib

    assert importlib.import_module("transformers.models.wav2vec2").Wav2Vec2Model
