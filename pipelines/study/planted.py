"""A generated set in which combinations conflict by a known size, and what each component of the method makes of it.

``python -m pipelines.study.planted`` trains the full model and each without one component on sets of several conflicts
and prints the mean correlation over the seven combinations, over seeds, on rows that nobody trained on.

A score s is seen by each modality through a shared disturbance u that is itself correlated with s: voice hears s + u,
words say u, the face shows s through noise. Words alone speak for s (weight ``alone`` > 0, since u and s correlate);
beside the voice they must be subtracted from it (weight -``conflict`` x 1). So the gradients of the words' branch under
``t`` and under ``at`` point apart, the more the larger ``conflict``. Suppressor variables: Horst 1941.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, Combination, Modality
from pipelines.data.corpora import NO_ORDINAL, UNKNOWN
from pipelines.data.feature_sets import LIMIT, Rows
from pipelines.data.feature_specs import PLANTED
from pipelines.data.splits import splits
from pipelines.fusion.estimates import figures, patterns
from pipelines.fusion.experiment import Experiment
from pipelines.fusion.predictor import predictor
from pipelines.fusion.trainer import train

WIDTH: Final = 12
PARTS: Final = {"train": 600, "dev": 200, "test": 600}
CONFLICTS: Final = (0.0, 0.5, 1.0)
# How much u follows s.
ALONE: Final = 0.5
NOISE: Final = 0.5
SYSTEMS: Final[Mapping[str, Mapping[str, Any]]] = {
    "full": {},
    "minus adapters": {"model": {"adapters": False}},
    "minus DPFT": {"dpft": False},
    "minus FAGM": {"fagm": 0},
    "minus L_ort": {"ortho": 0.0},
}
PLAN: Final = Experiment(
    data=PLANTED.name,
    batch=32,
    epochs=(12, 12, 0),
    rates=(2e-3, 1e-2),
    token_dropout=0.0,
    noise=0.0,
    average=0.98,
    keep="last",
    dpft_from=1,
    complete=0.0,
)
MODEL: Final = {"width": 8, "blocks": 1, "heads": 2, "expansion": 1, "expert_blocks": 1, "dropout": 0.0, "rank": 4}


def planted(conflict: float, seed: int = 0) -> Rows:
    """Rows of one token per modality, a score in [-3, 3], and the parts of PARTS."""
    random = np.random.default_rng([seed, 7])
    count = sum(PARTS.values())
    s = random.uniform(-2, 2, count)
    u = ALONE * s + random.normal(size=count)
    heard = {"audio": s + conflict * u, "video": s + 2 * random.normal(size=count), "text": u}
    vectors: dict[Modality, NDArray[np.float32]] = {}
    for m in MODALITIES:
        direction = random.normal(size=WIDTH)
        values = heard[m][:, None] * direction + NOISE * random.normal(size=(count, WIDTH))
        vectors[m] = values.astype(np.float32)
    one = np.ones((count, 1), np.float32)
    part = np.repeat(list(PARTS), list(PARTS.values()))
    return Rows(
        PLANTED,
        vectors,
        {m: v[:, None] for m, v in vectors.items()},
        dict.fromkeys(MODALITIES, one),
        dict.fromkeys(MODALITIES, 0 * one),
        np.full(count, UNKNOWN),
        np.clip(s, -LIMIT, LIMIT).astype(np.float32),
        np.full(count, NO_ORDINAL),
        np.array([f"{k:05d}" for k in range(count)]),
        np.arange(count),
        part,
        np.full(count, UNKNOWN),
        f"planted {conflict} {seed}",
    )


def best_linear(rows: Rows) -> dict[Combination, float]:
    """Correlation of least squares per combination on the scored rows: what there is to find."""
    found: dict[Combination, float] = {}
    train_, test = rows.split == "train", rows.split == "test"
    for c in COMBINATIONS:
        x = np.concatenate([rows.vectors[m] for m in MODALITIES if m[0] in c], 1)
        weights = np.linalg.lstsq(x[train_], rows.score[train_], rcond=None)[0]
        found[c] = float(np.corrcoef(x[test] @ weights, rows.score[test])[0, 1])
    return found


def scores(rows: Rows, changes: Mapping[str, Any], seed: int, out: Path) -> dict[Combination, float]:
    """Correlation per combination of one training, on rows that it has not seen."""
    given = dict(changes)
    model = {**MODEL, **given.pop("model", {})}
    split = splits(rows, seed)[0]
    fabric = Fabric(accelerator="cpu", devices=1)
    trained = train(replace(PLAN, seed=seed, model=model, **given), rows, split, out, fabric=fabric)
    index = split.final()
    predict = predictor(trained.model(), rows, index, trained.scales)
    none = np.full(len(index), UNKNOWN)
    return {
        c: figures(rows, index, none, predict(patterns(rows.layout, c, len(index))).sentiment)["corr"]
        for c in COMBINATIONS
    }


def table(seeds: int, conflicts: tuple[float, ...] = CONFLICTS) -> Iterator[str]:
    """Markdown, a line at a time."""
    yield f"| conflict | system | {' | '.join(COMBINATIONS)} | mean | full minus it, of {seeds} seeds |"
    yield "|---" * (len(COMBINATIONS) + 4) + "|"
    for conflict in conflicts:
        every = [planted(conflict, seed) for seed in range(seeds)]
        best = [best_linear(rows) for rows in every]
        yield _line(conflict, "least squares per combination", best, None)
        full: list[dict[Combination, float]] = []
        for name, changes in SYSTEMS.items():
            found = []
            for seed, rows in enumerate(every):
                with tempfile.TemporaryDirectory() as out:
                    found.append(scores(rows, changes, seed, Path(out)))
            full = full or found
            yield _line(conflict, name, found, None if found is full else full)


def _line(
    conflict: float,
    name: str,
    found: list[dict[Combination, float]],
    full: list[dict[Combination, float]] | None,
) -> str:
    shown = [f"{np.mean([f[c] for f in found]):.3f}" for c in COMBINATIONS]
    means = np.array([np.mean(list(f.values())) for f in found])
    gain = ""
    if full is not None:
        apart = np.array([np.mean(list(f.values())) for f in full]) - means
        error = apart.std(ddof=1) / math.sqrt(len(apart)) if len(apart) > 1 else math.nan
        gain = f"{apart.mean():+.3f} +- {error:.3f}"
    return f"| {conflict} | {name} | {' | '.join(shown)} | {means.mean():.3f} | {gain} |"


def main() -> None:
    parser = argparse.ArgumentParser("python -m pipelines.study.planted", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--conflicts", type=float, nargs="+", default=list(CONFLICTS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for line in table(arguments.seeds, tuple(arguments.conflicts)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
