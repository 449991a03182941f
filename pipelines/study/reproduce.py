"""The literature's tables on the features that researchers own: ``python -m pipelines.reproduce SET --features DIR``.

Trains one model for all combinations per fold and seed, as ``pipelines/fusion/configs/paper.toml`` or ``--config``
says, chosen on validation rows; scores each test row once under the seven fixed combinations and under random missing
rates of 0.1 to 0.7 (masks alike for every model and seed); and prints the published rows of that set beside ours. Run
again, it continues after a kill; finished trainings are kept in ``--out``.

DIR holds what its authors hand out: GCNet's ``*_features_raw_*way.pkl`` with ``features/``, MMSA's ``aligned_50.pkl``,
MMGCN's ``meld_multi_features.pkl``. Pickles are read without running code.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from edge_mer.contract.errors import EdgeMerError
from pipelines.data import feature_sets
from pipelines.data.feature_sets import Rows
from pipelines.data.feature_specs import LITERATURE, FeatureSpec
from pipelines.data.splits import splits
from pipelines.encoders.shipped import RUNS
from pipelines.fusion import experiment, launch, saved, trainer
from pipelines.fusion.estimates import RATES, answers, figures
from pipelines.fusion.experiment import CONFIGS, Experiment
from pipelines.fusion.predictor import predictor
from pipelines.study.published import PUBLISHED, Published

PAPER: Final = CONFIGS / "paper.toml"
Found = Mapping[str, Mapping[str, float]]
"""Figures by column: a combination or a rate."""


def shown_of(layout: FeatureSpec) -> tuple[str, str]:
    """The two figures that papers print: of the sign on non-zero scores, or WA and UA (weighted F1 on MELD)."""
    if not layout.emotions:
        return "acc2_non0", "f1_non0"
    return "emotion_accuracy", "emotion_ua" if layout.reader == "gcnet" else "emotion_wf1"


def run(rows: Rows, plan: Experiment, out: Path, seed: int) -> Found:
    """All folds of one seed; every row is scored once, by a model that has not seen its group."""
    layout, count = rows.layout, len(rows)
    emotion: dict[str, NDArray[Any]] = {}
    sentiment: dict[str, NDArray[Any]] = {}
    every = []
    for number, split in enumerate(splits(rows, seed)):
        name = f"{plan.data}.{seed}.{number}"
        path, own = out / f"{name}.safetensors", replace(plan, seed=seed)
        kept = saved.load(path) if path.is_file() else None
        if kept is None or (kept.experiment, kept.facts["data_sha256"]) != (own, rows.sha256):
            work = out / f"{name}.work"
            kept = trainer.train(own, rows, split, work, fabric=launch.launch(own, work))
            saved.save(path, kept)
        index = split.final()
        every.append(index)
        answered = answers(layout, predictor(kept.model(), rows, index, kept.scales), len(index))
        for column in answered.emotion:
            emotion.setdefault(column, np.full(count, -1))[index] = answered.emotion[column]
            sentiment.setdefault(column, np.full(count, np.nan, np.float32))[index] = answered.sentiment[column]
    scored = np.concatenate(every)
    return {c: figures(rows, scored, emotion[c][scored], sentiment[c][scored]) for c in emotion}


def report(rows: Rows, found: Sequence[Found], published: Sequence[Published] = PUBLISHED) -> str:
    """Markdown: ours (mean over seeds, and their deviation) and the published rows, fixed and random."""
    layout = rows.layout
    first, second = shown_of(layout)
    fixed, rates = list(layout.combinations), [str(r) for r in RATES]
    lines = []
    for title, columns in (("fixed combinations", fixed), ("rate of missing entries", rates)):
        lines += [f"{title}: {first} / {second}, percent", "", f"| system | {' | '.join(columns)} | mean | protocol |"]
        lines.append("|---" * (len(columns) + 3) + "|")
        for row in (p for p in published if p.data == layout.name):
            shown = [_pair(row.columns.get(c)) for c in columns]
            whole = [row.columns[c] for c in columns if c in row.columns]
            mean = row.mean if columns is fixed and row.mean else _mean(whole) if len(whole) == len(columns) else None
            if mean or whole:
                lines.append(f"| {row.system} | {' | '.join(shown)} | {_pair(mean)} | {row.source} |")
        pairs = {c: (_over(found, c, first), _over(found, c, second)) for c in columns}
        shown = [_pair(pairs[c]) for c in columns]
        deviation = np.std([np.mean([100 * f[c][first] for c in columns]) for f in found])
        seeds = f"one model, chosen on validation rows, {len(found)} seed(s), +- {deviation:.1f}"
        lines += [f"| **ours** | {' | '.join(shown)} | {_pair(_mean(list(pairs.values())))} | {seeds} |", ""]
    others = [name for name in found[0][fixed[0]] if name not in (first, second)]
    lines += ["| ours, other figures | " + " | ".join(fixed) + " |", "|---" * (len(fixed) + 1) + "|"]
    for name in others:
        values = [f"{np.mean([f[c][name] for f in found]):.3f}" for c in fixed]
        lines.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join(lines)


def _over(found: Sequence[Found], column: str, name: str) -> float:
    return float(100 * np.mean([f[column][name] for f in found]))


def _mean(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return float(np.mean([a for a, _ in pairs])), float(np.mean([b for _, b in pairs]))


def _pair(pair: tuple[float, float] | None) -> str:
    return f"{pair[0]:.1f} / {pair[1]:.1f}" if pair else "-"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.reproduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", choices=list(LITERATURE))
    parser.add_argument("--features", type=Path, required=True, help="the folder of the set's files, or its pickle")
    parser.add_argument("--config", type=Path, default=PAPER, help="another configuration of the training")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RUNS / "reproduce")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        plan = replace(experiment.load(arguments.config), data=arguments.set)
        rows = feature_sets.read(arguments.set, arguments.features)
        found = [run(rows, plan, arguments.out, seed) for seed in range(arguments.seeds)]
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error
    print(report(rows, found))


if __name__ == "__main__":
    main()
