"""Writes checkpoints as ONNX files: four encoders, seven merged fusion graphs and one gathered, in FP32 and FP16.

``all`` (the default), ``encoders`` (those that ship: speech, voice, face, dialogue) and ``fusion`` read checkpoints;
``fusion`` takes that of any training whose tokens are those of the encoders. ``audio`` and ``text`` are the small
encoders of before. ``fp16`` and ``restamp`` need only ONNX files: the first writes ``OUT/fp16`` again, the second
rewrites the files of ``--source`` with the metadata of today. INT8 of the others is ``python -m calibration.int8``.
"""

from __future__ import annotations

import argparse
import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from edge_mer.perception.dialogue import LENGTH, VOCABULARY
from edge_mer.perception.face import CROP
from edge_mer.runtime.backend import Arrays, TensorSpec
from edge_mer.runtime.catalogue import write_sums
from edge_mer.runtime.golden import draw
from pipelines.data.feature_specs import layout_of
from pipelines.data.scaling import CUT, Scale
from pipelines.encoders import checkpoint
from pipelines.encoders.minilm import DOMAINS as DIALOGUE_DOMAINS
from pipelines.encoders.minilm import DialogueNet
from pipelines.encoders.nets import DOMAINS, AudioNet, FaceNet, TextNet
from pipelines.encoders.shipped import FILES, MODELS, RUNS, hashes
from pipelines.encoders.speech import FRAMES, SpeechNet
from pipelines.encoders.voice_net import VoiceHead
from pipelines.exporting import voice
from pipelines.exporting.int8_dynamic import dynamic_int8
from pipelines.exporting.onnx_file import GraphDraft, ranges_of, write
from pipelines.exporting.onnx_variants import CASES, half, restamp, vocabulary
from pipelines.fusion import saved
from pipelines.fusion.saved import Saved

