"""The merged fusion model on a GPU by every runtime: ``python -m pipelines.bench_gpu [--size S] [--batches 1,8,64]``.

torch eager, torch.compile, a CUDA graph of eager, ONNX Runtime and (where installed) TensorRT, at several numbers of
windows. Device time stands beside a roofline that this device reached in the same run (its best GEMM, its best copy);
every output is compared with eager. On a machine without a GPU the same runs on the CPU, without CUDA graphs.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import EdgeMerError
from edge_mer.model import MCULoRA, sized
from edge_mer.runtime.backend import Backend, Graph
from edge_mer.runtime.engines import EngineCache
from edge_mer.runtime.onnx import CPU, CUDA, OnnxRuntime
from edge_mer.runtime.tensorrt import TENSORRT, TensorRT
from pipelines.exporting import export
from pipelines.exporting.onnx_file import write

TOLERANCE: Final = 1e-3
LONG_ENOUGH: Final = 0.2
Inputs = Mapping[str, Tensor]
Run = Callable[[], tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class BenchRow:
    """``ms`` per call between device events (a compiled graph's copies from and to the host included), ``host_ms`` for
    a host that waits for each call. ``off``: the largest difference to eager.
    """

    runtime: str
    windows: int
    ms: float | None
    host_ms: float | None
    windows_per_s: float | None
    roofline_ms: float
    share_of_roofline: float | None
    off: float | None
    why_not: str | None = None


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What this device reached just now: ``flops`` per second in a large GEMM, ``bytes`` per second in a large copy."""

    flops: float
    bytes: float

    def ms(self, flops: float, traffic: float) -> float:
        return 1e3 * max(flops / self.flops, traffic / self.bytes)


class GpuInfo:
    """One torch device, and how time is measured on it."""

    def __init__(self, name: str) -> None:
        self.name, self.cuda = name, name == "cuda"
        # An FP32 model promises 1e-4; TF32 keeps 10 bits of each product.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    @property
    def title(self) -> str:
        return torch.cuda.get_device_name() if self.cuda else f"CPU, {torch.get_num_threads()} thread(s)"

    def settle(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def time(self, run: Callable[[], object]) -> tuple[float, float]:
        """Milliseconds per call: of the device, and of the host that waits for each call. Least of five groups."""
        for _ in range(3):
            run()
        self.settle()
        began = time.perf_counter()
        run()
        self.settle()
        count = max(3, min(1000, round(LONG_ENOUGH / max(time.perf_counter() - began, 1e-6))))
        device, host = zip(*(self._group(run, count) for _ in range(5)), strict=True)
        return min(device), min(host)

    def _group(self, run: Callable[[], object], count: int) -> tuple[float, float]:
        began = time.perf_counter()
        for _ in range(count):
            run()
            self.settle()
        host = (time.perf_counter() - began) * 1e3 / count
        if not self.cuda:
            return host, host
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        first.record()
        for _ in range(count):
            run()
        last.record()
        self.settle()
        return first.elapsed_time(last) / count, host

    def ceiling(self) -> Ceiling:
        size = 8192 if self.cuda else 1024
        a = torch.randn(size, size, device=self.name)
        gemm = self.time(lambda: a @ a)[0]
        source = torch.empty(2**28 if self.cuda else 2**25, dtype=torch.uint8, device=self.name)
        target = torch.empty_like(source)
        copy = self.time(lambda: target.copy_(source))[0]
        return Ceiling(2 * size**3 / gemm * 1e3, 2 * source.nbytes / copy * 1e3)


def windows_of(model: MCULoRA, count: int, device: str) -> dict[str, Tensor]:
    """``count`` full windows of all three modalities."""
    generator = torch.Generator().manual_seed(0)
    inputs: dict[str, Tensor] = {}
    for m in MODALITIES:
        length, width = model.config.tokens[m], model.config.dims[m]
        inputs[m] = torch.rand(count, length, width, generator=generator) * 2 - 1
        inputs[f"{m}_mask"] = torch.ones(count, length)
        inputs[f"{m}_age"] = torch.rand(count, length, generator=generator) * 4
    return {name: x.to(device) for name, x in inputs.items()}


def work_of(path: Path, inputs: Inputs) -> tuple[float, float]:
    """Floating-point operations of all products, and bytes of weights, inputs and outputs: the least to be moved."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    shapes |= {t.name: list(t.dims) for t in model.graph.initializer}
    products = [n for n in model.graph.node if n.op_type in ("MatMul", "Gemm")]
    flops = sum(2 * int(np.prod(shapes[n.output[0]])) * shapes[n.input[0]][-1] for n in products)
    weights = sum(4 * int(np.prod(t.dims)) for t in model.graph.initializer)
    return flops, weights + sum(x.nbytes for x in inputs.values())


def runtimes(net: nn.Module, path: Path, inputs: Inputs, device: GpuInfo) -> Iterator[tuple[str, Callable[[], Run]]]:
    """Each runtime with what makes it ready; making it may raise."""
    values = tuple(inputs.values())
    yield "torch eager", lambda: lambda: net(*values)
    yield "torch.compile", lambda: _compiled(net, values)
    if device.cuda:
        yield "torch, CUDA graph", lambda: _captured(net, values)
    ort = OnnxRuntime(CUDA if device.cuda else CPU)
    yield ort.name, lambda: _through(ort, path, inputs)
    if device.cuda:
        engines = EngineCache(path.parent / "engines")
        yield TENSORRT, lambda: _through(TensorRT(TENSORRT, engines, may_build=True), path, inputs)


def _compiled(net: nn.Module, values: tuple[Tensor, ...]) -> Run:
    compiled: Callable[..., tuple[Tensor, ...]] = torch.compile(net)
    return lambda: compiled(*values)


def _captured(net: nn.Module, values: tuple[Tensor, ...]) -> Run:
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            net(*values)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out: tuple[Tensor, ...] = net(*values)

    def run() -> tuple[Tensor, ...]:
        graph.replay()
        return out

    return run


def _through(backend: Backend, path: Path, inputs: Inputs) -> Run:
    """A compiled graph as the device runs it: arrays in host memory, copies included."""
    graph: Graph = backend.load(path)
    arrays = {name: x.cpu().numpy() for name, x in inputs.items()}
    return lambda: tuple(torch.from_numpy(x) for x in graph.run(arrays).values())


def measure(size: str, batches: tuple[int, ...], device: GpuInfo) -> Iterator[BenchRow]:
    """One row per runtime and number of windows; a runtime that cannot be had says why."""
    torch.manual_seed(0)
    model = MCULoRA(sized("small" if size == "small" else "paper")).merged("atv")
    net = export._FusionGraph(model).eval().to(device.name)
    ceiling = device.ceiling()
    with tempfile.TemporaryDirectory() as place, torch.inference_mode():
        for count in batches:
            inputs = windows_of(model, count, device.name)
            path = _exported(Path(place), model, inputs)
            least = ceiling.ms(*work_of(path, inputs))
            truth = [x.cpu() for x in net(*inputs.values())]
            for name, ready in runtimes(net, path, inputs, device):
                yield _row(name, count, ready, truth, least, device)


def _exported(place: Path, model: MCULoRA, inputs: Inputs) -> Path:
    count = len(next(iter(inputs.values())))
    with torch.inference_mode(False):
        host = {name: x.clone().cpu() for name, x in inputs.items()}
        net = export._FusionGraph(deepcopy(model).cpu())
        write(place, [export.draft(f"fusion.{count}.onnx", net, host, export.OUTPUTS, {"kind": "bench"})])
    return place / f"fusion.{count}.onnx"


def _row(
    name: str, count: int, ready: Callable[[], Run], truth: list[Tensor], least: float, device: GpuInfo
) -> BenchRow:
    try:
        run = ready()
        off = max(float((a.cpu() - b).abs().max()) for a, b in zip(run(), truth, strict=True))
        ms, host = device.time(run)
    except (EdgeMerError, RuntimeError, torch.cuda.OutOfMemoryError) as error:
        return BenchRow(name, count, None, None, None, least, None, None, str(error).splitlines()[0])
    return BenchRow(name, count, ms, host, 1e3 * count / host, least, least / ms, off)


def table(rows: list[BenchRow]) -> str:
    lines = ["| windows | runtime | device ms | host ms | windows/s | roofline ms | share | off |", "|---" * 8 + "|"]
    for r in rows:
        if r.ms is None:
            lines.append(f"| {r.windows} | {r.runtime} | {r.why_not} | | | {r.roofline_ms:.3f} | | |")
            continue
        lines.append(
            f"| {r.windows} | {r.runtime} | {r.ms:.3f} | {r.host_ms:.3f} | {r.windows_per_s:.0f} | {r.roofline_ms:.3f} "
            f"| {r.share_of_roofline:.0%} | {r.off:.1e} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.bench_gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=("small", "paper"), default="paper")
    parser.add_argument("--batches", default="1,8,64,512", help="numbers of windows, comma-separated")
    parser.add_argument("--cpu", action="store_true", help="on the CPU even where there is a GPU")
    parser.add_argument("--json", action="store_true", help="one JSON object per row")
    arguments = parser.parse_args()
    device = GpuInfo("cuda" if torch.cuda.is_available() and not arguments.cpu else "cpu")
    if not device.cuda:
        torch.set_num_threads(1)
    rows = []
    for row in measure(arguments.size, tuple(int(n) for n in arguments.batches.split(",")), device):
        rows.append(row)
        if arguments.json:
            print(json.dumps(asdict(row)), flush=True)
    if not arguments.json:
        print(f"{device.title}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}\n\n{table(rows)}")
    if bad := [r for r in rows if r.off is not None and not r.off <= TOLERANCE]:
        raise SystemExit(f"outputs differ from eager: {', '.join(f'{r.runtime} by {r.off:.2g}' for r in bad)}")


if __name__ == "__main__":
    main()
