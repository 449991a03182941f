"""One cell of the table: a row of systems on one set with one seed, trained, scored once, and written as JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from edge_mer.model import MCULoRA
from pipelines.data.feature_sets import Rows
from pipelines.data.feature_specs import FeatureSpec
from pipelines.data.files import draft
from pipelines.data.holdout_guard import Splits
from pipelines.data.splits import splits
from pipelines.fusion import experiment, saved
from pipelines.fusion.estimates import Answers, Index, Predict, answers
from pipelines.fusion.experiment import Experiment
from pipelines.fusion.predictor import joined, predictor, routed
from pipelines.fusion.saved import Saved
from pipelines.fusion.trainer import train
from pipelines.study.adapters import Change, changed, share
from pipelines.study.baselines import BASELINES

FULL: Final = "full"


@dataclass(frozen=True, slots=True)
class System:
    """A row of the table: a ``baseline`` by name, or changes to the set's configuration.

    ``each``: one model in all, one per combination, or one per task. ``adapters``: the full model, trained as it is,
    scored with other adapters.
    """

    title: str
    baseline: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    each: Literal["", "combination", "task"] = ""
    adapters: Change | None = None

    def fits(self, layout: FeatureSpec) -> bool:
        """A set with one task has no single-task ablation."""
        return self.each != "task" or bool(layout.emotions and layout.sentiment)


SYSTEMS: Final[dict[str, System]] = {
    "linear": System("linear specialists", "linear"),
    "svm": System("RBF-kernel SVM specialists", "svm"),
    "zero-fill": System("MLP, all modalities only, zero-filled", "zero-fill"),
    "modality-dropout": System("MLP + modality dropout", "modality dropout"),
    "momke": System("router of unimodal experts (in small, not MoMKE itself)", "momke"),
    FULL: System("full MCULoRA"),
    "minus-adapters": System("minus all adapters", changes={"model": {"adapters": False}}),
    "zeroed": System("full, adapters zeroed", adapters="zeroed"),
    "rotated": System("full, adapters rotated among combinations", adapters="rotated"),
    "minus-dpft": System("minus DPFT", changes={"dpft": False}),
    "minus-shared": System("minus the shared pair", changes={"model": {"shared_pair": False}}),
    "minus-ort": System("minus L_ort", changes={"ortho": 0.0}),
    "minus-fagm": System("minus FAGM", changes={"fagm": 0}),
    "minus-mmolre": System("minus MMoLRE (hard sharing)", changes={"model": {"experts": False}}),
    "single-task": System("single task", each="task"),
    "specialists": System("one specialist per combination", each="combination"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """What a finished cell answers about the rows ``index`` of its set."""

    data: str
    system: str
    seed: int
    sha256: str
    index: Index
    answers: Answers
    facts: Mapping[str, Any]


def configured(data: str, system: System, seed: int) -> Experiment:
    """The set's TOML file with the changes of a row; tables below ``model`` are joined."""
    base = dataclasses.asdict(experiment.load(experiment.CONFIGS / f"{data}.toml"))
    changes = dict(system.changes)
    model = {**base["model"], **changes.pop("model", {})}
    return experiment.of({**base, **changes, "model": model, "seed": seed})


def recipe(rows: Rows, name: str, seed: int) -> str:
    """Names what decides a cell beside the set's file: the configuration, and how wide the features are."""
    system = SYSTEMS[name]
    how = system.baseline or configured(rows.layout.name, system, seed).sha16
    widths = {m: (rows.vectors[m].shape[1], rows.tokens[m].shape[2]) for m in sorted(rows.vectors)}
    return hashlib.sha256(repr((how, widths)).encode()).hexdigest()[:16]


