"""The table of results as a resumable queue: ``python -m pipelines.table`` fills what is missing, cheapest first.

Every finished cell is one JSON file below runs/table, beside the checkpoints that it was scored with; then
pipelines/RESULTS.md is rewritten from all cells.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from pipelines.data.corpora import DEFAULT_ROOT
from pipelines.data.feature_sets import Rows
from pipelines.data.feature_specs import FEATURE_SPECS, layout_of
from pipelines.encoders.shipped import MODELS, RUNS
from pipelines.fusion.starter import open_rows
from pipelines.fusion.trainer import OutOfTime
from pipelines.study import experiment_cell as cells
from pipelines.study import results
from pipelines.study.experiment_cell import SYSTEMS, Cell

SEEDS = 5
RESULTS = Path(__file__).parents[1] / "RESULTS.md"
# Those that are read from one file; the others are made by the encoders, take minutes, and are filled when named.
FILED = tuple(name for name, layout in FEATURE_SPECS.items() if not layout.drawn)


@dataclass(frozen=True, slots=True)
class Job:
    """A cell to fill."""

    data: str
    system: str
    seed: int

    def path(self, runs: Path) -> Path:
        """Where its result belongs."""
        return runs / self.data / self.system / f"{self.seed}.json"

    def models(self, runs: Path) -> Path:
        """Where the checkpoints of its folds belong."""
        return runs / self.data / self.system / f"{self.seed}.models"


def queue(rows: Mapping[str, Rows], systems: Sequence[str], seeds: int, runs: Path) -> list[Job]:
    """What is missing: baselines first, then the others seed by seed, so that every row gets a first figure soon."""
    done = {Job(c.data, c.system, c.seed) for c in finished(rows, runs)}
    jobs = [
        Job(d, s, seed)
        for seed in range(seeds)
        for s in systems
        for d in rows
        if SYSTEMS[s].fits(layout_of(d)) and Job(d, s, seed) not in done
    ]
    cost = list(SYSTEMS)
    return sorted(jobs, key=lambda j: (SYSTEMS[j.system].baseline is None, j.seed, cost.index(j.system)))


def fill(jobs: Iterable[Job], rows: Mapping[str, Rows], runs: Path, cap_s: float) -> Iterable[Cell | OutOfTime]:
    """Run each job for at most ``cap_s``; one that runs out of time keeps its state for the next call."""
    for job in jobs:
        scratch = runs / job.data / job.system / f"{job.seed}.work"
        try:
            cell = cells.run(rows[job.data], job.system, job.seed, scratch, time.monotonic() + cap_s, job.models(runs))
        except OutOfTime as error:
            yield error
            continue
        cells.write(job.path(runs), cell)
        shutil.rmtree(scratch, ignore_errors=True)
        yield cell


def finished(rows: Mapping[str, Rows], runs: Path) -> list[Cell]:
    """All cells that are there of these files, features and configurations, of the table's order."""
    every = [cells.read(p) for d in rows for s in SYSTEMS for p in sorted((runs / d / s).glob("*.json"))]
    return [
        c
        for c in every
        if (c.sha256, c.facts.get("recipe")) == (rows[c.data].sha256, cells.recipe(rows[c.data], c.system, c.seed))
    ]


def part_of(text: str) -> tuple[int, int]:
    """``K/N`` with 1 <= K <= N. Raises ValueError."""
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"--part {text}: expected K/N with 1 <= K <= N, such as 1/4")
    return int(match[1]), int(match[2])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.table", description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--models", type=Path, default=MODELS, help="exported encoders, read by the set starter")
    parser.add_argument("--runs", type=Path, default=RUNS / "table")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--sets", nargs="*", choices=list(FEATURE_SPECS), default=list(FILED))
    parser.add_argument("--systems", nargs="*", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--cap", type=float, default=3600, help="seconds that one cell may take per call")
    parser.add_argument("--total", type=float, default=math.inf, help="seconds after which no new cell begins")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--part", default="1/1", help="K/N: of N such commands side by side, this one is the Kth")
    arguments = parser.parse_args()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        parser.error("a table is not filled under torchrun; run N commands with --part 1/N to --part N/N instead")
    try:
        part, parts = part_of(arguments.part)
    except ValueError as error:
        parser.error(str(error))
    torch.set_num_threads(arguments.threads)
    threadpool_limits(arguments.threads)
    end = time.monotonic() + arguments.total
    rows = {name: open_rows(name, arguments.data, arguments.models) for name in arguments.sets}
    jobs = queue(rows, arguments.systems, arguments.seeds, arguments.runs)[part - 1 :: parts]
    waiting = (job for job in jobs if time.monotonic() < end)
    for done, outcome in enumerate(fill(waiting, rows, arguments.runs, arguments.cap), 1):
        what = f"{outcome.data} {outcome.system} seed {outcome.seed}" if isinstance(outcome, Cell) else str(outcome)
        print(f"{done}/{len(jobs)} {what} {getattr(outcome, 'facts', '')}", flush=True)
    begun = [n for n in FEATURE_SPECS if n in FILED or n in rows or any((arguments.runs / n).glob("*/*.json"))]
    every = {name: rows.get(name) or open_rows(name, arguments.data, arguments.models) for name in begun}
    text = results.render(every, finished(every, arguments.runs), SEEDS)
    arguments.out.write_text(text)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
