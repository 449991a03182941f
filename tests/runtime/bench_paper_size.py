"""The figures of issue 7, run by command only: ``python -m pytest tests/runtime/bench_paper_size.py -s`` (one thread).

The merged graph at the paper's size (D 256, depth 4) in ONNX Runtime, FP32 and INT8, against the module shape of the
authors' first release in torch, at equal D, depth, tokens and threads; and what share of the machine's GEMM rate that
is. The targets are for the equal shape: the authors' module has no MMoLRE experts. With our two blocks of experts on
top the same ratios are printed too, without a target.

The runs of all variants alternate, and the figure is the median (p50) of the CPU time of the one thread, which is its
time on an idle machine. The rate of the GEMM is its best run, so the share is never overestimated.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from calibration.int8 import quantised
from calibration.qdq import shapes_of
from edge_mer.contract.domain import MODALITIES
from edge_mer.model.config import MCULoRAConfig, sized
from edge_mer.runtime.golden import draw
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.exporting.onnx_file import write
from tests.model.authors import Authors
from tests.model.bench_speed import exported

SIZE = sized("paper")
# Tokens per modality, and how many times faster than the authors' full module ours must be.
TARGETS = {1: 8.0, 16: 4.0, 80: 2.0}
ROUNDS = 60
AUTHORS, EQUAL, WITH_EXPERTS = "authors, torch", "equal shape", "with our experts"
Step = Callable[[], object]


def timed_in_turn(steps: Mapping[str, Step], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Milliseconds of CPU time of every run, in turn, by runner."""
    took: dict[str, list[float]] = {name: [] for name in steps}
    with torch.inference_mode():
        for _ in range(rounds):
            for name, step in steps.items():
                step()  # fills its own caches
                began = time.thread_time()
                step()
                took[name].append((time.thread_time() - began) * 1e3)
    return took


def multiplications(path: Path) -> int:
    """Number of multiplications in all products of the graph, including attention."""
    model = onnx.load(path)
    shapes = shapes_of(model) | {t.name: list(t.dims) for t in model.graph.initializer}
    return sum(
        int(np.prod(shapes[n.output[0]])) * shapes[n.input[0]][-1]
        for n in model.graph.node
        if n.op_type in ("MatMul", "Gemm")
    )


def gemm(folder: Path, size: int = 512) -> tuple[Step, int]:
    """One large product, as the peak rate of ONNX Runtime on this machine, and its multiplications."""
    weights = numpy_helper.from_array(np.random.default_rng(0).normal(size=(size, size)).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")],
        "gemm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [size, size])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"edge_mer": '{"kind": "bench"}'})
    onnx.save(model, folder / "gemm.onnx")
    loaded, x = OnnxRuntime().load(folder / "gemm.onnx"), np.ones((size, size), np.float32)
    return lambda: loaded.run({"x": x}), size**3


def numpy_gemm(size: int = 512) -> Step:
    a = np.ones((size, size), np.float32)
    return lambda: a @ a


def ours(config: MCULoRAConfig, length: int, folder: Path) -> tuple[Path, dict[str, Step]]:
    """The FP32 file, and one step of it and of its INT8 form on the same full windows."""
    path = exported(config, length, folder)
    whole = OnnxRuntime().load(path)
    ranges = whole.metadata["golden"]["ranges"]
    write(folder / "int8", [quantised(path, [draw(whole.inputs, ranges, seed) for seed in range(3)])])
    small = OnnxRuntime().load(folder / "int8" / path.name)
    inputs = {n: np.ones_like(x) if n.endswith("_mask") else x for n, x in draw(whole.inputs, ranges, 0).items()}
    return path, {"FP32": lambda: whole.run(inputs), "INT8": lambda: small.run(inputs)}


@pytest.mark.parametrize("length", list(TARGETS))
@pytest.mark.timeout(600)
def test_paper_size(length: int, tmp_path: Path) -> None:
    assert os.environ.get("OMP_NUM_THREADS") == "1", "run with OMP_NUM_THREADS=1"
    torch.set_num_threads(1)
    torch.manual_seed(0)
    authors = Authors(SIZE.dims, SIZE.width, SIZE.blocks, 8).eval()
    tokens = {m: torch.randn(1, length, SIZE.dims[m]) for m in MODALITIES}
    shapes = {EQUAL: replace(SIZE, expert_blocks=0), WITH_EXPERTS: SIZE}
    made = {name: ours(config, length, tmp_path / str(config.expert_blocks)) for name, config in shapes.items()}
    product, work = gemm(tmp_path)
    took = timed_in_turn(
        {
            AUTHORS: lambda: authors(tokens, torch.ones(1, length), 0),
            **{f"{name}, {form}": step for name, (_, forms) in made.items() for form, step in forms.items()},
            "GEMM 512, ONNX Runtime": product,
            "GEMM 512, numpy": numpy_gemm(),
        }
    )
    p50 = {name: float(np.median(values)) for name, values in took.items()}
    rate = 2 * work / min(min(values) for name, values in took.items() if name.startswith("GEMM")) / 1e6
    print(f"\n{length} tokens per modality, load {os.getloadavg()[0]:.1f}, GEMM {rate:.0f} GFLOP/s")
    for name, values in took.items():
        print(f"  {name:<28} p50 {p50[name]:7.3f} ms  least {min(values):7.3f} ms")
    shares = {name: 2 * multiplications(path) / p50[f"{name}, FP32"] / 1e6 / rate for name, (path, _) in made.items()}
    for name, share in shares.items():
        faster, rounded = p50[AUTHORS] / p50[f"{name}, FP32"], p50[f"{name}, FP32"] / p50[f"{name}, INT8"]
        print(f"  {name}: {faster:.2f}x the authors' module, {share:.0%} of the GEMM rate, INT8 {rounded:.2f}x FP32")
    print(f"  wanted of the equal shape: {TARGETS[length]:g}x; at 80 tokens 60 % and 1.7x too")
    assert p50[AUTHORS] >= TARGETS[length] * p50[f"{EQUAL}, FP32"]
    if length == max(TARGETS):
        assert shares[EQUAL] >= 0.6
        assert p50[f"{EQUAL}, FP32"] >= 1.7 * p50[f"{EQUAL}, INT8"]
