"""The compiled models on this machine: step time, its tail, and memory growth over 10,000 steps."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import psutil

from edge_mer.bench.live import unmask
from edge_mer.bench.result import Figure, percentile, spread
from edge_mer.bus import ZmqBus
from edge_mer.client.instance import Instance, temporary_place
from edge_mer.config import ModelsConfig
from edge_mer.contract.clock import SECOND
from edge_mer.demo.config import demo_config
from edge_mer.runtime.backend import Graph
from edge_mer.runtime.engine_builds import model_files
from edge_mer.runtime.golden import Range, draw
from edge_mer.runtime.select import in_precision, open_backend

STEP_MS, TAIL, GROWTH_MB = 1.5, 2.0, 2.0
WARM, STEPS, LONG = 50, 2000, 10_000
PAUSE_S: Final = 0.02
START_US: Final = 20 * SECOND
PRECISIONS: Final = ("fp32", "fp16", "int8")


def measure(models: ModelsConfig | None = None) -> list[Figure]:
    """Each model in each available precision, one window at a time, on the configured backend."""
    models = models or ModelsConfig()
    figures: list[Figure] = []
    for precision in PRECISIONS:
        backend = open_backend(models.model_copy(update={"precision": "fp32"}))
        for plain in model_files(models):
            path = in_precision(plain, precision)
            if precision != "fp32" and path == plain:
                continue
            graph = backend.load(path)
            took, used = _times(graph, STEPS)
            name = f"{path.stem} {precision}, {backend.name}"
            figures += spread(f"step of {name}", took, "ms", STEP_MS if path.stem.startswith("fusion") else None)
            figures += [
                Figure(f"p99 / p50 of {name}", _tail(took), "x", None, "other load on this machine included"),
                Figure(f"p99 / p50 of its own CPU time, {name}", _tail(used), "x", None),
            ]
            if path.stem == "fusion.atv":
                figures.append(_growth(name, graph))
    return [*figures, *_beside_workers(models)]


def _beside_workers(models: ModelsConfig) -> list[Figure]:
    """The fusion step while capture, encoders and fusion of the demo session run in their own processes.

    Steps are paced as in the fusion node, because a loop without pauses would itself compete for the cores. That loop
    is measured too, without a target.
    """
    graph = open_backend(models).load(next(p for p in model_files(models) if p.stem == "fusion.atv"))
    with temporary_place() as place:
        directory = Path(place) / "run"
        directory.mkdir(mode=0o700)
        instance, bus = Instance(demo_config(Path(place), None, None, {}), directory), ZmqBus(directory)
        try:
            reader, deadline = bus.reader("emotion"), bus.clock.now_us() + START_US
            unmask(bus)
            while not any(m.body.combination == "atv" for m in reader.drain()) and bus.clock.now_us() < deadline:
                bus.wait(SECOND // 4)
            runs = [(_times(graph, STEPS, pause), len(reader.drain())) for pause in (PAUSE_S, 0.0)]
        finally:
            instance.stop()
            bus.close()
    figures: list[Figure] = []
    for name, ((took, used), count), tail in zip(("every 20 ms", "without a pause"), runs, (TAIL, None), strict=True):
        name = f"fusion.atv beside the live workers, {name}"
        figures += spread(f"step of {name}", took, "ms")
        figures += [
            Figure(f"p99 / p50 of {name}", _tail(took), "x", tail, f"n={STEPS}; {count} estimates by the workers"),
            Figure(f"p99 / p50 of its own CPU time, {name}", _tail(used), "x", TAIL, f"n={STEPS}"),
        ]
    return figures


def inputs_of(graph: Graph) -> dict[str, Any]:
    """Plausible random input for any of our models."""
    ranges: dict[str, Range] = {
        name: {"low": 0.0 if "_" in name else -1.0, "high": 1.0, "integer": name.endswith(("mask", "ids"))}
        for name in graph.inputs
    }
    return draw(graph.inputs, ranges, 0)


def _times(graph: Graph, steps: int, pause_s: float = 0.0) -> tuple[list[float], list[float]]:
    """Wall time and CPU time of this thread for each step (ms)."""
    inputs, took, used = inputs_of(graph), list[float](), list[float]()
    for _ in range(WARM + steps):
        if pause_s:
            time.sleep(pause_s)
        began, own = time.perf_counter(), time.thread_time()
        graph.run(inputs)
        used.append((time.thread_time() - own) * 1e3)
        took.append((time.perf_counter() - began) * 1e3)
    return took[WARM:], used[WARM:]


def _tail(values: list[float]) -> float:
    return round(percentile(values, 0.99) / percentile(values, 0.5), 2)


def _growth(name: str, graph: Graph) -> Figure:
    """Growth of memory over 10,000 steps."""
    inputs = inputs_of(graph)
    for _ in range(LONG // 10):
        graph.run(inputs)
    before = psutil.Process().memory_info().rss
    for _ in range(LONG):
        graph.run(inputs)
    grown = (psutil.Process().memory_info().rss - before) / 1e6
    return Figure(f"memory after {LONG} more steps of {name}", round(grown, 2), "MB", GROWTH_MB)
