"""pipelines/RESULTS.md from finished cells: figures per column, mean over seeds, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.session.evaluation_metrics import Interval, paired_bootstrap
from pipelines.data.feature_sets import Rows
from pipelines.data.feature_specs import FeatureSpec
from pipelines.fusion.estimates import RATES, figures
from pipelines.study.experiment_cell import FULL, SYSTEMS, Cell

FIGURES: Final[Mapping[str, str]] = {
    "emotion_wf1": "emotion, weighted F1 (%)",
    "emotion_accuracy": "emotion, accuracy (%)",
    "emotion_ua": "emotion, UA (%)",
    "sentiment_wf1": "sentiment, weighted F1 (%)",
    "sentiment_accuracy": "sentiment, accuracy (%; on MOSI Acc-2 has-0)",
    "sentiment_ua": "sentiment, UA (%)",
    "acc2_non0": "sentiment, Acc-2 non-0 (%)",
    "acc7": "sentiment, Acc-7 (%)",
    "mae": "sentiment, MAE",
    "corr": "sentiment, Corr",
}
PLAIN: Final = ("mae", "corr")
CLAIMS: Final[Mapping[str, tuple[str, ...]]] = {
    "mosi": ("sentiment_accuracy", "corr"),
    "ravdess": ("emotion_accuracy",),
    "meld": ("emotion_wf1", "sentiment_wf1"),
    "starter": ("emotion_accuracy", "sentiment_wf1"),
}
DRAWS: Final = 300


@dataclass(frozen=True, slots=True)
class Target:
    """What the full model was expected to reach in one column ("mean": over combinations)."""

    data: str
    figure: str
    column: str
    least: float


TARGETS: Final = (
    Target("mosi", "corr", "mean", 0.44),
    Target("ravdess", "emotion_accuracy", "av", 0.76),
    Target("meld", "emotion_wf1", "at", 0.62),
)

HEAD: Final = """# Results

One line per system, one column per combination of modalities that the set really has, their mean, and random missing
rates. Written by `python -m pipelines.table` from the finished cells below runs/table; do not edit.

```
python -m pipelines.table                                   # fills what is missing, as long as it may take
python -m pipelines.table --sets mosi --systems full --seeds 1 --cap 600   # one cell
python -m pipelines.table --sets starter --systems full            # the model that ships, scored like the others
python -m pipelines.train pipelines/fusion/configs/mosi.toml        # one checkpoint to keep
python -m pipelines.evaluate runs/mosi.safetensors --data FILE.npz          # and its figures on any file of the layout
```

A cell is complete with 5 seeds; `seeds` says how many it has, and with fewer it is preliminary. ± is the standard
deviation of the mean over seeds. Selection (epoch, regularisation) and DPFT never see the scored rows: on MOSI every
other dev video chooses while the rest is scored, then the reverse; on RAVDESS two train actors (others for each seed)
choose and the four dev actors are scored; on MELD each fold of dialogues is scored once while every third dialogue of
the next one chooses and all others train.
In the random protocol one modality of every row stays: where a set has two, at most half of all entries can be missing,
and a higher rate means that.

On MOSI the epoch is chosen within the last stage, on RAVDESS and MELD the last one is kept (few rows choose badly): a
model whose adapters never moved would make the ablations of MCLA and DPFT compare nothing. All rows read the same
features; on RAVDESS these are the file's functionals, those of `pipelines.data.functionals` and the course of the face
(`pipelines.data.sequences`), and for MCULoRA each token carries them.

The configurations in pipelines/fusion/configs were chosen by hand among a few trials each: on MOSI by the dev videos,
on MELD by all folds of seed 0, which are scored here too, on RAVDESS by four inner folds of train actors (before,
beside a look at dev). So the level of the full model and its ablations is slightly optimistic beside the controls,
whose strengths were chosen inside the split. The test splits, kept apart, decide.
"""


@dataclass(frozen=True, slots=True)
class SystemCells:
    """A system's cells on one set, one per seed."""

    system: str
    cells: Sequence[Cell]


def render(rows: Mapping[str, Rows], cells: Sequence[Cell], seeds: int) -> str:
    """The whole file, of ``cells`` that belong to ``rows``."""
    parts = [HEAD]
    for name, of_set in rows.items():
        lines = [
            SystemCells(system, kept)
            for system in SYSTEMS
            if (kept := [c for c in cells if (c.data, c.system) == (name, system)])
        ]
        parts.append(f"## {name}: {len(of_set)} rows, {len(np.unique(of_set.group))} {of_set.layout.group_word}s\n")
        missing = [s for s in SYSTEMS if SYSTEMS[s].fits(of_set.layout) and s not in {line.system for line in lines}]
        if missing:
            parts.append(f"No seed yet: {', '.join(SYSTEMS[s].title for s in missing)}.\n")
        if lines:
            scored = [[_by_column(of_set, cell) for cell in line.cells] for line in lines]
            parts += [_table(of_set.layout, lines, scored, f, seeds) for f in FIGURES if f in _names(scored)]
            parts += [_reached(t, lines, scored) for t in TARGETS if t.data == name]
            parts.append(_adapters(lines))
            parts.append(_differences(of_set, lines))
    return "\n".join(parts)


Scores = Mapping[str, Mapping[str, float]]


def _by_column(rows: Rows, cell: Cell) -> Scores:
    answers = cell.answers
    return {c: figures(rows, cell.index, answers.emotion[c], answers.sentiment[c]) for c in answers.emotion}


