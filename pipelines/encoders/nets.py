"""The three encoder networks (torch). Their compiled forms are what ``edge_mer.perception`` runs."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_mer.perception.audio import CONTEXT_FRAMES, FRAMES_PER_TOKEN
from pipelines.data.corpora import FINE
from pipelines.data.functionals import Functionals
from pipelines.encoders.intonation import Intonation

TOKEN_DIM = 64
CLASSES = 7
# What faces are labelled in two ways: by ten people's votes, and by the words of a search (FER2013's own).
VIEWS = ("votes", "search")
# What text is labelled in two ways: written comments (GoEmotions) and spoken dialogue (MELD).
DOMAINS = ("comment", "dialogue")


class AudioNet(nn.Module):
    """Log-mel ``[B, F + 10 (n - 1), 64]`` and pitch ``[B, F + 10 (n - 1), 2]`` -> tokens ``[B, n, 64]``; each sees
    exactly its last F = 156 frames.

    ``mean`` and ``std`` are those of each functional in the training data.
    """

    def __init__(self, classes: int = 8, width: int = 512, dim: int = TOKEN_DIM) -> None:
        super().__init__()
        self.functionals, self.intonation = Functionals(CONTEXT_FRAMES), Intonation()
        self.size = size = self.functionals.size + self.intonation.size
        self.mean, self.std = nn.Buffer(torch.zeros(size)), nn.Buffer(torch.ones(size))
        self.body = nn.Sequential(
            nn.Dropout(0.3),
            nn.Linear(size, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(width, dim),
            nn.Tanh(),
        )
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(dim, classes)
        self.weigh = nn.Linear(dim, 1)

    def forward(self, mel: Tensor, pitch: Tensor) -> Tensor:
        count = (mel.shape[1] - CONTEXT_FRAMES) // FRAMES_PER_TOKEN + 1
        starts = range(0, count * FRAMES_PER_TOKEN, FRAMES_PER_TOKEN)
        mels, pitches = (torch.cat([x[:, s : s + CONTEXT_FRAMES] for s in starts]) for x in (mel, pitch))
        return self.tokens(self.standard(self.measured(mels, pitches))).view(count, len(mel), -1).transpose(0, 1)

    def measured(self, mel: Tensor, pitch: Tensor) -> Tensor:
        """Functionals ``[B, size]`` of windows ``[B, F, 64]`` and ``[B, F, 2]``."""
        return torch.cat([self.functionals(mel), self.intonation(mel, pitch)], 1)

    def standard(self, functionals: Tensor) -> Tensor:
        """The same in deviations from the training data's mean, at most 4."""
        out: Tensor = ((functionals - self.mean) / self.std).clamp(-4, 4)
        return out

    def tokens(self, summary: Tensor) -> Tensor:
        """``[B, size]`` -> ``[B, 64]``."""
        out: Tensor = self.body(summary)
        return out

    def token_logits(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Of each token its logits ``[B, n, classes]`` and its weight ``[B, n]``, a logit too, within the clip."""
        tokens = self.drop(tokens)
        return self.head(tokens), self.weigh(tokens)[..., 0]

    def logits(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Clip logits ``[B, classes]``: those of the tokens of ``mask`` [B, n], by their weights."""
        logits, weight = self.token_logits(tokens)
        share = torch.softmax(weight + (1 - mask) * -1e4, -1)
        return (share[..., None] * logits).sum(1)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))


