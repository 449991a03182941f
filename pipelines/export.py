"""Writes checkpoints as ONNX files of the shipped contract: FP32, static shapes, metadata under ``edge_mer``."""

from __future__ import annotations

import argparse
import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_mer.domain import COMBINATIONS, EMOTIONS, Combination, Modality, modalities_of
from edge_mer.errors import ModelError
from edge_mer.model import MCULoRA, MCULoRAConfig
from edge_mer.model.mculora import Window
from edge_mer.perception.audio import CONTEXT_FRAMES, MELS
from edge_mer.perception.face import CROP
from edge_mer.runtime.catalogue import write_sums
from pipelines import checkpoint
from pipelines.nets import DOMAINS, AudioNet, FaceNet, TextNet
from pipelines.speech import FRAMES, SpeechNet

MODELS: Final = Path("edge_mer/models")
RUNS: Final = Path("runs")
OPSET: Final = 18
FORBIDDEN: Final = {"If", "Loop", "Scan", "NonZero", "TopK", "Dropout"}
FILES: Final[Mapping[Modality, str]] = {"audio": "audio.onnx", "video": "face.onnx", "text": "text.onnx"}
# What a graph is given, and where it is known to fail; both stand in its metadata.
INPUT: Final[Mapping[Modality, str]] = {
    "audio": "mel float32 [1, 156, 64]: ln of 64 mel bands, 50-8000 Hz, of 16 kHz mono, 25 ms Hann every 12.5 ms, the "
    "newest last; edge_mer.perception.audio.log_mel",
    "video": "face float32 [1, 1, 48, 48] in [0, 1]: grey square from brow to chin; edge_mer.perception.face.crop_face",
    "text": "ids int64 [1, 24] of text.spm, right-aligned, and mask float32 [1, 24]; edge_mer.perception.text",
}
FAILURES: Final[Mapping[Modality, str]] = {
    "audio": "acted studio English of 16 people, two sentences; other corpora, languages, children, distance, music",
    "video": "sideways and half-hidden faces; disgust and fear; web photographs of 2013 without balance of age or skin",
    "text": "irony, context before the segment, languages other than English, words without punctuation (cards: bare)",
}
# Only these were trained and measured on jointly recorded data.
MEASURED: Final = ("a", "v", "av", "t")


