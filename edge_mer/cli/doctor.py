"""``edge-mer doctor``: what works, what does not, and one command that fixes it."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_mer.bench.gpu_report import report
from edge_mer.cli.doctor_checks import CHECKS
from edge_mer.cli.options import ConfigFile
from edge_mer.config import Config, load
from edge_mer.contract.errors import ConfigError


def doctor(
    config: ConfigFile = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="test every GPU runtime; prints a report to paste")] = False,
) -> None:
    """Check this installation and name a fix for each fault.

    Exit code 1 only when edge-mer demo cannot run; with --gpu, when no GPU runtime can.
    """
    try:
        resolved, _ = load(config)
    except ConfigError as error:
        typer.echo(f"NO  config: {error}")
        resolved = Config()
    if gpu:
        if not report(resolved.models, typer.echo):
            raise typer.Exit(1)
        return
    blocked = False
    for name, check in CHECKS.items():
        typer.echo(name)
        for finding in check(resolved):
            typer.echo(f"  {'ok' if finding.good else 'NO'}  {finding.what}")
            if not finding.good and finding.fix:
                typer.echo(f"      run: {finding.fix}")
            blocked |= finding.demo and not finding.good
    typer.echo("edge-mer demo cannot run" if blocked else "edge-mer demo can run")
    if blocked:
        raise typer.Exit(1)
