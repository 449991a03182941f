"""The GPU bench on the CPU: every runtime that can be had gives what eager gives, and what cannot says why."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edge_mer.contract.errors import GpuError
from edge_mer.model import MCULoRA, MCULoRAConfig
from pipelines.exporting import export
from pipelines.study import bench_gpu
from pipelines.study.bench_gpu import BenchRow, Ceiling, GpuInfo, table, windows_of


def test_eager_and_onnx_runtime_agree_at_every_number_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_gpu, "LONG_ENOUGH", 0.01)
    torch.set_num_threads(1)
    every = bench_gpu.runtimes
    monkeypatch.setattr(bench_gpu, "runtimes", lambda *a: (r for r in every(*a) if r[0] != "torch.compile"))
    rows = list(bench_gpu.measure("small", (1, 3), GpuInfo("cpu")))
    assert [(r.runtime, r.windows) for r in rows] == [
        ("torch eager", 1),
        ("onnxruntime", 1),
        ("torch eager", 3),
        ("onnxruntime", 3),
    ]
    for row in rows:
        assert row.off is not None
        assert row.off <= 1e-4
        assert row.ms is not None
        assert row.roofline_ms > 0


def test_torch_compile_gives_what_eager_gives_and_is_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On the smallest model, for a compiler has to be waited for."""
    monkeypatch.setattr(bench_gpu, "LONG_ENOUGH", 0.01)
    config = MCULoRAConfig(width=8, blocks=1, heads=1, expansion=1, expert_blocks=0)
    model, device = MCULoRA(config).merged("atv"), GpuInfo("cpu")
    net, inputs = export._FusionGraph(model).eval(), windows_of(model, 2, "cpu")
    with torch.inference_mode():
        ready = dict(bench_gpu.runtimes(net, tmp_path / "fusion.onnx", inputs, device))["torch.compile"]
        row = bench_gpu._row("torch.compile", 2, ready, list(net(*inputs.values())), 1e-6, device)
    assert row.why_not is None, "it needs a C++ compiler: apt install g++"
    assert row.off is not None
    assert row.off <= 1e-5
    assert row.ms is not None
    assert row.ms > 0


def test_a_runtime_that_cannot_be_had_is_a_row_with_the_reason() -> None:
    def ready() -> bench_gpu.Run:
        raise GpuError("no usable NVIDIA GPU")

    row = bench_gpu._row("tensorrt", 8, ready, [], 0.5, GpuInfo("cpu"))
    assert row == BenchRow("tensorrt", 8, None, None, None, 0.5, None, None, "no usable NVIDIA GPU")
    assert "| 8 | tensorrt | no usable NVIDIA GPU |" in table([row])


def test_a_roofline_is_the_slower_of_arithmetic_and_memory() -> None:
    ceiling = Ceiling(flops=1e12, bytes=1e10)
    assert ceiling.ms(2e9, 1e6) == pytest.approx(2.0)
    assert ceiling.ms(1e6, 1e8) == pytest.approx(10.0)
