"""The moving average of a net's weights, which is what a training keeps (Polyak and Juditsky 1992)."""

from __future__ import annotations

from typing import TypeVar, cast

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

N = TypeVar("N", bound=nn.Module)


def averaged(net: nn.Module, decay: float) -> AveragedModel:
    """Starts as ``net``; each ``update_parameters(net)`` moves it, and its buffers, by ``1 - decay`` towards it."""
    return AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)  # type: ignore[no-untyped-call]


def kept(average: AveragedModel, like: N) -> N:
    """The averaged net itself, of the type of ``like``."""
    return cast(N, average.module)
