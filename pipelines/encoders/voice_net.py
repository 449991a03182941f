"""The voice encoder's two networks: a frozen front of Whisper, pooled over voiced frames, and a small head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipelines.data.corpora import ACTED
from pipelines.encoders.voice_windows import DEPTH
from pipelines.encoders.whisper import WIDTH, WhisperFront

# The layers whose states are pooled, counted from 1, and the size of what comes of it: means and deviations.
POOLED = (2, 3)
SIZE = 2 * len(POOLED) * WIDTH
# Whisper's scaling of log10 power, with the loudest point of the window always at LOUDEST: level tells nothing.
LOUDEST, RANGE = 2.0, 8.0
# Of the head: its networks, what their logits are multiplied with in a token, and where a token ends.
MEMBERS, SCALE, LIMIT = 8, 0.5, 4.0
TOKEN_DIM = MEMBERS * len(ACTED)


class VoiceFront(nn.Module):
    """``logmel`` ``[B, 200, 80]`` -> states of the front pooled over voiced frames ``[B, 1536]``, and how many of the
    100 frames are voiced ``[B, 1]``. The same sound at another level gives the same."""

    def __init__(self, front: WhisperFront) -> None:
        super().__init__()
        self.front = front

    def forward(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        level = logmel - logmel.amax((1, 2), keepdim=True) + LOUDEST
        power = (10.0**level).sum(2).log10().view(len(level), -1, 2).mean(2)
        # From 2.75 to 2.25 tenfold below the loudest frame a frame counts more and more.
        loud = ((power - power.amax(1, keepdim=True) + DEPTH + 0.25) * 2).clamp(0, 1)
        share = (loud / loud.sum(1, keepdim=True))[:, :, None]
        states = self.front((level.clamp(min=LOUDEST - RANGE) + 4) / 4)
        parts = []
        for state in (states[i - 1] for i in POOLED):
            mean = (share * state).sum(1)
            parts += [mean, ((share * (state - mean[:, None]).square()).sum(1) + 1e-6).sqrt()]
        return torch.cat(parts, 1), loud.sum(1, keepdim=True)


class VoiceHead(nn.Module):
    """Pooled states ``[B, 1536]`` -> token ``[B, 64]``: the logits of eight small networks, each in the order of ACTED
    and less its mean. Of a token the logits ``[B, 8]`` are their mean and ``prior``.

    A value means the same whoever trained the head, so that tokens of heads that were trained on other speakers can be
    mixed. ``mean`` and ``std`` are those of the training data.
    """

    def __init__(self, width: int = 48, drops: tuple[float, float] = (0.3, 0.4)) -> None:
        super().__init__()
        self.mean, self.std = nn.Buffer(torch.zeros(SIZE)), nn.Buffer(torch.ones(SIZE))
        self.prior = nn.Buffer(torch.zeros(len(ACTED)))
        self.width, self.drops = width, nn.ModuleList(nn.Dropout(p) for p in drops)
        self.hidden = nn.Linear(SIZE, MEMBERS * width)
        self.out = nn.Parameter(torch.randn(MEMBERS, width, len(ACTED)) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(MEMBERS, 1, len(ACTED)))

    def members(self, pooled: Tensor) -> Tensor:
        """Logits ``[B, 8, 8]`` of each network."""
        hidden = self.hidden(self.drops[0](((pooled - self.mean) / self.std).clamp(-4, 4))).relu()
        each = self.drops[1](hidden).view(len(pooled), MEMBERS, 1, self.width)
        out: Tensor = (each @ self.out + self.bias)[:, :, 0]
        return out

    def forward(self, pooled: Tensor) -> Tensor:
        each = self.members(pooled)
        return (SCALE * (each - each.mean(-1, keepdim=True))).clamp(-LIMIT, LIMIT).flatten(1)

    def logits(self, token: Tensor) -> Tensor:
        out: Tensor = token.view(len(token), MEMBERS, len(ACTED)).mean(1) / SCALE + self.prior
        return out


class VoiceHeadGraph(nn.Module):
    """``pooled`` ``[B, 1536]``, ``voiced`` ``[B, 1]`` -> token ``[B, 64]``, logits ``[B, 8]``, weight ``[B, 1]``.

    The weight of a token in its clip is a logit: twice the voiced frames weigh twice.
    """

    def __init__(self, head: VoiceHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, pooled: Tensor, voiced: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        token = self.head(pooled)
        return token, self.head.logits(token), voiced.log()
