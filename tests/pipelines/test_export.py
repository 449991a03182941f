"""The exported files: static graphs that give what the model gives (property T13)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from edge_mer.domain import COMBINATIONS, EMOTIONS, MODALITIES, modalities_of
from edge_mer.errors import ModelError
from edge_mer.model import MCULoRA
from edge_mer.model.mculora import Window
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines import checkpoint, export, nets
from pipelines.data import DataError

MODELS = Path(__file__).parents[2] / "edge_mer" / "models"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[MCULoRA, Path]:
    """A model with live adapters, exported for two combinations."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder, model = tmp_path_factory.mktemp("models"), MCULoRA().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    checkpoint.save(folder / "fusion.pt", checkpoint.Checkpoint(model.state_dict()))
    for name in export.FILES.values():
        (folder / name).write_bytes(name.encode())
    export.export_fusion(folder, folder, ("av", "t"))
    return model, folder


@pytest.mark.parametrize("combination", ["av", "t"])
def test_t13_the_graph_gives_what_the_model_gives(exported: tuple[MCULoRA, Path], combination: str) -> None:
    model, folder = exported
    graph = OnnxRuntime().load(folder / f"fusion.{combination}.onnx")
    used = modalities_of(combination)  # type: ignore[arg-type]
    assert list(graph.inputs) == [n for m in used for n in (m, f"{m}_mask", f"{m}_age")]
    random = np.random.default_rng(0)
    inputs = {n: random.random(s.shape, np.float32) for n, s in graph.inputs.items()}
    for m in used:
        inputs[f"{m}_mask"] = (inputs[f"{m}_mask"] > 0.3).astype(np.float32)
    full = {
        m: Window(
            *(
                torch.from_numpy(inputs[n]) if m in used else torch.full(size, torch.nan)
                for n, size in ((m, (1, 2, model.config.dims[m])), (f"{m}_mask", (1, 2)), (f"{m}_age", (1, 2)))
            )
        )
        for m in MODALITIES
    }
    with torch.no_grad():
        expected = model(full, torch.tensor([COMBINATIONS.index(combination)]))  # type: ignore[arg-type]
    out = graph.run(inputs)
    assert np.abs(out["logits"] - expected.logits.numpy()).max() <= 1e-4
    assert np.abs(out["sentiment"] - expected.sentiment.numpy()).max() <= 1e-4


@pytest.mark.parametrize("fill", [np.nan, np.inf, 1e4])
def test_t1_a_masked_token_cannot_change_one_bit_of_the_graph(exported: tuple[MCULoRA, Path], fill: float) -> None:
    graph = OnnxRuntime().load(exported[1] / "fusion.av.onnx")
    inputs = {n: np.full(s.shape, 0.5, np.float32) for n, s in graph.inputs.items()}
    for m in ("audio", "video"):
        inputs[f"{m}_mask"][:] = 1
        inputs[f"{m}_mask"][:, :5] = 0
    clean = graph.run(inputs)
    for m in ("audio", "video"):
        inputs[m][:, :5], inputs[f"{m}_age"][:, :5] = fill, fill
    dirty = graph.run(inputs)
    assert all(clean[n].tobytes() == dirty[n].tobytes() for n in clean)


def test_fusion_refuses_other_encoders_than_those_of_its_training(tmp_path: Path) -> None:
    for name in export.FILES.values():
        (tmp_path / name).write_bytes(b"other")
    facts = {"encoders": {"audio": "1", "video": "2", "text": "3"}}
    checkpoint.save(tmp_path / "fusion.pt", checkpoint.Checkpoint(MCULoRA().state_dict(), facts))
    with pytest.raises(ModelError, match="train it again"):
        export.export_fusion(tmp_path, tmp_path)


def test_a_missing_checkpoint_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"python -m pipelines\.train audio"):
        export.export_audio(tmp_path, tmp_path)


def network(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return {"audio": nets.AudioNet, "face": nets.FaceNet, "text": lambda: nets.TextNet(60)}[kind]().eval()


def expected(kind: str, net: Any, x: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the graph of each encoder says, from the net that was trained."""
    if kind == "audio":
        tokens = net(x["mel"])
        logits, weight = net.said(tokens)
        return {"token": tokens[:, 0], "logits": logits[:, 0], "weight": weight}
    if kind == "face":
        return {"posterior": torch.softmax(net.both(x["face"]) / 1.5, -1)}
    tokens = net(x["ids"], x["mask"])
    emotion, sentiment = net.pooled(tokens, x["mask"])
    return {"tokens": tokens, "emotion": emotion, "sentiment": sentiment[:, None]}


@pytest.mark.parametrize("kind", ["audio", "face", "text"])
def test_the_graph_of_an_encoder_gives_what_its_net_gives(kind: str, tmp_path: Path) -> None:
    """Within half precision for text, whose table of sub-words is stored so."""
    net = network(kind)
    facts = {"temperature": 1.5, "metrics": {"x": {"accuracy": 0.5}}, "licence": "mine"}
    checkpoint.save(tmp_path / f"{kind}.pt", checkpoint.Checkpoint(net.state_dict(), facts))
    (tmp_path / "text.spm").write_bytes(b"")
    out = tmp_path / "out"
    export.ENCODERS[kind](tmp_path, out)
    graph = OnnxRuntime().load(out / f"{kind}.onnx")
    random = np.random.default_rng(0)
    inputs = {n: random.random(s.shape, np.float32) for n, s in graph.inputs.items() if s.dtype == np.float32}
    if kind == "text":
        inputs = {"ids": random.integers(0, 60, (1, 24)), "mask": np.float32(np.arange(24)[None] > 6)}
    with torch.no_grad():
        said = expected(kind, net, {n: torch.from_numpy(x) for n, x in inputs.items()})
    found = graph.run(inputs)
    assert set(found) == set(said)
    for name, value in said.items():
        assert np.abs(found[name] - value.numpy()).max() <= (2e-3 if kind == "text" else 1e-4), name
    for key in ("input", "labels", "classes", "licence", "metrics", "known_failures", "rate_hz", "dim"):
        assert graph.metadata[key], key


SHIPPED = sorted(p.name for p in MODELS.glob("*.onnx"))


def test_all_graphs_are_shipped_and_small() -> None:
    fusion = {f"fusion.{c}.onnx" for c in COMBINATIONS}
    assert set(SHIPPED) >= fusion | {"audio.onnx", "face.onnx", "text.onnx", "speech.onnx"}
    assert sum(p.stat().st_size for p in MODELS.glob("*.*")) <= 12e6


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_graphs_are_static_and_hold_no_forbidden_operator(name: str) -> None:
    model = onnx.load(MODELS / name)
    assert not export.FORBIDDEN & {node.op_type for node in model.graph.node}
    for value in (*model.graph.input, *model.graph.output):
        assert all(d.HasField("dim_value") for d in value.type.tensor_type.shape.dim), value.name


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_shipped_fusion_says_what_it_may_claim(combination: str) -> None:
    metadata = OnnxRuntime().load(MODELS / f"fusion.{combination}.onnx").metadata
    assert metadata["combination"] == combination
    assert metadata["labels"] == list(EMOTIONS)
    assert metadata["measured"] is (combination in ("a", "v", "av", "t"))
    assert metadata["sentiment"]["supported"] is ("t" in combination)
    assert (metadata["sentiment"]["reason"] is None) is metadata["sentiment"]["supported"]
    assert metadata["licence"]
    assert metadata["metrics"], "no figures: exported before training"
    assert json.dumps(metadata)
    for m, sha in metadata["encoders"].items():
        assert export.sha16(MODELS / export.FILES[m]) == sha
