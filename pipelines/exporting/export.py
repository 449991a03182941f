"""Writes checkpoints as ONNX files: four encoders, seven merged fusion graphs and one gathered, in FP32 and FP16.

``all`` (the default), ``encoders`` and ``fusion`` read checkpoints; ``fp16`` and ``restamp`` need only ONNX files: the
first writes ``OUT/fp16`` again, the second rewrites the files of ``--source`` with the metadata of today. INT8 is
``python -m calibration.int8``.
"""

from __future__ import annotations

import argparse
import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edge_mer.contract.domain import COMBINATIONS, EMOTIONS, MODALITIES, Combination, Modality, modalities_of
from edge_mer.contract.errors import EdgeMerError, ModelError
from edge_mer.model import MCULoRA, MCULoRAConfig
from edge_mer.model.mculora import Window
from edge_mer.model.runtime_selected import gathered
from edge_mer.perception.audio import CONTEXT_FRAMES, MELS, PITCH
from edge_mer.perception.crop import CROP
from edge_mer.runtime.backend import Arrays, TensorSpec
from edge_mer.runtime.catalogue import write_sums
from edge_mer.runtime.golden import draw
from pipelines.encoders import checkpoint
from pipelines.encoders.nets import DOMAINS, AudioNet, FaceNet, TextNet
from pipelines.encoders.speech import FRAMES, SpeechNet
from pipelines.exporting.onnx_file import GraphDraft, ranges_of, write
from pipelines.exporting.onnx_variants import CASES, half, restamp, vocabulary

MODELS: Final = Path("edge_mer/models")
RUNS: Final = Path("runs")
# 20 has Gelu as one operator; TensorRT 10.3 reads up to 20.
OPSET: Final = 20
OUTPUTS: Final = ("logits", "sentiment")
GATHERED: Final = "fusion.gathered.onnx"
# What the metadata says of one combination only.
_OF_ONE: Final = ("combination", "measured", "metrics", "sentiment")
FILES: Final[Mapping[Modality, str]] = {"audio": "audio.onnx", "video": "face.onnx", "text": "text.onnx"}
# What a graph is given, and where it is known to fail; both stand in its metadata.
INPUT: Final[Mapping[Modality, str]] = {
    "audio": "mel float32 [1, 156, 64]: ln of 64 mel bands, 50-8000 Hz, of 16 kHz mono, 25 ms Hann every 12.5 ms, the "
    "newest last; pitch float32 [1, 156, 2]: octaves above 100 Hz and strength; edge_mer.perception.audio.front_end",
    "video": "face float32 [1, 1, 48, 48] in [0, 1]: grey square from brow to chin; edge_mer.perception.crop.crop_face",
    "text": "ids int64 [1, 24] of text.spm, right-aligned, and mask float32 [1, 24]; edge_mer.perception.text",
}
FAILURES: Final[Mapping[Modality, str]] = {
    "audio": "acted studio English of 16 people, two sentences; other corpora, languages, children, distance, music",
    "video": "sideways and half-hidden faces; disgust and fear; web photographs of 2013 without balance of age or skin",
    "text": "irony, context before the segment, languages other than English, words without punctuation (cards: bare)",
}
# Only these were trained and measured on jointly recorded data.
MEASURED: Final = ("a", "v", "av", "t")


@dataclass(frozen=True, slots=True, eq=False)
class Exportable:
    """A network with the name of its file and all that the file says."""

    name: str
    net: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: Sequence[str]
    metadata: Mapping[str, Any]


class _AudioGraph(nn.Module):
    def __init__(self, net: AudioNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, mel: Tensor, pitch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tokens = self.net(mel, pitch)
        logits, weight = self.net.said(tokens)
        return tokens[:, 0], logits[:, 0], weight


class _FaceGraph(nn.Module):
    def __init__(self, net: FaceNet, temperatures: Sequence[float]) -> None:
        super().__init__()
        self.net, self.temperatures = net, temperatures

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.net.both(face)
        votes, search = (torch.softmax(logits[:, i] / t, -1) for i, t in enumerate(self.temperatures))
        return votes, search


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


class _GatheredGraph(_FusionGraph):
    """The same for all modalities, with the combination as the last input."""

    def forward(self, *flat: Tensor) -> tuple[Tensor, Tensor]:
        windows = {m: Window(*flat[3 * i : 3 * i + 3]) for i, m in enumerate(MODALITIES)}
        readout = self.model(windows, flat[-1])
        return readout.logits, readout.sentiment


def draft(
    name: str, net: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], metadata: Mapping[str, Any]
) -> GraphDraft:
    """``net`` as a static graph, with what torch says to the golden inputs."""
    net = net.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            net,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    ranges = ranges_of(inputs, vocabulary(program.model_proto))
    specs = {n: TensorSpec(tuple(x.shape), x.numpy().dtype) for n, x in inputs.items()}
    expected = [_outputs(net, draw(specs, ranges, seed), outputs) for seed in range(CASES)]
    return GraphDraft(name, program.model_proto, metadata, ranges, expected)


