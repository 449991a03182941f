"""MMoLRE: shared and task-specific low-rank convolutional experts with a router per task."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_mer.model.config import MCULoRAConfig


@dataclass(frozen=True, slots=True, eq=False)
class Routing:
    """One block's routing of one modality, for L_bal and logs; K tasks, N experts, S = 1 (window) or L (dialogue).

    ``gates`` [K, B, S, N] has exactly k entries above 0 that sum to 1; ``scores`` [K, B, S, N] are those of the router,
    without noise; ``valid`` bool [B, S]: whether the modality was present.
    """

    gates: Tensor
    scores: Tensor
    valid: Tensor


def top_gates(scores: Tensor, k: int) -> Tensor:
    """Softmax over the k largest of scores [..., N], 0 elsewhere; of equal scores the lower index is selected.

    The comparison form of ALGORITHMS.md 5.3: rank_i = #[s_j > s_i] + #[j < i, s_j = s_i], without TopK or Scatter.
    """
    mine, other = scores[..., :, None], scores[..., None, :]
    n = scores.shape[-1]
    earlier = torch.ones(n, n, device=scores.device).tril(-1) > 0
    rank = ((other > mine) | ((other == mine) & earlier)).to(scores.dtype).sum(-1)
    # A row always keeps its largest score, so that -inf cannot make NaN.
    return torch.softmax(torch.where(rank < k, scores, torch.full_like(scores, -torch.inf)), -1)


class UniTSE(nn.Module):
    """One block of experts of one modality: y = x + sum_n G_n f_n(LN x) + f_task(LN x), per task.

    Source: MMoLRE (arXiv 2505.14143), in the form of ALGORITHMS.md 3.1. An expert is a convolution of kernel 3 to rank
    r, GELU, and one of kernel 1 back: the first is one product with the three shifted copies side by side. The
    parameters of all tasks are in one tensor, [K, ...], and those of all shared experts side by side.
    Hard sharing is the same block with one always active expert for one common task.
    """

    def __init__(self, config: MCULoRAConfig) -> None:
        super().__init__()
        width, tasks = config.width, len(config.tasks)
        ranks, own = config.expert_ranks, config.task_rank
        if not config.experts:
            ranks, own, tasks = (sum(ranks) + tasks * own,), 0, 1
        self.top, self.noise = min(config.top, len(ranks)), config.gate_noise
        self.per_token = config.readout == "dialogue"
        self.norm = nn.LayerNorm(width)
        self.router = nn.Parameter(torch.randn(tasks, width, len(ranks)) * width**-0.5)
        total = sum(ranks)
        self.shared_in, self.shared_in_bias = _matrix(3 * width, total), nn.Parameter(torch.zeros(total))
        self.shared_out, self.shared_out_bias = _matrix(total, width), nn.Parameter(torch.zeros(len(ranks), width))
        self.task_in, self.task_in_bias = _matrix(tasks, 3 * width, own), nn.Parameter(torch.zeros(tasks, 1, 1, own))
        self.task_out, self.task_out_bias = _matrix(tasks, own, width), nn.Parameter(torch.zeros(tasks, 1, 1, width))
        owner = torch.arange(len(ranks)).repeat_interleave(torch.tensor(ranks))
        self.owner = nn.Buffer(owner, persistent=False)

    def forward(self, x: Tensor, kept: Tensor) -> tuple[Tensor, Routing]:
        """x [K or 1, B, T, D] (1: the same for all tasks), ``kept`` bool [B, T] -> [K, B, T, D]; masked tokens 0."""
        h = _zeroed(self.norm(x), kept)
        scores, valid = self._scores(h, kept)
        noisy = scores + torch.randn_like(scores) * self.noise if self.training and self.noise > 0 else scores
        gates = top_gates(noisy, self.top)
        around = functional.pad(h, (0, 0, 1, 1))
        wide = torch.cat([around[..., :-2, :], h, around[..., 2:, :]], -1)
        # The convolutions of kernel 1 do not mix tokens: one select after both masks like one after each.
        shared = functional.gelu(wide @ self.shared_in + self.shared_in_bias)
        y = (shared * gates.index_select(-1, self.owner)) @ self.shared_out + gates @ self.shared_out_bias
        own = functional.gelu(wide @ self.task_in[:, None] + self.task_in_bias)
        y = y + own @ self.task_out[:, None] + self.task_out_bias
        return _zeroed(x + y, kept), Routing(gates, scores, valid)

    def _scores(self, h: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Router scores [K, B, S, N] of the mean over the tokens of a window, or of each utterance."""
        if self.per_token:
            return h @ self.router[:, None], kept
        count = kept.to(h.dtype).sum(1).clamp(min=1)[:, None, None]
        return (h.sum(2, keepdim=True) / count) @ self.router[:, None], kept.any(1, keepdim=True)


def _zeroed(x: Tensor, kept: Tensor) -> Tensor:
    """Set masked tokens to 0 by select: biases must not leak through a convolution into their neighbours."""
    return torch.where(kept[..., None], x, x.new_zeros(()))


def _matrix(*shape: int) -> nn.Parameter:
    """Uniform in +-1 / sqrt(d_in); d_in is the last axis but one."""
    bound = 1 / math.sqrt(max(shape[-2], 1))
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
