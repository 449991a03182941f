"""The self-test that a backend must pass: the same inputs everywhere, figures where it fails."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mer.contract.errors import ModelError
from edge_mer.runtime.backend import Arrays, Graph, TensorSpec
from edge_mer.runtime.golden import deviations, draw, golden, self_test
from edge_mer.runtime.onnx import OnnxRuntime
from tests.runtime.tiny import tiny

# Of seed 0: what the files' own outputs belong to.
IDS = [0, 1, 2, 4, 0, 2, 6, 1, 6, 3, 4, 4]
CRC = 659968094
F32, I64 = np.dtype(np.float32), np.dtype(np.int64)


@dataclass(frozen=True)
class Off:
    """A graph whose outputs are changed."""

    inner: Graph
    add: float = 0.0
    factor: float = 1.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def run(self, inputs: Arrays) -> Mapping[str, Any]:
        return {n: np.float32(self.factor) * x + np.float32(self.add) for n, x in self.inner.run(inputs).items()}


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return OnnxRuntime().load(tiny(tmp_path / "m.onnx"))


def test_backend_that_reproduces_the_export_passes(graph: Graph) -> None:
    assert [d.output for d in self_test(graph)] == ["y"]
    assert deviations(graph)[0].largest <= 1e-6


@pytest.mark.parametrize(
    ("wrong", "figure"), [({"add": 0.25}, r"0\.25"), ({"factor": 1.01}, r"0\.0\d+"), ({"add": float("nan")}, "inf")]
)
def test_deviating_backend_is_refused_with_figures(graph: Graph, wrong: dict[str, float], figure: str) -> None:
    with pytest.raises(ModelError, match=rf"self-test failed: y off by {figure} \(limit 0\.0001"):
        self_test(Off(graph, **wrong))


@dataclass(frozen=True)
class Constant:
    """A graph of one output, near zero, that gives ``value`` where the export expected 0.001."""

    output: str
    value: float
    inputs: Mapping[str, TensorSpec] = field(default_factory=dict)
    sha256: str = ""

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return {self.output: TensorSpec((1, 1), F32)}

    @property
    def metadata(self) -> Mapping[str, Any]:
        return {"golden": golden({}, [{self.output: np.float32([[0.001]])}], atol=1e-3, rtol=5e-3)}

    def run(self, inputs: Arrays) -> Mapping[str, Any]:
        return {self.output: np.float32([[self.value]])}


@pytest.mark.parametrize(("output", "limit"), [("sentiment", 6e-3), ("logits", 1e-3)])
def test_limit_near_zero_is_relative_to_the_scale_for_sentiment_only(output: str, limit: float) -> None:
    """FP16 rounds two probabilities; their difference may be smaller than that rounding."""
    assert deviations(Constant(output, 0.001 + 0.99 * limit))[0].good
    with pytest.raises(ModelError, match=f"{output} off by"):
        self_test(Constant(output, 0.001 + 1.02 * limit))


def test_model_without_golden_vectors_is_an_error(graph: Graph) -> None:
    class Bare(Off):
        metadata: Mapping[str, Any] = {}

    with pytest.raises(ModelError, match="no golden vectors; export it again"):
        self_test(Bare(graph))


def test_drawn_inputs_are_in_range_and_reproducible() -> None:
    specs = {"x": TensorSpec((5, 400), F32), "ids": TensorSpec((1, 500), I64), "m": TensorSpec((1, 300), F32)}
    ranges: Any = {
        "x": {"low": -30, "high": 5, "integer": False},
        "ids": {"low": 0, "high": 6, "integer": True},
        "m": {"low": 0, "high": 1, "integer": True},
    }
    drawn = draw(specs, ranges, 0)
    assert -30 <= drawn["x"].min() < -29
    assert 4 < drawn["x"].max() < 5
    assert set(drawn["ids"].ravel()) == set(range(7))
    assert set(drawn["m"].ravel()) == {0.0, 1.0}
    assert drawn["x"].dtype == F32
    assert drawn["ids"].dtype == I64
    # The files hold outputs for exactly these bits: they must not change between versions or machines.
    assert drawn["ids"][0, :12].tolist() == IDS
    assert zlib.crc32(drawn["x"].tobytes()) == CRC
    assert (drawn["x"] != draw(specs, ranges, 1)["x"]).mean() > 0.99