def _names(scored: Sequence[Sequence[Scores]]) -> set[str]:
    return {name for cells in scored for cell in cells for column in cell.values() for name in column}


def _table(
    layout: FeatureSpec, lines: Sequence[SystemCells], scored: Sequence[Sequence[Scores]], name: str, seeds: int
) -> str:
    rates = [str(r) for r in RATES]
    out = [
        f"### {layout.name}: {FIGURES[name]}\n",
        "| system | " + " | ".join([*layout.combinations, "mean", *rates, "seeds"]) + " |",
        "|---" * (len(layout.combinations) + len(rates) + 3) + "|",
    ]
    scale, digits = (1, 3) if name in PLAIN else (100, 1)
    for line, cells in zip(lines, scored, strict=True):
        if not all(name in column for cell in cells for column in cell.values()):
            continue
        values = {c: np.array([scale * cell[c][name] for cell in cells]) for c in cells[0]}
        means = np.mean([values[c] for c in layout.combinations], 0)
        spread = f" ± {means.std(ddof=1):.{digits}f}" if len(means) > 1 else ""
        shown = [f"{values[c].mean():.{digits}f}" for c in layout.combinations]
        shown += [f"**{means.mean():.{digits}f}**{spread}", *(f"{values[r].mean():.{digits}f}" for r in rates)]
        out.append(f"| {SYSTEMS[line.system].title} | " + " | ".join([*shown, f"{len(cells)}/{seeds}"]) + " |")
    return "\n".join([*out, ""])


def _reached(target: Target, lines: Sequence[SystemCells], scored: Sequence[Sequence[Scores]]) -> str:
    """One line: the target, and by how much it is met or missed."""
    for line, cells in zip(lines, scored, strict=True):
        if line.system == "full":
            chosen = line.cells[0].answers.emotion if target.column == "mean" else [target.column]
            columns = [c for c in chosen if c not in map(str, RATES)]
            value = float(np.mean([cell[c][target.figure] for cell in cells for c in columns]))
            word = "met" if value >= target.least else "missed"
            return (
                f"Target: {FIGURES[target.figure].split(' (')[0]}, {target.column}, of full MCULoRA at least "
                f"{target.least}: {word}, {value:.3f} ({value - target.least:+.3f}, {len(cells)} seeds).\n"
            )
    return ""


def _adapters(lines: Sequence[SystemCells]) -> str:
    """One line: how large the adapters of the full model are beside its weights."""
    cells = next((line.cells for line in lines if line.system == FULL), [])
    found = [x for cell in cells for fold in cell.facts.get("folds", ()) for x in fold.get("adapters", [])]
    if not found:
        return ""
    mean = 100 * np.mean(found)
    return f"Adapters of the full model: |B A| is {mean:.1f} % of |W|, mean over layers and combinations.\n"


def _differences(rows: Rows, lines: Sequence[SystemCells]) -> str:
    """The full model against every other row: the mean over combinations, on the seeds that both have."""
    full = next((line for line in lines if line.system == "full"), None)
    if full is None:
        return ""
    word = rows.layout.group_word
    out = [
        f"### {rows.layout.name}: full MCULoRA minus each other row, mean over combinations\n",
        f"Paired bootstrap over {word}s ({DRAWS} draws, 95 % interval), averaged over the seeds that both rows have.\n",
        "| against | figure | difference | interval | p | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for line in lines:
        both = {c.seed for c in full.cells} & {c.seed for c in line.cells}
        pairs = [tuple(next(c for c in x.cells if c.seed == s) for x in (full, line)) for s in sorted(both)]
        if line is full or not pairs:
            continue
        for name in CLAIMS[rows.layout.name]:
            scale = 1 if name in PLAIN else 100
            d = _interval(rows, [(a, b) for a, b in pairs], name)
            out.append(
                f"| {SYSTEMS[line.system].title} | {name} | {scale * d.difference:+.{2 if scale == 100 else 3}f} | "
                f"{scale * d.low:+.2f} to {scale * d.high:+.2f} | {d.p:.2f} | {len(pairs)} |"
            )
    return "\n".join([*out, ""])


def _interval(rows: Rows, pairs: Sequence[tuple[Cell, Cell]], name: str) -> Interval:
    """Cells of one seed may list their rows in other orders: both are put in the order of the set."""
    common = np.sort(pairs[0][0].index)
    kept = [(_ordered(a), _ordered(b)) for a, b in pairs]

    def difference(drawn: NDArray[np.int64]) -> float:
        return float(
            np.mean([_mean(rows, a, common, drawn, name) - _mean(rows, b, common, drawn, name) for a, b in kept])
        )

    return paired_bootstrap(difference, rows.group[common], DRAWS)


def _ordered(cell: Cell) -> tuple[Cell, NDArray[np.int64]]:
    return cell, np.argsort(cell.index, kind="stable")


def _mean(
    rows: Rows, ordered: tuple[Cell, NDArray[np.int64]], common: NDArray[np.int64], drawn: NDArray[np.int64], name: str
) -> float:
    cell, order = ordered
    place, total = order[drawn], []
    for c in rows.layout.combinations:
        emotion, sentiment = cell.answers.emotion[c][place], cell.answers.sentiment[c][place]
        total.append(figures(rows, common[drawn], emotion, sentiment).get(name, np.nan))
    return float(np.mean(total))