def _outputs(net: nn.Module, inputs: Arrays, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    with torch.no_grad():
        out = net(*(torch.from_numpy(x) for x in inputs.values()))
    return {n: x.numpy() for n, x in zip(names, (out,) if isinstance(out, Tensor) else out, strict=True)}


def save_program(path: Path, net: nn.Module, inputs: Mapping[str, Tensor]) -> None:
    """Beside the ONNX file at ``path``: the same network for the torch plug-in of the runtime."""
    program = torch.export.export(net.eval(), tuple(inputs.values()))
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    torch.export.save(program, str(path.with_suffix(".pt2")), extra_files={"sha256": sha})


def audio_graph(runs: Path) -> Exportable:
    """Audio encoder: ``mel`` [1, 156, 64] and ``pitch`` [1, 156, 2] -> ``token`` [1, 64], and its ``logits`` [1, 8] and
    ``weight`` [1, 1] within a clip."""
    saved = checkpoint.load(runs / "audio.pt")
    net = AudioNet()
    net.load_state_dict(dict(saved.weights))
    inputs = {"mel": torch.zeros(1, CONTEXT_FRAMES, MELS), "pitch": torch.zeros(1, CONTEXT_FRAMES, PITCH)}
    outputs = ["token", "logits", "weight"]
    return Exportable(FILES["audio"], _AudioGraph(net), inputs, outputs, _encoder("audio", 8.0, 64, saved.facts))


def face_graph(runs: Path) -> Exportable:
    """Expression network: ``face`` [1, 1, 48, 48] -> ``posterior`` [1, 7], the shares of ten votes; and ``search``
    [1, 7], FER2013's own label, for scores alone."""
    saved = checkpoint.load(runs / "face.pt")
    net = FaceNet()
    net.load_state_dict(dict(saved.weights))
    graph = _FaceGraph(net, [float(saved.facts.get(name, 1.0)) for name in ("temperature", "own_temperature")])
    inputs = {"face": torch.rand(1, 1, CROP, CROP)}
    return Exportable(FILES["video"], graph, inputs, ["posterior", "search"], _encoder("video", 5.0, 7, saved.facts))


def text_graph(runs: Path) -> Exportable:
    """Text encoder: ``ids`` int64 [1, 24], ``mask`` [1, 24] -> ``tokens`` [1, 24, 64], and of the segment the
    ``emotion`` logits [1, 2, 7] by domain and the ``sentiment`` [1, 1]."""
    saved = checkpoint.load(runs / "text.pt")
    net = TextNet(len(saved.weights["words.weight"]))
    net.load_state_dict(dict(saved.weights))
    inputs = {"ids": torch.zeros(1, net.length, dtype=torch.int64), "mask": torch.ones(1, net.length)}
    metadata = _encoder("text", 6.0, 64, saved.facts) | {"domains": list(DOMAINS)}
    return Exportable(FILES["text"], _TextGraph(net), inputs, ["tokens", "emotion", "sentiment"], metadata)


def speech_graph(runs: Path) -> Exportable:
    """Voice activity: ``mel`` [1, 40, 64] -> ``speech`` [1, 1], a probability."""
    saved = checkpoint.load(runs / "speech.pt")
    net = SpeechNet()
    net.load_state_dict(dict(saved.weights))
    metadata = {"kind": "voice activity", "name": "edge-mer-speech", "modality": "audio", **saved.facts}
    inputs = {"mel": torch.zeros(1, FRAMES, MELS)}
    return Exportable("speech.onnx", nn.Sequential(net, nn.Sigmoid()), inputs, ["speech"], metadata)


ENCODERS: Final[Mapping[str, Callable[[Path], Exportable]]] = {
    "speech": speech_graph,
    "audio": audio_graph,
    "face": face_graph,
    "text": text_graph,
}


def export_encoders(runs: Path, out: Path, programs: bool = False, names: Iterable[str] = ENCODERS) -> None:
    """The small networks ``names``; the tokenizer is copied beside the one of text."""
    _export([ENCODERS[name](runs) for name in names], out, None, programs)
    if "text" in names:
        (out / "text.spm").write_bytes((runs / "text.spm").read_bytes())


def export_fusion(
    runs: Path, out: Path, combinations: Sequence[Combination] = COMBINATIONS, programs: bool = False
) -> None:
    """One merged graph per combination, weights that they share in one file, and one gathered graph for all.

    Raises ModelError when the encoders are not those of the training.
    """
    saved = checkpoint.load(runs / "fusion.pt")
    encoders = {m: sha16(out / name) for m, name in FILES.items()}
    trained = saved.facts.get("encoders", encoders)
    if trained != encoders:
        raise ModelError(f"fusion was trained on other encoders ({trained}, here {encoders}); train it again")
    model = MCULoRA(MCULoRAConfig(**saved.facts.get("config", {})))
    model.load_state_dict(dict(saved.weights))
    graphs = [merged_graph(model, c, encoders, saved.facts) for c in combinations]
    _export([*graphs, gathered_graph(model, encoders, saved.facts)], out, "fusion.weights", programs)


def merged_graph(
    model: MCULoRA, c: Combination, encoders: Mapping[Modality, str], facts: Mapping[str, Any]
) -> Exportable:
    """Tokens, mask and age of each modality of ``c`` -> ``logits`` [1, 7], ``sentiment`` [1, 1]."""
    inputs = dict(_window_inputs(model.config, modalities_of(c)))
    metadata = _fusion(c, model.config, encoders, facts)
    return Exportable(f"fusion.{c}.onnx", _FusionGraph(model.merged(c)), inputs, OUTPUTS, metadata)


def gathered_graph(model: MCULoRA, encoders: Mapping[Modality, str], facts: Mapping[str, Any]) -> Exportable:
    """All modalities and ``combination`` int64 [1], an index of COMBINATIONS -> the outputs of a merged graph."""
    inputs = dict(_window_inputs(model.config, MODALITIES))
    inputs["combination"] = torch.zeros(1, dtype=torch.int64)
    shape = {k: v for k, v in _fusion("atv", model.config, encoders, facts).items() if k not in _OF_ONE}
    metadata = {
        **shape,
        "kind": "gathered fusion",
        "name": "edge-mer-fusion-gathered",
        "combinations": list(COMBINATIONS),
    }
    return Exportable(GATHERED, _GatheredGraph(gathered(model)), inputs, OUTPUTS, metadata)


def _export(graphs: Sequence[Exportable], out: Path, shared: str | None, programs: bool) -> None:
    write(out, [draft(g.name, g.net, g.inputs, g.outputs, g.metadata) for g in graphs], shared)
    for g in graphs if programs else ():
        save_program(out / g.name, g.net, g.inputs)


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


WHAT: Final = ("all", "encoders", *ENCODERS, "fusion", "fp16", "restamp")


def main() -> None:
    """Command line: ``python -m pipelines.export [all|encoders|speech|audio|face|text|fusion|fp16|restamp]``."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", choices=WHAT, default="all")
    parser.add_argument("--runs", type=Path, default=RUNS, help="directory of checkpoints")
    parser.add_argument("--out", type=Path, default=MODELS, help="directory of ONNX files")
    parser.add_argument("--source", type=Path, default=MODELS, help="restamp: directory of the files to rewrite")
    parser.add_argument("--torch", action="store_true", help="also write .pt2 programs for models.backend = torch")
    arguments = parser.parse_args()
    try:
        if names := [n for n in ENCODERS if arguments.what in ("all", "encoders", n)]:
            export_encoders(arguments.runs, arguments.out, arguments.torch, names)
        if arguments.what in ("all", "fusion"):
            export_fusion(arguments.runs, arguments.out, programs=arguments.torch)
        if arguments.what == "restamp":
            restamp(arguments.source, arguments.out)
        half(arguments.out)
        write_sums(arguments.out)
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
