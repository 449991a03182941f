"""Cost of an explanation on one thread: the graphs of all subsets of a full window, run in one tick."""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from edge_mer.bench.result import Figure, spread
from edge_mer.config import Config, ModelsConfig
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.messages import Presence
from edge_mer.fusion.estimate import Pending, estimate
from edge_mer.fusion.explain import explain
from edge_mer.fusion.model import FusionModel, load_fusion_model
from edge_mer.fusion.settings import settings_from
from edge_mer.fusion.window import TokenWindow
from edge_mer.runtime.select import models_directory, open_backend

EXPLAIN_MS: Final = 5.0
WARM, TIMES = 50, 1000


def measure(models: ModelsConfig | None = None) -> list[Figure]:
    """p50, p95 and p99 of one explanation of three present modalities."""
    models = models or ModelsConfig()
    model = load_fusion_model(open_backend(models), models_directory(models.directory))
    random = np.random.default_rng(0)
    windows = {m: full_window(model, m, random) for m in MODALITIES}
    presence = {m: Presence("present", None, w.tokens) for m, w in windows.items()}
    pending = Pending(0, windows, presence, {}, 0, None)
    pending = estimate(pending, settings_from(Config().fusion), model)
    took = []
    for _ in range(WARM + TIMES):
        began = time.perf_counter()
        explain(pending, model)
        took.append((time.perf_counter() - began) * 1e3)
    return spread("explanation of atv", took[WARM:], "ms", EXPLAIN_MS)


def full_window(model: FusionModel, modality: Modality, random: np.random.Generator) -> TokenWindow:
    """A full window of random tokens."""
    n, dim = model.capacity[modality], model.dims[modality]
    values = random.standard_normal((n, dim)).astype(np.float32)
    ages = np.linspace(4, 0, n, dtype=np.float32)
    return TokenWindow(values, np.ones(n, np.float32), ages, n, 0, False, None)
