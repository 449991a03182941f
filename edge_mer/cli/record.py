"""``edge-mer record OUT``: record the running application into a session file until Ctrl-C."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_mer import config as configuration
from edge_mer.bus import ZmqBus, runtime_directory
from edge_mer.errors import EdgeMerError, SessionError
from edge_mer.session import recorder
from edge_mer.worker import Stop, run


def record(
    out: Annotated[Path, typer.Argument(help="session file to write (MCAP); never overwritten")],
    raw: Annotated[bool, typer.Option(help="also record raw media of the modalities with consent")] = False,
    config: Annotated[Path | None, typer.Option(help="TOML config of the running application")] = None,
) -> None:
    """Record the running application until Ctrl-C. What is masked is never recorded."""
    try:
        result = _record(out, {"path": str(out), "raw": raw}, config)
    except EdgeMerError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(result)


def _record(out: Path, section: dict[str, Any], path: Path | None) -> str:
    if out.exists():
        raise SessionError(f"{out} exists and is not overwritten; choose another name")
    settings, _ = configuration.load(path, {"record": section})
    bus = ZmqBus(runtime_directory(settings.run.directory))
    try:
        name = f"record-{os.getpid()}"
        worker = recorder.build(settings, bus, name)
        typer.echo(f"recording {bus.directory} into {out}; Ctrl-C ends it", err=True)
        run(name, worker, bus, Stop())
    finally:
        bus.close()
    return summary(out, worker)


def summary(out: Path, worker: recorder.Recorder) -> str:
    """``a.mcap: 120 messages of 8 topics, verifiable``."""
    trailer = worker.trailer
    if trailer is None:
        return f"{out}: recording did not end well; whole chunks can be read"
    proof = "verifiable" if trailer.unverifiable is None else f"not verifiable: {trailer.unverifiable}"
    return f"{out}: {sum(trailer.messages.values())} messages of {len(trailer.messages)} topics, {proof}"