# 20 has Gelu as one operator; TensorRT 10.3 reads up to 20.
OPSET: Final = 20
OUTPUTS: Final = ("logits", "sentiment")
GATHERED: Final = "fusion.gathered.onnx"
# What the metadata says of one combination only.
_OF_ONE: Final = ("combination", "measured", "metrics", "sentiment")
# What a graph is given, and where it is known to fail; both stand in its metadata.
INPUT: Final[Mapping[Modality, str]] = {
    "audio": "mel float32 [1, 156, 64]: ln of 64 mel bands, 50-8000 Hz, of 16 kHz mono, 25 ms Hann every 12.5 ms, the "
    "newest last; pitch float32 [1, 156, 2]: octaves above 100 Hz and strength; edge_mer.perception.audio.front_end",
    "video": "face float32 [1, 1, 48, 48] in [0, 1]: grey square from brow to chin; edge_mer.perception.face.crop_face",
    "text": "ids int64 [1, 24] of text.spm, right-aligned, and mask float32 [1, 24]; edge_mer.perception.text",
}
FAILURES: Final[Mapping[Modality, str]] = {
    "audio": "acted studio English of 16 people, two sentences; other corpora, languages, children, distance, music",
    "video": "sideways and half-hidden faces; disgust and fear; web photographs of 2013 without balance of age or skin",
    "text": "irony, context before the segment, languages other than English, words without punctuation (cards: bare)",
}
VOICE_INPUT: Final = (
    "logmel float32 [1, 200, 80]: log10 of Whisper's 80 mel energies, 0-8000 Hz, of 16 kHz mono, 25 ms Hann every "
    "10 ms, the newest last; edge_mer.perception.voice.log_mel"
)
VOICE_FAILURES: Final = (
    "few actors in five languages; fear, disgust and surprise of strangers; two voices at once, music, singing"
)
# Of the text encoder that reads earlier turns: what its metadata says instead.
DIALOGUE: Final[Mapping[str, Any]] = {
    "input": "ids, turn int64 and mask float32 [1, 72]: 40 places of the utterance, 32 of the turns before it, newest "
    "first; ids of text.vocab; edge_mer.perception.dialogue.laid_out",
    "known_failures": "irony; words without punctuation or misheard (metrics: bare, with errors); other languages than "
    "English are refused (english), some names and single words too",
    "domains": list(DIALOGUE_DOMAINS),
    "backend": "onnxruntime",
    "based_on": "all-MiniLM-L6-v2 (Apache-2.0), embeddings and first 3 layers, fine-tuned",
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
        logits, weight = self.net.token_logits(tokens)
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


class _ByteEmbedding(nn.Module):
    """The table of sub-words is half of the dialogue encoder: here in 8 bits, with a scale for each row."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        weight = table.weight.detach()
        scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
        self.weight, self.scale = nn.Buffer((weight / scale).round().to(torch.int8)), nn.Buffer(scale)

    def forward(self, ids: Tensor) -> Tensor:
        return functional.embedding(ids, self.weight).float() * functional.embedding(ids, self.scale)


class _DialogueGraph(nn.Module):
    def __init__(self, net: DialogueNet) -> None:
        super().__init__()
        self.net = net
        self.net.words = _ByteEmbedding(net.words)  # type: ignore[assignment]

    def forward(self, ids: Tensor, mask: Tensor, turn: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        tokens = self.net(ids, mask, turn)
        vector = self.net.vector(tokens, self.net.spoken(mask))
        emotion = torch.stack([self.net.heads[head](vector) for head in DIALOGUE_DOMAINS.values()], 1)
        return tokens, emotion, self.net.sentiment_of(vector)[:, None], torch.sigmoid(self.net.english(vector))


class _FusionGraph(nn.Module):
    """A merged model as a function of the flat list tokens, mask, age of each of its modalities.

    ``scales`` standardise the tokens, where the model was trained on such.
    """

    def __init__(self, model: MCULoRA, scales: Mapping[Modality, Scale] | None = None) -> None:
        super().__init__()
        self.model = model
        self.scales = nn.ModuleDict({m: _Scaled(scale) for m, scale in (scales or {}).items() if m in model.branches})

    def windows(self, flat: Sequence[Tensor]) -> dict[Modality, Window]:
        found = {m: Window(*flat[3 * i : 3 * i + 3]) for i, m in enumerate(self.model.modalities)}
        return {m: replace(w, tokens=self.scales[m](w.tokens)) if m in self.scales else w for m, w in found.items()}

    def forward(self, *flat: Tensor) -> tuple[Tensor, Tensor]:
        readout = self.model(self.windows(flat))
        return readout.logits, readout.sentiment


class _Scaled(nn.Module):
    """``pipelines.data.scaling.Scale`` in a graph."""

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.mean, self.std = (nn.Buffer(torch.from_numpy(x)) for x in (scale.mean, scale.std))

    def forward(self, tokens: Tensor) -> Tensor:
        return ((tokens - self.mean) / self.std).clamp(-CUT, CUT)


class _GatheredGraph(_FusionGraph):
    """The same for all modalities, with the combination as the last input."""

    def forward(self, *flat: Tensor) -> tuple[Tensor, Tensor]:
        readout = self.model(self.windows(flat), flat[-1])
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


def voice_graph(runs: Path) -> GraphDraft:
    """Voice encoder: ``logmel`` [1, 200, 80] -> ``token`` [1, 64], and its ``logits`` [1, 8] and ``weight`` [1, 1]
    within a clip."""
    saved = checkpoint.load(runs / "voice.pt")
    head = VoiceHead()
    head.load_state_dict(dict(saved.weights))
    metadata = _encoder("audio", 2.0, 64, saved.facts) | {"input": VOICE_INPUT, "known_failures": VOICE_FAILURES}
    metadata |= {name: saved.facts[name] for name in ("unseen", "abroad") if name in saved.facts}
    return voice.graph(runs, FILES["audio"], head, metadata)


def face_graph(runs: Path) -> Exportable:
    """Expression network: ``face`` [1, 1, 48, 48] -> ``posterior`` [1, 7]."""
    saved = checkpoint.load(runs / "face.pt")
    net = FaceNet()
    net.load_state_dict(dict(saved.weights))
    graph = _FaceGraph(net, float(saved.facts.get("temperature", 1.0)))
    inputs = {"face": torch.rand(1, 1, CROP, CROP)}
    return Exportable(FILES["video"], graph, inputs, ["posterior"], _encoder("video", 5.0, 7, saved.facts))


def text_graph(runs: Path) -> Exportable:
    """Text encoder: ``ids`` int64 [1, 24], ``mask`` [1, 24] -> ``tokens`` [1, 24, 64], and of the segment the
    ``emotion`` logits [1, 2, 7] by domain and the ``sentiment`` [1, 1]."""
    saved = checkpoint.load(runs / "text.pt")
    net = TextNet(len(saved.weights["words.weight"]))
    net.load_state_dict(dict(saved.weights))
    inputs = {"ids": torch.zeros(1, net.length, dtype=torch.int64), "mask": torch.ones(1, net.length)}
    metadata = _encoder("text", 6.0, 64, saved.facts) | {"domains": list(DOMAINS)}
    return Exportable(FILES["text"], _TextGraph(net), inputs, ["tokens", "emotion", "sentiment"], metadata)


def dialogue_graph(runs: Path) -> Exportable:
    """Text encoder with earlier turns: ``ids``, ``mask``, ``turn`` [1, 72] -> ``tokens`` [1, 38, 64], and of the
    utterance the ``emotion`` logits [1, 2, 7] by domain, the ``sentiment`` [1, 1] and the probability that it is
    ``english`` [1, 1]."""
    saved = checkpoint.load(runs / "dialogue.pt")
    net = DialogueNet(len(saved.weights["words.weight"]))
    net.load_state_dict(dict(saved.weights))
    ids, turn = torch.zeros(2, 1, LENGTH, dtype=torch.int64)
    inputs = {"ids": ids, "mask": torch.ones(1, LENGTH), "turn": turn.clone()}
    sha = hashlib.sha256((runs / VOCABULARY).read_bytes()).hexdigest()
    tokenizer = {"kind": "wordpiece", "file": VOCABULARY, "sha256": sha}
    metadata = _encoder("text", 6.0, 64, saved.facts) | dict(DIALOGUE) | {"tokenizer": tokenizer}
    outputs = ["tokens", "emotion", "sentiment", "english"]
    return Exportable(FILES["text"], _DialogueGraph(net), inputs, outputs, metadata)


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
    """The encoders ``names``, of ENCODERS or VOICE; the tokenizer is copied beside the one of text."""
    names = list(names)
    _export([ENCODERS[name](runs) for name in names if name in ENCODERS], out, None, programs)
    if VOICE in names:
        write(out, [voice_graph(runs)])
    if "text" in names:
        (out / "text.spm").write_bytes((runs / "text.spm").read_bytes())


def export_dialogue(runs: Path, out: Path) -> None:
    """The text encoder that reads earlier turns, in INT8 as ``text.onnx``, with its vocabulary; fusion must be trained
    again on its tokens."""
    graph = dialogue_graph(runs)
    write(out, [dynamic_int8(draft(graph.name, graph.net, graph.inputs, graph.outputs, graph.metadata))])
    (out / VOCABULARY).write_bytes((runs / VOCABULARY).read_bytes())


def export_fusion(path: Path, out: Path, programs: bool = False) -> None:
    """The checkpoint of any training whose tokens and labels are those of the device, beside the encoders of ``out``.

    One merged graph per combination, weights that they share in one file, and one gathered graph for all. Raises
    DataError for an absent checkpoint, ModelError for one that does not fit or was trained on other encoders.
    """
    trained, encoders = saved.load(path), hashes(out)
    if fault := misfit(trained):
        raise ModelError(f"{path}: {fault}")
    if (expected := trained.facts.get("encoders", encoders)) != encoders:
        raise ModelError(f"fusion was trained on other encoders ({expected}, here {encoders}); train it again")
    model, facts, scales = trained.model(), trained.facts, trained.scales
    graphs = [merged_graph(model, c, encoders, facts, scales) for c in COMBINATIONS]
    _export([*graphs, gathered_graph(model, encoders, facts, scales)], out, "fusion.weights", programs)


def misfit(trained: Saved) -> str | None:
    """Why the device cannot run a trained model; None where it can."""
    config, device = trained.config, MCULoRAConfig()
    if config.dims != device.dims:
        return f"its tokens have widths {dict(config.dims)}; the encoders of the device give {dict(device.dims)}"
    if (config.readout, set(config.tasks)) != (device.readout, set(device.tasks)):
        return (
            f"it has the {config.readout} readout of {', '.join(config.tasks)}; the device needs a window of both tasks"
        )
    if (labels := layout_of(trained.experiment.data).emotions) != EMOTIONS:
        return f"its emotions are {', '.join(labels)}; expected {', '.join(EMOTIONS)}"
    if missing := [c for c in COMBINATIONS if c not in trained.experiment.used]:
        return f"it was not trained on {', '.join(missing)}; the device needs all combinations"
    return None


def merged_graph(
    model: MCULoRA,
    c: Combination,
    encoders: Mapping[Modality, str],
    facts: Mapping[str, Any],
    scales: Mapping[Modality, Scale] | None = None,
) -> Exportable:
    """Tokens, mask and age of each modality of ``c`` -> ``logits`` [1, 7], ``sentiment`` [1, 1]."""
    inputs = dict(_window_inputs(model.config, modalities_of(c)))
    metadata = _fusion(c, model.config, encoders, facts)
    return Exportable(f"fusion.{c}.onnx", _FusionGraph(model.merged(c), scales), inputs, OUTPUTS, metadata)


def gathered_graph(
    model: MCULoRA,
    encoders: Mapping[Modality, str],
    facts: Mapping[str, Any],
    scales: Mapping[Modality, Scale] | None = None,
) -> Exportable:
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
    return Exportable(GATHERED, _GatheredGraph(gathered(model), scales), inputs, OUTPUTS, metadata)


def _export(graphs: Sequence[Exportable], out: Path, shared: str | None, programs: bool) -> None:
    write(out, [draft(g.name, g.net, g.inputs, g.outputs, g.metadata) for g in graphs], shared)
    for g in graphs if programs else ():
        save_program(out / g.name, g.net, g.inputs)


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


# ``voice`` and ``audio`` both write audio.onnx, ``dialogue`` and ``text`` text.onnx; fusion is trained on SHIPPED.
VOICE, DIALOGUE_ENCODER = "voice", "dialogue"
SHIPPED: Final = ("speech", VOICE, "face", DIALOGUE_ENCODER)
WHAT: Final = ("all", "encoders", VOICE, *ENCODERS, DIALOGUE_ENCODER, "fusion", "fp16", "restamp")


def main() -> None:
    """Command line: ``python -m pipelines.export [WHAT]``."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", choices=WHAT, default="all")
    parser.add_argument("--runs", type=Path, default=RUNS, help="directory of checkpoints")
    parser.add_argument("--checkpoint", type=Path, help="fusion: any .safetensors; default: starter of --runs")
    parser.add_argument("--out", type=Path, default=MODELS, help="directory of ONNX files")
    parser.add_argument("--source", type=Path, default=MODELS, help="restamp: directory of the files to rewrite")
    parser.add_argument("--torch", action="store_true", help="also write .pt2 programs for models.backend = torch")
    arguments = parser.parse_args()
    try:
        names = SHIPPED if arguments.what in ("all", "encoders") else (arguments.what,)
        if some := [n for n in names if n in (VOICE, *ENCODERS)]:
            export_encoders(arguments.runs, arguments.out, arguments.torch, some)
        if DIALOGUE_ENCODER in names:
            export_dialogue(arguments.runs, arguments.out)
        if arguments.what in ("all", "fusion"):
            path = arguments.checkpoint or arguments.runs / "starter.safetensors"
            export_fusion(path, arguments.out, arguments.torch)
        if arguments.what == "restamp":
            restamp(arguments.source, arguments.out)
        half(arguments.out)
        write_sums(arguments.out)
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
