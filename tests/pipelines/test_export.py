"""The exported files: static graphs that give what the model gives (property T13)."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from edge_mer.config import ModelsConfig
from edge_mer.contract.domain import COMBINATIONS, EMOTIONS, MODALITIES, modalities_of
from edge_mer.contract.errors import ModelError
from edge_mer.model import MCULoRA, MCULoRAConfig
from edge_mer.model.mculora import Window
from edge_mer.perception.dialogue import EARLIER, OTHER, laid_out
from edge_mer.perception.encoder import AudioBlock, TextSegment, Word
from edge_mer.perception.load import load_encoder
from edge_mer.perception.wordpiece import SPECIAL, WordPiece
from edge_mer.runtime.golden import self_test
from edge_mer.runtime.onnx import OnnxRuntime
from edge_mer.runtime.select import open_backend
from pipelines.data.corpora import DataError
from pipelines.encoders import checkpoint, nets
from pipelines.encoders.minilm import DialogueNet
from pipelines.encoders.shipped import FILES, sha16
from pipelines.exporting import export
from pipelines.exporting.onnx_file import FORBIDDEN, write
from pipelines.exporting.onnx_variants import half
from pipelines.fusion import saved
from pipelines.fusion.experiment import Experiment
from pipelines.fusion.saved import Saved
from tests.pipelines.starter_files import recorded_voice

# Eight graphs are exported for the first test: half a minute, and more on a busy machine.
pytestmark = pytest.mark.timeout(600)
MODELS = Path(__file__).parents[2] / "edge_mer" / "models"


CONFIG = {"blocks": 1, "expert_blocks": 1, "width": 32, "tokens": {"audio": 6, "video": 5, "text": 4}}
Exported = tuple[MCULoRA, Path]


def save_fusion(path: Path, model: MCULoRA, facts: dict[str, Any]) -> None:
    saved.save(path, Saved(Experiment("starter", epochs=(1, 1, 0)), model.config, model.state_dict(), {}, facts))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A small model with live adapters: seven merged graphs, the gathered one, and their FP16 forms."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder, model = tmp_path_factory.mktemp("models"), MCULoRA(MCULoRAConfig(**CONFIG)).eval()  # type: ignore[arg-type]
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    save_fusion(folder / "fusion.safetensors", model, {})
    for name in FILES.values():
        (folder / name).write_bytes(name.encode())
    export.export_fusion(folder / "fusion.safetensors", folder)
    for name in FILES.values():
        (folder / name).unlink()
    half(folder)
    return model, folder


def windows(model: MCULoRA, kind: str, seed: int = 0) -> dict[str, np.ndarray]:
    """All three modalities at the edges of what may come: see the names."""
    random = np.random.default_rng(seed)
    inputs: dict[str, np.ndarray] = {}
    for m in MODALITIES:
        length, width = model.config.tokens[m], model.config.dims[m]
        tokens = random.uniform(-1, 1, (1, length, width))
        mask, age = random.random((1, length)) > 0.3, random.uniform(0, 4, (1, length))
        if kind == "large":
            tokens *= 1e4
        elif kind == "saturated":
            tokens, mask = np.sign(tokens), np.ones_like(mask)
        elif kind == "one token":
            mask = np.arange(length)[None] == length - 1
        elif kind == "nothing":
            mask = np.zeros_like(mask)
        elif kind == "old":
            age = np.full_like(age, 1e6)
        elif kind == "recorded":
            tokens = recorded(m, length, width)[None]
        inputs |= {m: tokens, f"{m}_mask": mask, f"{m}_age": age}
    return {n: x.astype(np.float32) for n, x in inputs.items()}


@functools.cache
def recorded(m: str, length: int, width: int) -> np.ndarray:
    """Tokens that the shipped encoders make of the bundled demo session's sound, and of words and a face."""
    backend = OnnxRuntime()
    if m == "audio":
        sound = recorded_voice()
        encoder = load_encoder("audio", backend, MODELS)
        _, tokens = encoder.step(encoder.initial(), AudioBlock(sound[:64_000].astype(np.float32), 0))
        return tokens.values[-length:]
    if m == "text":
        encoder = load_encoder("text", backend, MODELS)
        words = ("i", "am", "so", "happy", "to", "see", "you", "again", "today")
        spoken = tuple(Word(w, i, i + 1) for i, w in enumerate(words))
        return encoder.step(encoder.initial(), TextSegment(0, spoken, True))[1].values[-length:]
    face = backend.load(MODELS / "face.onnx")
    crops = np.random.default_rng(1).random((length, 1, 1, 48, 48), np.float32)
    return np.concatenate([face.run({"face": crop})["posterior"] for crop in crops])[:, :width]