def run(rows: Rows, name: str, seed: int, out: Path, deadline_s: float, keep: Path) -> Cell:
    """Train and score every fold. Raises OutOfTime after ``deadline_s``; the same call continues then.

    ``keep``: a directory for the checkpoints, ``fold0/model.safetensors`` and so on, which can be exported.
    """
    system, began = SYSTEMS[name], time.monotonic()
    parts, index, each = [], [], list[dict[str, Any]]()
    for fold, split in enumerate(splits(rows, seed)):
        kept = keep.parent.parent / FULL / keep.name / f"fold{fold}" / "model.safetensors"
        predict, scored, trained = _fold(rows, system, split, seed, out / f"fold{fold}", deadline_s, kept)
        for key, model in trained.items():
            saved.save(keep / f"fold{fold}" / f"{key or 'model'}.safetensors", model)
        each.append(_facts(list(trained.values())))
        parts.append(answers(rows.layout, predict, len(scored)))
        index.append(scored)
    columns = parts[0].emotion
    joint = Answers(
        {c: np.concatenate([p.emotion[c] for p in parts]) for c in columns},
        {c: np.concatenate([p.sentiment[c] for p in parts]) for c in columns},
    )
    seconds = round(time.monotonic() - began, 1)
    facts = {"recipe": recipe(rows, name, seed), "folds": each, "seconds": seconds}
    return Cell(rows.layout.name, name, seed, rows.sha256, np.concatenate(index), joint, facts)


def _fold(
    rows: Rows, system: System, split: Splits[Index], seed: int, out: Path, deadline_s: float, full: Path
) -> tuple[Predict, Index, dict[Any, Saved]]:
    """A function of the pattern over the scored rows, which are opened only now that all is trained; the models.

    ``full``: where the row of the full model keeps the one of this fold and seed.
    """
    if system.baseline is not None:
        fitted = BASELINES[system.baseline](rows, split, seed)
        scored = split.final()
        return lambda pattern: fitted(rows, scored, pattern), scored, {}
    base = configured(rows.layout.name, system, seed)
    variants: dict[Any, Experiment] = {"": base}
    if system.each == "combination":
        variants = {c: dataclasses.replace(base, combinations=(c,), complete=1.0) for c in rows.layout.combinations}
    if system.each == "task":
        variants = {t: dataclasses.replace(base, tasks=(t,)) for t in ("emotion", "sentiment")}
    if system.adapters and full.is_file() and (kept := saved.load(full)).experiment == base:
        trained = {"": kept}
    else:
        trained = {key: train(e, rows, split, out / str(key), deadline_s) for key, e in variants.items()}
    scored = split.final()
    models: dict[Any, MCULoRA] = {key: model.model() for key, model in trained.items()}
    if system.adapters:
        models = {key: changed(model, system.adapters) for key, model in models.items()}
    predict: dict[Any, Predict] = {
        key: predictor(model, rows, scored, trained[key].scales) for key, model in models.items()
    }
    if system.each == "combination":
        return routed(predict), scored, trained
    if system.each == "task":
        return joined(predict["emotion"], predict["sentiment"]), scored, trained
    return predict[""], scored, trained


def _facts(trained: Sequence[Saved]) -> dict[str, Any]:
    if not trained:
        return {}
    parameters = sum(model.facts["parameters"] for model in trained)
    shares = [round(share(model.model()), 5) for model in trained]
    return {"parameters": parameters, "epoch": [model.facts["epoch"] for model in trained], "adapters": shares}


def write(path: Path, cell: Cell) -> None:
    """Write whole or not at all."""
    sentiment = {c: [None if np.isnan(v) else round(float(v), 4) for v in x] for c, x in cell.answers.sentiment.items()}
    values = {
        **{name: getattr(cell, name) for name in ("data", "system", "seed", "sha256", "facts")},
        "index": cell.index.tolist(),
        "emotion": {c: x.tolist() for c, x in cell.answers.emotion.items()},
        "sentiment": sentiment,
    }
    with draft(path) as partial:
        partial.write_text(json.dumps(values))


def read(path: Path) -> Cell:
    """The cell that ``write`` wrote."""
    v = json.loads(path.read_text())
    found = Answers(
        {c: np.array(x, np.int64) for c, x in v["emotion"].items()},
        {c: np.array([np.nan if y is None else y for y in x], np.float32) for c, x in v["sentiment"].items()},
    )
    index = np.array(v["index"], np.int64)
    return Cell(v["data"], v["system"], v["seed"], v["sha256"], index, found, v["facts"])
