"""``edge-mer session score PLACE --labels CSV``: estimates against time-stamped labels, per combination."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from edge_mer.cli.options import ConfigFile, Json
from edge_mer.config import load
from edge_mer.contract.errors import SessionError
from edge_mer.session import score as scoring
from edge_mer.session.keys import key_store
from edge_mer.session.score import ScoreRow


def score(
    place: Annotated[Path, typer.Argument(help="session file, or a folder of them")],
    labels: Annotated[Path, typer.Option(help="CSV: start, end, label, sentiment; for a folder also file")],
    jobs: Annotated[int, typer.Option(min=1, help="parallel sessions; default: one per processor")] = os.cpu_count()
    or 1,
    ray: Annotated[str | None, typer.Option(help="address of a Ray cluster with the same files; or local")] = None,
    json: Json = False,
    config: ConfigFile = None,
) -> None:
    """Score final estimates against time-stamped labels.

    Accuracy, UAR and F1 of labels; MAE, correlation, Acc-2 and Acc-7 of sentiment.
    """
    work = scoring.jobs(place, scoring.read_labels(labels), key_store(load(config)[0]))
    found = scoring.on_ray(work, ray) if ray else scoring.in_processes(work, jobs)
    if not found:
        raise SessionError(
            f"no final estimate of {place} falls under any label of {labels}; check that its times are seconds "
            "from the beginning of the session"
        )
    rows = scoring.table(found)
    if json:
        for row in rows:
            typer.echo(msgspec.json.encode(row).decode())
    else:
        typer.echo("\n".join(lines(rows)))


def lines(rows: list[ScoreRow]) -> list[str]:
    """A table with a column per figure; ``-`` where there is none."""
    names = list(rows[0].__struct_fields__)
    cells = [names, *([_cell(getattr(row, n)) for n in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return ["  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in cells]


def _cell(value: str | int | float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