def expected(model: MCULoRA, combination: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the torch model says, with NaN in everything that the combination lacks."""
    used = modalities_of(combination)  # type: ignore[arg-type]
    full = {
        m: Window(
            *(
                torch.from_numpy(inputs[n] if m in used else np.full_like(inputs[n], np.nan))
                for n in (m, f"{m}_mask", f"{m}_age")
            )
        )
        for m in MODALITIES
    }
    with torch.no_grad():
        out = model(full, torch.tensor([COMBINATIONS.index(combination)]))  # type: ignore[arg-type]
    return {"logits": out.logits.numpy(), "sentiment": out.sentiment.numpy()}


KINDS = ("random", "recorded", "large", "saturated", "one token", "nothing", "old")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_t13_the_graphs_give_what_the_model_gives(exported: Exported, combination: str, kind: str) -> None:
    """Merged, gathered, and both in FP16; the gathered one with random content where nothing is present."""
    model, folder = exported
    inputs = windows(model, kind)
    truth = expected(model, combination, inputs)
    used = modalities_of(combination)  # type: ignore[arg-type]
    some = {n: x for n, x in inputs.items() if n.partition("_")[0] in used}
    every = {**inputs, "combination": np.array([COMBINATIONS.index(combination)])}  # type: ignore[arg-type]
    for precision, absolute, relative in (("", 1e-4, 0.0), ("fp16", 1e-4, 5e-3)):
        for name, given in ((combination, some), ("gathered", every)):
            graph = OnnxRuntime().load(folder / precision / f"fusion.{name}.onnx")
            assert set(graph.inputs) == set(given)
            out = graph.run(given)
            for output, x in truth.items():
                error = np.abs(out[output] - x).max()
                assert error <= absolute + relative * np.abs(x).max(), (name, precision, output)


@pytest.mark.parametrize("fill", [np.nan, np.inf, 1e4])
def test_t1_what_is_masked_or_absent_cannot_change_one_bit(exported: Exported, fill: float) -> None:
    model, folder = exported
    inputs = {**windows(model, "saturated"), "combination": np.array([COMBINATIONS.index("av")])}
    for m in ("audio", "video"):
        inputs[f"{m}_mask"][:, :2] = 0
    graph = OnnxRuntime().load(folder / "fusion.gathered.onnx")
    clean = graph.run(inputs)
    for m in ("audio", "video"):
        inputs[m][:, :2], inputs[f"{m}_age"][:, :2] = fill, fill
    inputs["text"][...], inputs["text_age"][...] = fill, fill
    dirty = graph.run(inputs)
    assert all(clean[n].tobytes() == dirty[n].tobytes() for n in clean)


def test_the_metadata_says_all_that_a_backend_needs(exported: Exported) -> None:
    for path in sorted(exported[1].glob("*.onnx")):
        graph = OnnxRuntime().load(path)
        found = graph.metadata
        assert found["labels"] == list(EMOTIONS)
        assert found["contract"]["version"] == "edge_mer.graph/1"
        assert found["contract"]["opset"] >= 18
        assert {s["name"]: tuple(s["shape"]) for s in found["contract"]["inputs"]} == {
            n: s.shape for n, s in graph.inputs.items()
        }
        assert found["precision"] == "fp32"
        assert len(found["golden"]["cases"]) == 3
        assert all(d.good for d in self_test(graph))


def test_no_training_only_node_is_left(exported: Exported) -> None:
    for path in sorted(exported[1].rglob("*.onnx")):
        kinds = {n.op_type for n in onnx.load(path).graph.node}
        assert not kinds & {*FORBIDDEN, "RandomUniform", "RandomNormalLike", "Bernoulli", "Dropout"}, path


def test_a_graph_that_no_engine_takes_is_refused(tmp_path: Path) -> None:
    class Sorted(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.topk(x, 2).values

    bad = export.draft("bad.onnx", Sorted(), {"x": torch.rand(1, 4)}, ["y"], {})
    with pytest.raises(ModelError, match=r"bad\.onnx: the graph holds TopK, which no static engine takes"):
        write(tmp_path, [bad])
    assert not (tmp_path / "bad.onnx").exists()


def test_torch_runs_the_same_program_as_a_plug_in(exported: Exported, tmp_path: Path) -> None:
    model, folder = exported
    backend = open_backend(ModelsConfig(backend="torch"))
    with pytest.raises(ModelError, match=r"fusion\.av\.pt2: absent; .*python -m pipelines\.export --torch"):
        backend.load(folder / "fusion.av.onnx")
    g = export.merged_graph(model, "av", dict.fromkeys(MODALITIES, ""), {})
    export._export([g], tmp_path, None, programs=True)
    graph = backend.load(tmp_path / g.name)
    assert all(d.largest <= 1e-6 for d in self_test(graph))
    export._export([g], tmp_path / "other", None, programs=False)
    other = tmp_path / "other" / g.name
    other.write_bytes((folder / g.name).read_bytes())
    (tmp_path / "other" / "fusion.weights").write_bytes((folder / "fusion.weights").read_bytes())
    (tmp_path / "other" / "fusion.av.pt2").write_bytes((tmp_path / "fusion.av.pt2").read_bytes())
    with pytest.raises(ModelError, match="exported from a different model"):
        backend.load(other)


def test_fusion_refuses_other_encoders_than_those_of_its_training(tmp_path: Path) -> None:
    for name in FILES.values():
        (tmp_path / name).write_bytes(b"other")
    facts = {"encoders": {"audio": "1", "video": "2", "text": "3"}}
    save_fusion(tmp_path / "fusion.safetensors", MCULoRA(), facts)
    with pytest.raises(ModelError, match="train it again"):
        export.export_fusion(tmp_path / "fusion.safetensors", tmp_path)


def test_a_missing_checkpoint_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"python -m pipelines\.train audio"):
        export.audio_graph(tmp_path)


def network(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return {"audio": nets.AudioNet, "face": nets.FaceNet, "text": lambda: nets.TextNet(60)}[kind]().eval()


def outputs_of(kind: str, net: Any, x: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the graph of each encoder says, from the net that was trained."""
    if kind == "audio":
        tokens = net(x["mel"], x["pitch"])
        logits, weight = net.token_logits(tokens)
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
    checkpoint.save(tmp_path / f"{kind}.pt", checkpoint.TrainingCheckpoint(net.state_dict(), facts))
    (tmp_path / "text.spm").write_bytes(b"")
    out = tmp_path / "out"
    export.export_encoders(tmp_path, out, names=[kind])
    graph = OnnxRuntime().load(out / f"{kind}.onnx")
    random = np.random.default_rng(0)
    inputs = {n: random.random(s.shape, np.float32) for n, s in graph.inputs.items() if s.dtype == np.float32}
    if kind == "text":
        inputs = {"ids": random.integers(0, 60, (1, 24)), "mask": np.float32(np.arange(24)[None] > 6)}
    with torch.no_grad():
        expected_outputs = outputs_of(kind, net, {n: torch.from_numpy(x) for n, x in inputs.items()})
    found = graph.run(inputs)
    assert set(found) == set(expected_outputs)
    for name, value in expected_outputs.items():
        assert np.abs(found[name] - value.numpy()).max() <= (2e-3 if kind == "text" else 1e-4), name
    for key in ("input", "labels", "classes", "licence", "metrics", "known_failures", "rate_hz", "dim"):
        assert graph.metadata[key], key


def test_the_dialogue_encoder_in_int8_gives_what_its_net_gives_and_names_its_vocabulary(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = DialogueNet(60).eval()
    checkpoint.save(tmp_path / "dialogue.pt", checkpoint.TrainingCheckpoint(net.state_dict(), {"licence": "mine"}))
    (tmp_path / "text.vocab").write_text("\n".join([*SPECIAL, *"abc"]), "utf-8")
    out = tmp_path / "out"
    export.export_dialogue(tmp_path, out)
    graph = OnnxRuntime().load(out / "text.onnx")
    given = laid_out(WordPiece([*SPECIAL, *"abc"]), [4, 5, 6] * 5, [([4, 5], EARLIER), ([6], OTHER)])
    with torch.no_grad():
        x = {n: torch.from_numpy(v) for n, v in given.items()}
        tokens = net(x["ids"], x["mask"], x["turn"])
        vector = net.vector(tokens, net.spoken(x["mask"]))
        expected = {
            "tokens": tokens,
            "emotion": torch.stack([net.heads["goemotions"](vector), net.heads["meld"](vector)], 1),
            "sentiment": net.sentiment_of(vector)[:, None],
            "english": torch.sigmoid(net.english(vector)),
        }
    found = graph.run(given)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert np.abs(found[name] - value.numpy()).max() <= 0.2, name
    assert graph.metadata["precision"] == "int8"
    assert type(load_encoder("text", OnnxRuntime(), out)).__name__ == "DialogueEncoder"
    half(out)
    assert not (out / "fp16" / "text.onnx").exists()


SHIPPED = sorted(p.name for p in MODELS.glob("*.onnx"))


def test_all_graphs_are_shipped_and_small() -> None:
    fusion = {f"fusion.{c}.onnx" for c in COMBINATIONS}
    assert set(SHIPPED) >= fusion | {"audio.onnx", "face.onnx", "text.onnx", "speech.onnx"}
    assert sum(p.stat().st_size for p in MODELS.glob("*.*")) <= 30e6


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_graphs_are_static_and_hold_no_forbidden_operator(name: str) -> None:
    model = onnx.load(MODELS / name)
    assert not FORBIDDEN & {node.op_type for node in model.graph.node}
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
        assert sha16(MODELS / FILES[m]) == sha
