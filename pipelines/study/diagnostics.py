"""What the parts of the method do in a training: conflicts, experts, speeds. One figure, and a table on the terminal.

``python -m pipelines.study.diagnostics SET`` (planted, mosi, ravdess, meld) trains the set's configuration once with
FAGM and once without, and shows

* conflict of combinations: the cosine of the gradients of the base between each two combinations (below 0: adapters
  have something to do), and of the two tasks in the shared experts (below 0: experts of tasks have);
* experts: how the router spreads the load, as entropy over the most that is possible (1: even), and each one's share;
* speed: how far each branch moves in an epoch, relative to its weights, with FAGM and without.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from edge_mer.contract.domain import COMBINATIONS, Combination, Modality
from edge_mer.model import MCULoRA
from edge_mer.model.config import Task
from edge_mer.model.experts import UniTSE
from edge_mer.model.losses import emotion_loss, sentiment_loss
from pipelines.data import feature_sets
from pipelines.data.corpora import DEFAULT_ROOT
from pipelines.data.feature_sets import Rows
from pipelines.data.splits import splits
from pipelines.fusion import experiment
from pipelines.fusion.experiment import CONFIGS, Experiment
from pipelines.fusion.samples import Samples, SampleSet
from pipelines.fusion.saved import Saved
from pipelines.fusion.trainer import RESUME, train
from pipelines.study import planted

SETS: Final = ("planted", "mosi", "ravdess", "meld")
BATCH: Final = 128
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Diagnosis:
    """``combinations`` [C, C] and ``tasks``: cosines of gradients; ``entropy`` in [0, 1] and ``load`` [N] of experts by
    branch; ``speeds``: relative change of each branch, by epoch."""

    used: tuple[Combination, ...]
    combinations: Matrix
    tasks: float | None
    entropy: Mapping[Modality, float]
    load: Mapping[Modality, NDArray[np.float64]]
    speeds: Mapping[Modality, list[float]]


def diagnose(rows: Rows, plan: Experiment) -> Diagnosis:
    """One training; everything is measured on its train rows."""
    speeds: dict[Modality, list[float]] = {m: [] for m in rows.dims}
    split = splits(rows, plan.seed)[0]
    with tempfile.TemporaryDirectory() as folder:
        out, last = Path(folder), dict[str, Tensor]()

        def measure(_: int) -> None:
            now = torch.load(out / RESUME, weights_only=True)["model"]
            for m in speeds if last else ():
                speeds[m].append(moved(last, now, m))
            last.update(now)

        fabric = Fabric(accelerator="cpu", devices=1)
        trained = train(plan, rows, split, out, fabric=fabric, after_epoch=measure)
    return _measured(rows, plan, split["train"], trained, speeds)


def moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor], m: Modality) -> float:
    """|change| / |weights| of the branch of ``m``."""
    names = [n for n in before if n.startswith(f"branches.{m}.")]
    change = sum(float((after[n] - before[n]).square().sum()) for n in names)
    return math.sqrt(change / sum(float(before[n].square().sum()) for n in names))


def _measured(
    rows: Rows, plan: Experiment, train_rows: NDArray[np.int64], trained: Saved, speeds: Mapping[Modality, list[float]]
) -> Diagnosis:
    model = trained.model()
    data = SampleSet(rows, train_rows, trained.scales)
    some = data.take(torch.arange(min(BATCH, len(data))))
    whole = some.shape(torch.full((len(some),), COMBINATIONS.index(plan.used[0])))
    with torch.no_grad():
        trace = model(some.given(whole), whole).trace
    load = {m: np.mean([_load(r.gates, r.valid) for r in blocks], 0) for m, blocks in trace.routing.items() if blocks}
    entropy = {m: _entropy(x) for m, x in load.items()}
    base = list(model.base_parameters())
    gradients = [_gradient(model, some, c, base, model.config.tasks) for c in plan.used]
    tasks: float | None = None
    if len(model.config.tasks) > 1:
        shared = [p for b in model.modules() if isinstance(b, UniTSE) for p in (b.shared_in, b.shared_out)]
        one, other = (_gradient(model, some, plan.used[0], shared, (task,)) for task in model.config.tasks)
        tasks = _cosine(one, other)
    table = np.array([[_cosine(a, b) for b in gradients] for a in gradients])
    return Diagnosis(plan.used, table, tasks, entropy, load, speeds)


def _load(gates: Tensor, valid: Tensor) -> NDArray[np.float64]:
    """Share of the load of each expert, over tasks and present samples."""
    total = (gates * valid[None, ..., None]).sum((0, 1, 2)).double()
    return np.asarray((total / total.sum()).numpy())


def _entropy(load: NDArray[np.float64]) -> float:
    some = load[load > 0]
    return float(-(some * np.log(some)).sum() / np.log(len(load))) if len(load) > 1 else 0.0


def _gradient(model: MCULoRA, some: Samples, c: Combination, of: list[Any], tasks: tuple[Task, ...]) -> Tensor:
    combination = some.shape(torch.full((len(some),), COMBINATIONS.index(c)))
    out = model(some.given(combination), combination)
    terms = []
    if "emotion" in tasks:
        terms.append(emotion_loss(out.logits.reshape(*some.emotion.shape, -1), some.emotion))
    if "sentiment" in tasks:
        terms.append(sentiment_loss(out.polarity.reshape(*some.score.shape, -1), some.score, some.ordinal))
    parts = torch.autograd.grad(torch.stack(terms).sum(), of, allow_unused=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(of, parts, strict=True)])


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, 0))


def report(name: str, found: Diagnosis, without: Diagnosis) -> str:
    """Markdown."""
    used = found.used
    lines = [f"### {name}", "", f"| gradient cosine | {' | '.join(used)} |", "|---" * (len(used) + 1) + "|"]
    lines += [f"| {c} | {' | '.join(f'{x:+.2f}' for x in found.combinations[i])} |" for i, c in enumerate(used)]
    pairs = found.combinations[np.triu_indices(len(used), 1)]
    lines += [
        "",
        f"Pairs of combinations in conflict (below 0): {(pairs < 0).sum()} of {len(pairs)}, least {pairs.min():+.2f}.",
    ]
    if found.tasks is not None:
        lines.append(f"The two tasks in the shared experts: {found.tasks:+.2f}.")
    lines += ["", "| branch | router entropy | load of experts | speed with FAGM | without |", "|---|---|---|---|---|"]
    for m, entropy in found.entropy.items():
        load = " ".join(f"{x:.2f}" for x in found.load[m])
        speeds = " | ".join(f"{np.mean(d.speeds[m]):.3f}" for d in (found, without))
        lines.append(f"| {m} | {entropy:.2f} | {load} | {speeds} |")
    return "\n".join(lines)


def figure(name: str, found: Diagnosis, without: Diagnosis, path: Path) -> None:
    """Three panels as a PNG."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(13, 4), layout="constrained")
    conflict, experts, speed = drawn.subplots(1, 3)
    image = conflict.imshow(found.combinations, vmin=-1, vmax=1, cmap="RdBu")
    conflict.set_xticks(range(len(found.used)), found.used)
    conflict.set_yticks(range(len(found.used)), found.used)
    conflict.set_title(f"{name}: cosine of gradients")
    drawn.colorbar(image, ax=conflict)
    width = 0.8 / max(1, len(found.load))
    for i, (m, load) in enumerate(found.load.items()):
        experts.bar(np.arange(len(load)) + i * width, load, width, label=f"{m}, entropy {found.entropy[m]:.2f}")
    experts.set_title("load of the shared experts")
    experts.legend()
    for m, values in found.speeds.items():
        (line,) = speed.plot(values, label=f"{m}, FAGM")
        speed.plot(without.speeds[m], "--", color=line.get_color(), label=f"{m}, plain")
    speed.set_title("change of a branch in an epoch, relative")
    speed.set_xlabel("epoch")
    speed.legend(fontsize=7)
    drawn.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m pipelines.study.diagnostics",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--conflict", type=float, default=1.0, help="of the planted set")
    parser.add_argument("--out", type=Path, help="the figure, a PNG")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.set == "planted":
        rows, plan = planted.planted(arguments.conflict), replace(planted.PLAN, model=planted.MODEL)
    else:
        rows = feature_sets.read(arguments.set, arguments.data)
        plan = experiment.load(CONFIGS / f"{arguments.set}.toml")
    found, without = diagnose(rows, plan), diagnose(rows, replace(plan, fagm=0))
    print(report(arguments.set, found, without))
    if arguments.out:
        figure(arguments.set, found, without, arguments.out)


if __name__ == "__main__":
    main()
