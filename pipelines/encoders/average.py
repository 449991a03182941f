"""The running average of a model's weights (Polyak and Juditsky 1992), as every training here keeps it."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def running_average(model: nn.Module, decay: float) -> AveragedModel:
    """It begins as a copy; each ``update_parameters`` moves it by ``1 - decay`` of the way, buffers too."""
    mean = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=mean, use_buffers=True)
