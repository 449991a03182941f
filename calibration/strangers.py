"""What the models are worth on people outside their training: ``python -m calibration.strangers [PART ...]``.

Each part asks what was not trained on a speaker or a corpus, and prints rows with a confidence interval by speaker
beside the target of issue 16. Writes the section Strangers, PART of ``calibration/RESULTS.md``; without PART
all of them, and one table of the issue's targets.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calibration import report
from edge_mer.contract.errors import EdgeMerError
from edge_mer.runtime.model_file import read_model
from pipelines.data.corpora import DEFAULT_ROOT
from pipelines.encoders.shipped import MODELS, RUNS

# A part is a module with ``rows(root, runs, models)``.
PARTS: Final = {
    "voice": "calibration.strangers_voice",
    "activity": "calibration.strangers_activity",
    "product": "calibration.strangers_product",
    "face": "calibration.strangers_face",
    "affect": "calibration.strangers_affect",
    "events": "calibration.strangers_events",
}
COMMAND: Final = "python -m calibration.strangers"
DRAWS: Final = 2000


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: ``reached`` says whether it meets ``target``; both are empty where the issue names none."""

    what: str
    value: float
    low: float
    high: float
    n: str
    target: str = ""
    reached: bool | None = None


def interval(values: NDArray[np.floating], speakers: Sequence[str], seed: int = 0) -> tuple[float, float, float]:
    """The mean of ``values`` [n], and 95 % of its means when whole ``speakers`` [n] are drawn anew."""
    return interval_of(lambda rows: float(values[rows].mean()), speakers, seed)


def interval_of(
    figure: Callable[[NDArray[np.int64]], float], speakers: Sequence[str], seed: int = 0
) -> tuple[float, float, float]:
    """``figure`` of all rows, and 95 % of what it is when whole ``speakers`` [n] are drawn anew."""
    names, index = np.unique(np.asarray(speakers), return_inverse=True)
    members = [np.flatnonzero(index == i) for i in range(len(names))]
    random, found = np.random.default_rng(seed), []
    for _ in range(DRAWS):
        drawn = random.integers(len(names), size=len(names))
        found.append(figure(np.concatenate([members[i] for i in drawn])))
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return figure(np.arange(len(index))), float(low), float(high)


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table."""
    verdict = {None: "", True: "reached", False: "missed"}
    return report.table(
        ("what", "value", "95 % by speaker", "clips (speakers)", "target", ""),
        [(r.what, f"{r.value:.3f}", f"{r.low:.3f} to {r.high:.3f}", r.n, r.target, verdict[r.reached]) for r in rows],
    )


def _write(file: Path, title: str, text: str) -> None:
    report.section(file, title, text)
    print(text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m calibration.strangers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--runs", type=Path, default=RUNS, help="directory of checkpoints")
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--report", type=Path, default=report.FILE)
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: no such part; expected {', '.join(PARTS)}")
    try:
        every: list[Row] = []
        for part in arguments.parts or PARTS:
            rows = list(importlib.import_module(PARTS[part]).rows(arguments.data, arguments.runs, arguments.models))
            _write(arguments.report, f"Strangers, {part}", f"`{COMMAND} {part}`\n\n{markdown(rows)}")
            every += rows
        if not arguments.parts:
            graphs = {path.name: read_model(path).metadata for path in arguments.models.glob("*.onnx")}
            targets = importlib.import_module("calibration.strangers_targets").markdown(every, graphs)
            _write(arguments.report, "Strangers, targets", f"`{COMMAND}`: the targets of issue 16.\n\n{targets}")
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
