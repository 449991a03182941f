"""Checkpoints of experiments: one safetensors file with the weights, and in its metadata everything else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from edge_mer.contract.domain import Modality
from edge_mer.model import MCULoRA, MCULoRAConfig
from pipelines.data.corpora import DataError
from pipelines.data.files import draft
from pipelines.data.scaling import Scale
from pipelines.fusion import experiment
from pipelines.fusion.experiment import Experiment

_SCALE = "scale."


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """A trained model with the scales of its inputs. ``facts``: hash of the data, epoch, figures on validation."""

    experiment: Experiment
    config: MCULoRAConfig
    weights: Mapping[str, Tensor]
    scales: Mapping[Modality, Scale]
    facts: Mapping[str, Any]

    def model(self) -> MCULoRA:
        """In evaluation mode."""
        model = MCULoRA(self.config)
        model.load_state_dict(dict(self.weights))
        return model.eval()


def save(path: Path, saved: Saved) -> None:
    """Write whole or not at all."""
    tensors = {f"model.{k}": v.detach().cpu().contiguous() for k, v in saved.weights.items()}
    for m, scale in saved.scales.items():
        tensors |= {f"{_SCALE}{m}.mean": torch.from_numpy(scale.mean), f"{_SCALE}{m}.std": torch.from_numpy(scale.std)}
    texts = {
        "experiment": json.dumps(asdict(saved.experiment)),
        "config_sha16": saved.experiment.sha16,
        "model": json.dumps(asdict(saved.config)),
        "facts": json.dumps(dict(saved.facts)),
    }
    with draft(path) as partial:
        save_file(tensors, partial, texts)


def load(path: Path) -> Saved:
    """Raises DataError for a file that is absent or is not a checkpoint of an experiment."""
    if not path.is_file():
        raise DataError(f"{path} is absent; python -m pipelines.train CONFIG.toml writes a checkpoint")
    try:
        with safe_open(path, "pt") as file:
            texts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        values = {name: json.loads(texts[name]) for name in ("experiment", "model", "facts")}
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is not a checkpoint of an experiment: {error}") from error
    config = MCULoRAConfig(**values["model"])
    scales = {
        m: Scale(tensors[f"{_SCALE}{m}.mean"].numpy(), tensors[f"{_SCALE}{m}.std"].numpy())
        for m in config.dims
        if f"{_SCALE}{m}.mean" in tensors
    }
    weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    return Saved(experiment.of(values["experiment"]), config, weights, scales, values["facts"])
