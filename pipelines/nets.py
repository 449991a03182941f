"""The three encoder networks (torch). Their compiled forms are what ``edge_mer.perception`` runs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

TOKEN_DIM = 64
CLASSES = 7


class AudioNet(nn.Module):
    """Log-mel ``[B, 76 + 10 (n - 1), 64]`` -> tokens ``[B, n, 64]``; each sees exactly its last 76 frames."""

    def __init__(self, mean: float = -18.0, std: float = 5.0, width: int = 40, dim: int = TOKEN_DIM) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.tensor(mean))
        self.std = nn.Buffer(torch.tensor(std))
        self.local = nn.Sequential(
            nn.Conv2d(1, 20, (4, 5), stride=(2, 2), padding=(0, 2), bias=False),
            nn.BatchNorm2d(20),
            nn.ReLU(),
            nn.Conv2d(20, width, 3, stride=(1, 2), padding=(0, 1), bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, (5, 3), stride=(5, 2), padding=(0, 1), groups=width, bias=False),
            nn.Conv2d(width, 64, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.past = nn.Sequential(
            nn.Conv1d(64 * 8, 96, 1, bias=False),
            nn.BatchNorm1d(96),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv1d(96, 96, 4, bias=False),
            nn.BatchNorm1d(96),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv1d(96, dim, 4),
        )
        self.head = nn.Linear(dim, CLASSES)

    def forward(self, mel: Tensor) -> Tensor:
        x = self.local(((mel - self.mean) / self.std)[:, None])
        tokens: Tensor = torch.tanh(self.past(x.transpose(2, 3).flatten(1, 2)))
        return tokens.transpose(1, 2)

    def logits(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Clip logits ``[B, 7]`` from tokens ``[B, n, 64]`` by their mean over ``mask`` [B, n]."""
        weight = mask / mask.sum(1, keepdim=True).clamp(min=1)
        out: Tensor = self.head((tokens * weight[..., None]).sum(1))
        return out


def _separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_separable(width, width), _separable(width, width)[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.body(x))


class FaceNet(nn.Module):
    """Grey faces ``[B, 1, 48, 48]`` in [0, 1] -> expression logits ``[B, 7]``; separable residual CNN."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 24, 3, 2, 1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            _separable(24, 48),
            _Residual(48),
            _separable(48, 96, 2),
            _Residual(96),
            _separable(96, 160, 2),
            _Residual(160),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.3),
        )
        self.head = nn.Linear(160, CLASSES)

    def forward(self, face: Tensor) -> Tensor:
        centred = face - face.mean((1, 2, 3), keepdim=True)
        scale = (centred.square().mean((1, 2, 3), keepdim=True) + 1e-3).sqrt()
        out: Tensor = self.head(self.features(centred / scale))
        return out


class TextNet(nn.Module):
    """Sub-word ids ``[B, T]`` with mask ``[B, T]`` -> tokens ``[B, T, 64]``; pre-norm transformer.

    Positions count from the newest sub-word (the right end), so that padding in front changes nothing.
    """

    def __init__(self, vocabulary: int, length: int = 24, width: int = 96, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.length = heads, length
        self.words = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.words.weight, std=0.05)
        self.places = nn.Parameter(torch.randn(length, width) * 0.02)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * layers))
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(layers))
        self.out = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.up = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(layers))
        self.down = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(layers))
        self.drop = nn.Dropout(0.2)
        self.last = nn.LayerNorm(width)
        self.token = nn.Linear(width, TOKEN_DIM)
        self.score = nn.Linear(TOKEN_DIM, 1)
        self.emotion = nn.Linear(TOKEN_DIM, CLASSES)
        self.sentiment = nn.Linear(TOKEN_DIM, 1)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        batch, length = ids.shape
        keep = mask[..., None]
        x = self.drop(self.words(ids) + self.places[self.length - length :]) * keep
        bias = (1 - mask)[:, None, None] * -1e4
        for i, (qkv, out, up, down) in enumerate(zip(self.qkv, self.out, self.up, self.down, strict=True)):
            q, k, v = qkv(self.norms[2 * i](x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            weights = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias, -1)
            x = x + self.drop(out((weights @ v).transpose(1, 2).flatten(2)))
            x = x + self.drop(down(functional.gelu(up(self.norms[2 * i + 1](x)))))
        return torch.tanh(self.token(self.last(x))) * keep

    def pooled(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Emotion logits ``[B, 7]`` and sentiment ``[B]`` in [-3, 3] of attention-pooled tokens."""
        weights = torch.softmax(self.score(tokens)[..., 0] + (1 - mask) * -1e4, -1)
        vector = (weights[..., None] * tokens).sum(1)
        return self.emotion(vector), 3 * torch.tanh(self.sentiment(vector)[..., 0])
