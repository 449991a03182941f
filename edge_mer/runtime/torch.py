"""The torch plug-in of the runtime: runs the program that ``pipelines.export --torch`` saved beside an ONNX file.

For comparisons by maintainers, loaded by name only (``models.backend = "torch"``). Slower than ONNX Runtime.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import ModelError, missing_extra
from edge_mer.runtime.backend import Arrays, TensorSpec, check_inputs, zeros
from edge_mer.runtime.model_file import read_model

try:
    import torch
except ImportError:
    raise missing_extra("torch", "train") from None

SUFFIX = ".pt2"
Specs = Mapping[str, TensorSpec]


@dataclass(frozen=True, slots=True, eq=False)
class TorchGraph:
    """One exported program in eager mode. Implements ``edge_mer.runtime.backend.Graph``."""

    inputs: Specs
    outputs: Specs
    metadata: Mapping[str, Any]
    sha256: str
    module: torch.nn.Module

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run once; outputs by name. Raises InputError when a name, shape or dtype differs from ``inputs``."""
        check_inputs(inputs, self.inputs)
        with torch.no_grad():
            out = self.module(*(torch.from_numpy(np.ascontiguousarray(inputs[n])) for n in self.inputs))
        values = (out,) if isinstance(out, torch.Tensor) else tuple(out)
        return {name: x.numpy() for name, x in zip(self.outputs, values, strict=True)}


class Torch:
    """Implements ``edge_mer.runtime.backend.Backend`` on the CPU with one thread."""

    name = "torch"

    def load(self, path: Path) -> TorchGraph:
        """Raises ModelError for a bad ONNX file, and where the saved program is missing or from another export."""
        model, program = read_model(path), path.with_suffix(SUFFIX)
        if not program.is_file():
            raise ModelError(f"{program}: absent; write it with: python -m pipelines.export --torch")
        torch.set_num_threads(1)
        extra = {"sha256": ""}
        try:
            module = torch.export.load(str(program), extra_files=extra).module()
        except Exception as error:  # torch raises several unrelated types for a damaged archive
            raise ModelError(f"{program}: not a usable program ({str(error).splitlines()[0]})") from error
        if extra["sha256"] != model.sha256:
            raise ModelError(f"{program}: was exported from a different model than {path.name}; export both again")
        inputs, outputs = (_specs(model.metadata["contract"][side]) for side in ("inputs", "outputs"))
        graph = TorchGraph(inputs, outputs, model.metadata, model.sha256, module)
        graph.run(zeros(inputs))
        return graph

    def describe(self) -> dict[str, str]:
        """Versions and thread counts: everything that could change a result bit."""
        return {"backend": self.name, "version": torch.__version__, "threads": "1", "machine": platform.machine()}


def _specs(contract: Sequence[Mapping[str, Any]]) -> Specs:
    return {s["name"]: TensorSpec(tuple(s["shape"]), np.dtype(s["dtype"])) for s in contract}
