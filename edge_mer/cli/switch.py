"""How ``mask`` and ``unmask`` show the answer of a switch."""

from __future__ import annotations

import typer

from edge_mer.client.status_text import people_lines, privacy_lines
from edge_mer.contract.control import Answer


def report(answer: Answer, failure: str = "", exit_code: int = 1) -> None:
    """States, receipts, and what did not take effect, with ``exit_code``."""
    for line in (*privacy_lines(answer.modalities), *people_lines(answer.people)):
        typer.echo(line)
    if answer.receipts:
        noun = "receipt" if len(answer.receipts) == 1 else "receipts"
        typer.echo(f"{noun} {', '.join(map(str, answer.receipts))}: edge-mer receipts show")
    if not answer.ok:
        typer.echo(f"edge-mer: {failure}{answer.text}", err=True)
        raise typer.Exit(exit_code)
