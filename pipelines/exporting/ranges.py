"""The range of every tensor that INT8 needs, over recorded inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from edge_mer.contract.errors import ModelError
from edge_mer.runtime.backend import Arrays, Graph
from pipelines.exporting.qdq import Product

# The largest value of one input in ten thousand may be clipped: one outlier must not cost everybody a bit.
SHARE: Final = 99.99


@dataclass(slots=True, eq=False)
class RangeRecorder:
    """A graph that remembers what it was given: every ``stride``-th input, at most ``most``."""

    graph: Graph
    stride: int = 1
    most: int = 400
    seen: list[Arrays] = field(default_factory=list)
    count: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.graph, name)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        if self.count % self.stride == 0 and len(self.seen) < self.most:
            self.seen.append({n: np.array(x) for n, x in inputs.items()})
        self.count += 1
        return self.graph.run(inputs)


def ranges(model: onnx.ModelProto, chosen: Sequence[Product], inputs: Iterable[Arrays]) -> dict[str, float]:
    """The magnitude that becomes 127 of each activation of ``chosen``, and of each result of a convolution.

    Per input the largest magnitude is taken, and of those the 99.99th percentile. Raises ModelError without inputs.
    """
    names = sorted({p.activation for p in chosen} | {p.result for p in chosen if p.result})
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    own = {v.name for v in (*model.graph.input, *model.graph.output)}
    for name in names:
        if name not in own:
            watched.graph.output.append(onnx.ValueInfoProto(name=name))
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(watched.SerializeToString(), options)
    rows: list[list[float]] = []
    for given in inputs:
        made = [n for n in names if n not in given]
        seen = {**given, **dict(zip(made, session.run(made, dict(given)) if made else [], strict=True))}
        rows.append([float(np.abs(seen[n]).max()) for n in names])
    if not rows:
        raise ModelError("no recorded input to take INT8 ranges from")
    return dict(zip(names, np.percentile(np.array(rows), SHARE, axis=0).tolist(), strict=True))
