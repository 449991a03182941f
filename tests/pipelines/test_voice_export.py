"""The voice encoder as one file: a front with weights in INT8 and its head, opened as the shipped one is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edge_mer.perception.audio import AudioEncoder
from edge_mer.perception.voice import BANDS, CONTEXT_FRAMES, LOG_MEL, VoiceEncoder
from edge_mer.runtime.golden import self_test
from edge_mer.runtime.model_file import METADATA_KEY, read_model
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.corpora import DataError
from pipelines.encoders import checkpoint
from pipelines.encoders.voice_net import VoiceFront, VoiceHead
from pipelines.encoders.voice_windows import frames_of, window
from pipelines.encoders.whisper import WhisperFront
from pipelines.exporting.export import export_encoders
from pipelines.exporting.onnx_variants import half
from pipelines.exporting.voice_features import FRONT, exported, pooled_of, rounded
from tests.perception.fakes import activity_graph
from tests.perception.test_audio_encoder import fold, joined

RANDOM = np.random.default_rng(0)
SOUND = RANDOM.normal(0, 0.1, 32_000).astype(np.float32)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A front of random weights, and a head."""
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    inputs = {LOG_MEL: torch.zeros(1, CONTEXT_FRAMES, BANDS)}
    model = exported(VoiceFront(WhisperFront()).eval(), inputs, ["pooled", "voiced"])
    model = rounded(model, [window(frames_of(SOUND), i) for i in range(4)])
    model.metadata_props.add(key=METADATA_KEY, value='{"precision": "int8"}')
    onnx.save(model, folder / FRONT)
    head = VoiceHead().state_dict()
    checkpoint.save(folder / "voice.pt", checkpoint.TrainingCheckpoint(head, {"classes": ["neutral"], "seed": 0}))
    export_encoders(folder, folder / "models", names=["voice"])
    return folder


def test_the_file_is_int8_keeps_its_golden_vectors_and_fits(runs: Path) -> None:
    path = runs / "models" / "audio.onnx"
    assert read_model(path).precision == "int8"
    assert all(d.good for d in self_test(OnnxRuntime().load(path)))
    assert path.stat().st_size < 12e6


def test_its_head_reads_what_the_front_gives(runs: Path) -> None:
    frames = frames_of(SOUND)
    pooled, voiced = pooled_of(OnnxRuntime().load(runs / FRONT), frames, 3)
    head = VoiceHead()
    head.load_state_dict(dict(checkpoint.load(runs / "voice.pt").weights))
    with torch.no_grad():
        token = head.eval()(torch.from_numpy(pooled)[None])
    out = OnnxRuntime().load(runs / "models" / "audio.onnx").run({LOG_MEL: window(frames, 3)})
    assert np.abs(out["token"] - token.numpy()).max() < 1e-4
    assert out["weight"].item() == pytest.approx(np.log(voiced), abs=1e-4)


def test_any_cutting_of_the_samples_gives_the_same_bytes(runs: Path) -> None:
    ear = VoiceEncoder(OnnxRuntime().load(runs / "models" / "audio.onnx"), AudioEncoder(None, activity_graph()))
    assert joined(fold(ear, SOUND, [1, 777, 8_000, 20_001])) == joined(fold(ear, SOUND, []))


def test_nothing_that_goes_through_the_layers_is_rounded(runs: Path) -> None:
    graph = onnx.load(runs / "models" / "audio.onnx").graph
    tables = {t.name for t in graph.initializer}
    rounded_to = [n.input[0] for n in graph.node if n.op_type == "DequantizeLinear"]
    assert rounded_to
    assert tables.issuperset(rounded_to)
    assert "QuantizeLinear" not in {n.op_type for n in graph.node}


def test_what_ships_in_int8_has_no_fp16_form(runs: Path) -> None:
    half(runs / "models")
    assert not (runs / "models" / "fp16" / "audio.onnx").exists()


def test_without_a_front_the_error_names_the_command(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "voice.pt").write_bytes((runs / "voice.pt").read_bytes())
    with pytest.raises(DataError, match=r"pipelines\.train voice"):
        export_encoders(tmp_path, tmp_path / "models", names=["voice"])
