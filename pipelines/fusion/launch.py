"""Where training runs: one CPU, one GPU, or the processes of torchrun, through lightning Fabric."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from lightning.fabric import Fabric
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from torch import Tensor, nn

from edge_mer.model import MCULoRA
from pipelines.fusion.experiment import Experiment


def launch(experiment: Experiment, out: Path) -> Fabric:
    """Whatever there is: a CPU, a GPU, or the processes that torchrun started."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        num_nodes=max(1, processes // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))),
        # Idle adapters have no gradient, by design.
        strategy="ddp_find_unused_parameters_true" if processes > 1 else "auto",
        precision=experiment.precision,  # type: ignore[arg-type]
        loggers=TensorBoardLogger(str(out), name="tensorboard", version=""),
    )
    fabric.launch()
    return fabric


class Scored(nn.Module):
    """A model whose forward is a loss of it: what Fabric, its autocast and DDP see is one scalar."""

    def __init__(self, model: MCULoRA) -> None:
        super().__init__()
        self.model = model

    def forward(self, loss: Callable[[MCULoRA], Tensor]) -> Tensor:
        return loss(self.model)
