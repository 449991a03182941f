"""How ``mask`` and ``unmask`` show the answer of a switch."""

from __future__ import annotations

import typer

from edge_mer.client.status_text import privacy_lines
from edge_mer.contract.control import Answer


def report(answer: Answer, failure: str) -> None:
    """States, receipts, and what did not take effect (exit code 1)."""
    for line in privacy_lines(answer.modalities):
        typer.echo(line)
    if answer.receipts:
        typer.echo(f"receipts {', '.join(map(str, answer.receipts))}: edge-mer receipts show")
    if not answer.ok:
        typer.echo(f"edge-mer: {failure}{answer.text}", err=True)
        raise typer.Exit(1)
