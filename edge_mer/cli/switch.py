"""What ``mask``, ``unmask`` and ``status`` share: which switch is meant, and how its answer is shown."""

from __future__ import annotations

from pathlib import Path

import typer

from edge_mer.client import SwitchClient
from edge_mer.client.status_text import privacy_lines
from edge_mer.contract.control import Answer


def open_switch(at: str | None, directory: Path | None, config: Path | None) -> SwitchClient:
    """``at`` None is the instance on this host, otherwise the name of the keys that are paired with another."""
    return SwitchClient.local(directory, config) if at is None else SwitchClient.paired(at, config)


def report(answer: Answer, failure: str) -> None:
    """States, receipts, and what did not take effect (exit code 1)."""
    for line in privacy_lines(answer.modalities):
        typer.echo(line)
    if answer.receipts:
        typer.echo(f"receipts {', '.join(map(str, answer.receipts))}: edge-mer receipts show")
    if not answer.ok:
        typer.echo(f"edge-mer: {failure}{answer.text}", err=True)
        raise typer.Exit(1)