class _AudioGraph(nn.Module):
    def __init__(self, net: AudioNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tokens = self.net(mel)
        logits, weight = self.net.said(tokens)
        return tokens[:, 0], logits[:, 0], weight


class _FaceGraph(nn.Module):
    def __init__(self, net: FaceNet, temperature: float) -> None:
        super().__init__()
        self.net, self.temperature = net, temperature

    def forward(self, face: Tensor) -> Tensor:
        return torch.softmax(self.net.both(face) / self.temperature, -1)


class _HalfEmbedding(nn.Module):
    """The table of sub-words is most of the text encoder: in half precision it is half of the file."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.weight = nn.Buffer(table.weight.detach().half())

    def forward(self, ids: Tensor) -> Tensor:
        return functional.embedding(ids, self.weight).float()


class _TextGraph(nn.Module):
    def __init__(self, net: TextNet) -> None:
        super().__init__()
        self.net = net
        self.net.words = _HalfEmbedding(net.words)  # type: ignore[assignment]

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tokens = self.net(ids, mask)
        emotion, sentiment = self.net.pooled(tokens, mask)
        return tokens, emotion, sentiment[:, None]


class _FusionGraph(nn.Module):
    """A merged model as a function of the flat list tokens, mask, age of each of its modalities."""

    def __init__(self, model: MCULoRA) -> None:
        super().__init__()
        self.model = model

    def forward(self, *flat: Tensor) -> tuple[Tensor, Tensor]:
        windows = {m: Window(*flat[3 * i : 3 * i + 3]) for i, m in enumerate(self.model.modalities)}
        readout = self.model(windows)
        return readout.logits, readout.sentiment


def write_graph(
    path: Path, net: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], metadata: Mapping[str, Any]
) -> None:
    """Export ``net`` with static shapes and check the result. Raises ModelError for a forbidden operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            net.eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    write_model(path, program.model_proto, metadata)


def write_model(path: Path, model: onnx.ModelProto, metadata: Mapping[str, Any]) -> None:
    """Check, strip what only debugging needs, and write whole or not at all."""
    found = FORBIDDEN & {node.op_type for node in model.graph.node}
    if found:
        raise ModelError(f"{path}: the graph holds {', '.join(sorted(found))}, which no static engine takes")
    for item in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    del model.graph.value_info[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = "edge_mer", json.dumps(metadata, sort_keys=True)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(model.SerializeToString(deterministic=True))
    partial.replace(path)
    print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")


def export_audio(runs: Path, out: Path) -> None:
    """Audio encoder: ``mel`` [1, 156, 64] -> ``token`` [1, 64], and its ``logits`` [1, 8] and ``weight`` [1, 1]
    within a clip."""
    saved = checkpoint.load(runs / "audio.pt")
    net = AudioNet()
    net.load_state_dict(dict(saved.weights))
    inputs = {"mel": torch.zeros(1, CONTEXT_FRAMES, MELS)}
    write_graph(
        out / FILES["audio"],
        _AudioGraph(net),
        inputs,
        ["token", "logits", "weight"],
        _encoder("audio", 8.0, 64, saved.facts),
    )


def export_face(runs: Path, out: Path) -> None:
    """Expression network: ``face`` [1, 1, 48, 48] -> ``posterior`` [1, 7]."""
    saved = checkpoint.load(runs / "face.pt")
    net = FaceNet()
    net.load_state_dict(dict(saved.weights))
    graph = _FaceGraph(net, float(saved.facts.get("temperature", 1.0)))
    inputs = {"face": torch.rand(1, 1, CROP, CROP)}
    write_graph(out / FILES["video"], graph, inputs, ["posterior"], _encoder("video", 5.0, 7, saved.facts))


def export_text(runs: Path, out: Path) -> None:
    """Text encoder: ``ids`` int64 [1, 24], ``mask`` [1, 24] -> ``tokens`` [1, 24, 64], and of the segment the
    ``emotion`` logits [1, 2, 7] by domain and the ``sentiment`` [1, 1]."""
    saved = checkpoint.load(runs / "text.pt")
    net = TextNet(len(saved.weights["words.weight"]))
    net.load_state_dict(dict(saved.weights))
    inputs = {"ids": torch.zeros(1, net.length, dtype=torch.int64), "mask": torch.ones(1, net.length)}
    metadata = _encoder("text", 6.0, 64, saved.facts) | {"domains": list(DOMAINS)}
    write_graph(out / FILES["text"], _TextGraph(net), inputs, ["tokens", "emotion", "sentiment"], metadata)
    (out / "text.spm").write_bytes((runs / "text.spm").read_bytes())


def export_fusion(runs: Path, out: Path, combinations: Sequence[Combination] = COMBINATIONS) -> None:
    """One merged graph per combination. Raises ModelError when the encoders are not those of the training."""
    saved = checkpoint.load(runs / "fusion.pt")
    encoders = {m: sha16(out / name) for m, name in FILES.items()}
    trained = saved.facts.get("encoders", encoders)
    if trained != encoders:
        raise ModelError(f"fusion was trained on other encoders ({trained}, here {encoders}); train it again")
    model = MCULoRA(MCULoRAConfig())
    model.load_state_dict(dict(saved.weights))
    for c in combinations:
        merged, used = model.merged(c), modalities_of(c)
        inputs = dict(_window_inputs(model.config, used))
        metadata = _fusion(c, model.config, encoders, saved.facts)
        write_graph(out / f"fusion.{c}.onnx", _FusionGraph(merged), inputs, ["logits", "sentiment"], metadata)


def export_speech(runs: Path, out: Path) -> None:
    """Voice activity: ``mel`` [1, 40, 64] -> ``speech`` [1, 1], a probability."""
    saved = checkpoint.load(runs / "speech.pt")
    net = SpeechNet()
    net.load_state_dict(dict(saved.weights))
    metadata = {"kind": "voice activity", "name": "edge-mer-speech", "modality": "audio", **saved.facts}
    inputs = {"mel": torch.zeros(1, FRAMES, MELS)}
    write_graph(out / "speech.onnx", nn.Sequential(net, nn.Sigmoid()), inputs, ["speech"], metadata)


ENCODERS: Final[Mapping[str, Callable[[Path, Path], None]]] = {
    "speech": export_speech, "audio": export_audio, "face": export_face, "text": export_text,
}  # fmt: skip


def sha16(path: Path) -> str:
    """First 16 hex digits of the sha256 of a file: how an encoder is named."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _window_inputs(config: MCULoRAConfig, used: Sequence[Modality]) -> list[tuple[str, Tensor]]:
    rows: list[tuple[str, Tensor]] = []
    for m in used:
        length = config.tokens[m]
        rows += [(m, torch.randn(1, length, config.dims[m]))]
        rows += [(f"{m}_mask", torch.ones(1, length)), (f"{m}_age", torch.rand(1, length))]
    return rows


def _encoder(modality: Modality, rate_hz: float, dim: int, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": "encoder",
        "name": f"edge-mer-{FILES[modality].removesuffix('.onnx')}",
        "modality": modality,
        "input": INPUT[modality],
        "labels": list(EMOTIONS),
        "classes": facts.get("classes", list(EMOTIONS)),
        "rate_hz": rate_hz,
        "dim": dim,
        "data": facts.get("data", []),
        "licence": facts.get("licence", ""),
        "seed": facts.get("seed", 0),
        "metrics": facts.get("metrics", {}),
        "known_failures": FAILURES[modality],
    }


def _fusion(
    c: Combination, config: MCULoRAConfig, encoders: Mapping[Modality, str], facts: Mapping[str, Any]
) -> dict[str, Any]:
    used = modalities_of(c)
    supported = "text" in used
    return {
        "kind": "fusion",
        "name": f"edge-mer-fusion-{c}",
        "combination": c,
        "labels": list(EMOTIONS),
        "tokens": {m: config.tokens[m] for m in used},
        "dims": {m: config.dims[m] for m in used},
        "encoders": {m: encoders[m] for m in used},
        "data": facts.get("data", []),
        "licence": facts.get("licence", ""),
        "metrics": facts.get("metrics", {}).get(c, {}),
        "measured": c in MEASURED,
        "sentiment": {
            "supported": supported,
            "reason": None if supported else "no sentiment labels for this combination",
        },
    }


def main() -> None:
    """Command line: ``python -m pipelines.export [all|encoders|fusion|speech|audio|face|text]``."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.export", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("all", "encoders", "fusion", *ENCODERS), default="all")
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--out", type=Path, default=MODELS)
    arguments = parser.parse_args()
    for name, export in ENCODERS.items():
        if arguments.what in ("all", "encoders", name):
            export(arguments.runs, arguments.out)
    if arguments.what in ("all", "fusion"):
        export_fusion(arguments.runs, arguments.out)
    write_sums(arguments.out)


if __name__ == "__main__":
    main()
