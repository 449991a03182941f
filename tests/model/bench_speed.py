"""Speed, run by command only: ``python -m pytest tests/model/bench_speed.py -s`` (one thread, see conftest)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.model import MCULoRA, MCULoRAConfig, Readout, Window
from edge_mer.model.inputs import erasable, erased
from edge_mer.model.losses import balance, emotion_loss, orthogonality, sentiment_loss
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.exporting import export
from pipelines.exporting.onnx_file import write
from pipelines.fusion.fagm import Fagm
from tests.model.authors import Authors

SMALL = MCULoRAConfig()
# Tokens of each modality; the second row is the live window, 80 tokens in all but for rounding.
LENGTHS = (1, 27, 80)


def given(config: MCULoRAConfig, batch: int, length: int) -> dict[Modality, Window]:
    return {
        m: Window(torch.randn(batch, length, config.dims[m]), torch.ones(batch, length), torch.rand(batch, length))
        for m in MODALITIES
    }


def ours(config: MCULoRAConfig, length: int) -> Callable[[], Readout]:
    model, windows = MCULoRA(config).merged("atv"), given(config, 1, length)
    return lambda: model(windows)


def shipped(config: MCULoRAConfig, length: int, folder: Path) -> Callable[[], object]:
    """The merged model as the device runs it."""
    path = exported(config, length, folder)
    graph = OnnxRuntime().load(path)
    arrays = {n: np.asarray(x) for n, x in export._window_inputs(at(config, length), MODALITIES)}
    return lambda: graph.run(arrays)


def at(config: MCULoRAConfig, length: int) -> MCULoRAConfig:
    return replace(config, tokens=dict.fromkeys(MODALITIES, length))


def exported(config: MCULoRAConfig, length: int, folder: Path) -> Path:
    """The merged graph of all three modalities."""
    model = MCULoRA(at(config, length))
    g = export.merged_graph(model, "atv", dict.fromkeys(MODALITIES, ""), {})
    write(folder, [export.draft(g.name, g.net, g.inputs, g.outputs, g.metadata)])
    return folder / g.name


def theirs(config: MCULoRAConfig, length: int) -> Callable[[], torch.Tensor]:
    model = Authors(config.dims, config.width, config.blocks, 8).eval()
    tokens = {m: w.tokens for m, w in given(config, 1, length).items()}
    return lambda: model(tokens, torch.ones(1, length), 0)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("kind", ["shipped", "merged", "merged-without-experts", "authors"])
def test_forward(benchmark: BenchmarkFixture, kind: str, length: int, tmp_path: Path) -> None:
    """Batch 1 at equal width, depth, tokens and threads."""
    benchmark.group = f"forward, D {SMALL.width}, depth {SMALL.blocks}, {length} tokens per modality"
    torch.manual_seed(0)
    run = {
        "shipped": lambda: shipped(SMALL, length, tmp_path),
        "merged": lambda: ours(SMALL, length),
        "merged-without-experts": lambda: ours(replace(SMALL, expert_blocks=0), length),
        "authors": lambda: theirs(SMALL, length),
    }[kind]()
    with torch.inference_mode():
        benchmark(run)


def steps(batch: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """One optimizer step without and with FAGM (tau = 4) on a mixed batch."""
    torch.manual_seed(0)
    model, windows = MCULoRA(SMALL).train(), given(SMALL, batch, 27)
    combination, label = torch.arange(batch) % 7, torch.arange(batch) % 7
    score, optimizer = torch.rand(batch) * 6 - 3, torch.optim.AdamW(model.parameters(), 1e-4)
    fagm = Fagm(model)

    def task(gone: frozenset[Modality], extra: float = 0.0) -> torch.Tensor:
        out = model(erased(windows, combination, gone), combination)
        loss = emotion_loss(out.logits, label) + sentiment_loss(out.polarity, score)
        return loss + 0.1 * orthogonality(out.trace) + 0.01 * balance(out.trace) if extra else loss

    def backward() -> None:
        optimizer.zero_grad(set_to_none=True)
        task(frozenset(), extra=1.0).backward()

    def plain() -> None:
        backward()
        optimizer.step()

    def modulated() -> None:
        backward()
        fagm.step(optimizer, task, erasable(combination))

    return plain, modulated


def test_a_step_with_fagm_costs_at_most_1_35_of_one_without() -> None:
    """Alternating groups of tau steps; the fastest of each, because other processes only add time."""
    plain, modulated = steps(32)

    def four(step: Callable[[], None]) -> float:
        start = time.perf_counter()
        for _ in range(4):
            step()
        return time.perf_counter() - start

    pairs = [(four(plain), four(modulated)) for _ in range(9)][1:]
    without, within = (min(group) / 4 for group in zip(*pairs, strict=True))
    print(f"\nstep {without * 1e3:.0f} ms, with FAGM {within * 1e3:.0f} ms, ratio {within / without:.3f}")
    assert within <= 1.35 * without
