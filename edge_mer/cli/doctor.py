"""``edge-mer doctor``: what works, what does not, and one command that fixes it."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_mer.bench.gpu_report import report
from edge_mer.bus import runtime_directory
from edge_mer.cli.doctor_checks import CHECKS
from edge_mer.cli.options import ConfigFile, Setting, overrides
from edge_mer.cli.startup import check_start, without_missing_words
from edge_mer.client.instance import owner
from edge_mer.config import Config, load
from edge_mer.contract.errors import ConfigError, EdgeMerError


def doctor(
    config: ConfigFile = None,
    setting: Setting = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="test every GPU runtime; prints a report to paste")] = False,
) -> None:
    """Check this installation and name a fix for each fault.

    Exit code 1 only when edge-mer demo cannot run; with --gpu, when no GPU runtime can.
    """
    try:
        resolved, origin = load(config, overrides(setting))
    except ConfigError as error:
        typer.echo(f"NO  config: {error}")
        resolved, origin = Config(), {}
    if gpu:
        if not report(resolved.models, typer.echo):
            raise typer.Exit(1)
        return
    blocked = False
    for name, check in CHECKS.items():
        findings = list(check(resolved))
        if findings:
            typer.echo(name)
        for finding in findings:
            typer.echo(f"  {'ok' if finding.good else 'NO'}  {finding.what}")
            if not finding.good and finding.fix:
                typer.echo(f"      {finding.how}: {finding.fix}")
            blocked |= finding.demo and not finding.good
    typer.echo(_start(without_missing_words(resolved, origin)))
    typer.echo("edge-mer demo cannot run" if blocked else "edge-mer demo can run")
    if blocked:
        raise typer.Exit(1)


def _start(config: Config) -> str:
    try:
        if (pid := owner(runtime_directory(config.run.directory))) is not None:
            return f"edge-mer run runs (process {pid})"
        check_start(config)
    except EdgeMerError as error:
        return f"edge-mer run cannot start: {error}"
    return "edge-mer run can start, without what is marked NO"
