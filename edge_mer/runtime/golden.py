"""Golden vectors: outputs stored in a model by the export, which a backend must reproduce before it is used."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import ModelError
from edge_mer.runtime.backend import Arrays, Graph, TensorSpec

# Smallest magnitude that limits are relative to. Sentiment is 3 (P(positive) - P(negative)): near zero the two cancel
# and the rest does not show how exact a backend is; so it is one point of its scale.
LEAST_SIZE: Final[Mapping[str, float]] = {"sentiment": 1.0}


class Range(TypedDict):
    """Values of one input, in [low, high]; ``integer``: whole numbers only."""

    low: float
    high: float
    integer: bool


class GoldenCase(TypedDict):
    """``outputs``: float32, little-endian, base64, by name."""

    seed: int
    outputs: dict[str, str]


class _Required(TypedDict):
    ranges: dict[str, Range]
    cases: list[GoldenCase]
    atol: float
    rtol: float


class Golden(_Required, total=False):
    """In the metadata under ``golden``. A backend may deviate by ``atol`` + ``rtol`` x the largest expected value,
    or x ``LEAST_SIZE`` of that output where that is larger. ``every``: the stride of the values that are kept of an
    output, flattened; absent for 1."""

    every: int


@dataclass(frozen=True, slots=True)
class Deviation:
    """The largest difference of one output over all cases, and its limit."""

    output: str
    largest: float
    limit: float

    @property
    def good(self) -> bool:
        return self.largest <= self.limit

    def __str__(self) -> str:
        return f"{self.output} off by {self.largest:.2g} (limit {self.limit:.2g})"


def draw(specs: Mapping[str, TensorSpec], ranges: Mapping[str, Range], seed: int) -> dict[str, NDArray[Any]]:
    """The inputs of case ``seed``: the same bits on every machine, so that only outputs need to be stored."""
    inputs: dict[str, NDArray[Any]] = {}
    for name, spec in specs.items():
        within = ranges[name]
        unit = _unit(int(np.prod(spec.shape)), zlib.crc32(f"{name} {seed}".encode())).reshape(spec.shape)
        if within["integer"]:
            values = np.floor(within["low"] + unit * (within["high"] - within["low"] + 1))
        else:
            values = within["low"] + unit * (within["high"] - within["low"])
        inputs[name] = values.astype(spec.dtype)
    return inputs


def golden(ranges: Mapping[str, Range], expected: Sequence[Arrays], atol: float, rtol: float, every: int = 1) -> Golden:
    """The metadata entry; ``expected`` are the outputs for the drawn inputs of seeds 0, 1, ..."""
    cases: list[GoldenCase] = [
        {"seed": seed, "outputs": {n: _packed(x.ravel()[::every]) for n, x in outputs.items()}}
        for seed, outputs in enumerate(expected)
    ]
    made: Golden = {"ranges": dict(ranges), "cases": cases, "atol": atol, "rtol": rtol}
    return made if every == 1 else {**made, "every": every}


def deviations(graph: Graph) -> list[Deviation]:
    """One per output. Raises ModelError when the model has no golden vectors."""
    kept: Golden | None = graph.metadata.get("golden")
    if kept is None:
        raise ModelError("the model has no golden vectors; export it again: python -m pipelines.export")
    largest = dict.fromkeys(graph.outputs, 0.0)
    size = {name: LEAST_SIZE.get(name, 0.0) for name in graph.outputs}
    for case in kept["cases"]:
        got = graph.run(draw(graph.inputs, kept["ranges"], case["seed"]))
        for name in graph.outputs:
            expected = np.frombuffer(base64.b64decode(case["outputs"][name]), "<f4")
            values = got[name].ravel()[:: kept.get("every", 1)].astype(np.float64)
            difference = np.abs(values - expected).max(initial=0.0)
            largest[name] = max(largest[name], float("inf") if np.isnan(difference) else float(difference))
            size[name] = max(size[name], float(np.abs(expected).max(initial=0.0)))
    return [Deviation(n, largest[n], kept["atol"] + kept["rtol"] * size[n]) for n in graph.outputs]


def self_test(graph: Graph) -> list[Deviation]:
    """Raises ModelError with figures when an output deviates by more than the model allows."""
    found = deviations(graph)
    if bad := [d for d in found if not d.good]:
        raise ModelError(f"self-test failed: {'; '.join(map(str, bad))}")
    return found


def _packed(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def _unit(count: int, salt: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) by a 32-bit integer hash (Wellons' lowbias32), exact in float32."""
    with np.errstate(over="ignore"):
        x = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(salt)
        x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
        x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    unit: NDArray[np.float64] = ((x ^ (x >> np.uint32(16))) >> np.uint32(8)).astype(np.float64) / 2**24
    return unit