class _Residual(nn.Module):
    """Two convolutions, their channels weighed by squeeze and excitation (Hu et al. 2018), beside a short cut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_convolution(width, width), nn.ReLU(), _convolution(width, width))
        self.weigh = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        body = self.body(x)
        return functional.relu(x + body * self.weigh(body.mean((2, 3)))[..., None, None])


class FaceNet(nn.Module):
    """Grey faces ``[B, 1, 48, 48]`` in [0, 1] -> expression logits ``[B, 2, 7]``, one row per VIEWS; residual CNN.

    ``readable`` is no part of the training: pipelines.encoders.face_readable fits it last.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (24, 48, 80, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(1, widths[0]), nn.ReLU()]
        for inputs, outputs in pairwise(widths):
            layers += [_convolution(inputs, outputs, 2), nn.ReLU(), _Residual(outputs)]
        self.features = nn.Sequential(*layers)
        self.drop = nn.Dropout(0.25)
        self.head = nn.Linear(widths[-1], len(VIEWS) * CLASSES)
        self.readable = nn.Linear(widths[-1], 1)

    def vector(self, face: Tensor) -> Tensor:
        """What the net makes of a face, ``[B, 128]``."""
        centred = face - face.mean((1, 2, 3), keepdim=True)
        scale = (centred.square().mean((1, 2, 3), keepdim=True) + 1e-3).sqrt()
        out: Tensor = self.features(centred / scale).mean((2, 3))
        return out

    def forward(self, face: Tensor) -> Tensor:
        out: Tensor = self.head(self.drop(self.vector(face))).unflatten(-1, (len(VIEWS), CLASSES))
        return out

    def both(self, face: Tensor) -> tuple[Tensor, Tensor]:
        """Expression logits ``[B, 2, 7]`` and the logit of a readable face ``[B, 1]``, of the face and its mirror image
        together."""
        vector = (self.vector(face) + self.vector(face.flip(-1))) / 2
        return self.head(vector).unflatten(-1, (len(VIEWS), CLASSES)), self.readable(vector)


class TextNet(nn.Module):
    """Sub-word ids ``[B, T]`` with mask ``[B, T]`` -> tokens ``[B, T, 64]``: a convolution over neighbours, then a
    pre-norm transformer.

    Positions count from the newest sub-word (the right end), so that padding in front changes nothing. A label means
    another thing in another domain (of DOMAINS): each has a head of its own over the tokens that all share.
    """

    def __init__(self, vocabulary: int, length: int = 24, width: int = 96, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.length = heads, length
        self.words = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.words.weight, std=0.05)
        self.places = nn.Parameter(torch.randn(length, width) * 0.02)
        self.near = nn.Conv1d(width, width, 3, padding=1)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * layers))
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(layers))
        self.out = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.up = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(layers))
        self.down = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(layers))
        self.drop = nn.Dropout(0.25)
        self.last = nn.LayerNorm(width)
        self.token = nn.Linear(width, TOKEN_DIM)
        self.score = nn.Linear(TOKEN_DIM, 1)
        self.emotion = nn.Linear(2 * TOKEN_DIM, len(DOMAINS) * CLASSES)
        self.fine = nn.Linear(2 * TOKEN_DIM, len(FINE))
        self.sentiment = nn.Linear(2 * TOKEN_DIM, 1)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        batch, length = ids.shape
        keep = mask[..., None]
        x = self.drop(self.words(ids) + self.places[self.length - length :]) * keep
        x = (x + functional.gelu(self.near(x.transpose(1, 2)).transpose(1, 2))) * keep
        bias = (1 - mask)[:, None, None] * -1e4
        for i, (qkv, out, up, down) in enumerate(zip(self.qkv, self.out, self.up, self.down, strict=True)):
            q, k, v = qkv(self.norms[2 * i](x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            weights = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias, -1)
            x = x + self.drop(out((weights @ v).transpose(1, 2).flatten(2)))
            x = x + self.drop(down(functional.gelu(up(self.norms[2 * i + 1](x)))))
        return torch.tanh(self.token(self.last(x))) * keep

    def vector(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """The segment ``[B, 128]``: the tokens by attention, and the highest of each of their values."""
        weights = torch.softmax(self.score(tokens)[..., 0] + (1 - mask) * -1e4, -1)
        highest = (tokens - 2 * (1 - mask)[..., None]).amax(1).clamp(min=-1)
        out: Tensor = self.drop(torch.cat([(weights[..., None] * tokens).sum(1), highest], -1))
        return out

    def pooled(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Emotion logits ``[B, domains, 7]`` and sentiment ``[B]`` in [-3, 3]."""
        return self.read(self.vector(tokens, mask))

    def read(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """As ``pooled``, from the vector."""
        logits = self.emotion(vector).view(len(vector), len(DOMAINS), CLASSES)
        return logits, 3 * torch.tanh(self.sentiment(vector)[..., 0])
