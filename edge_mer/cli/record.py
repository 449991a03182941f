"""``edge-mer record OUT``: record the running application into a session file until Ctrl-C."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from edge_mer.cli.options import ConfigFile, Directory, Setting, overrides
from edge_mer.cli.startup import check_recording
from edge_mer.client.instance import connected
from edge_mer.config import load
from edge_mer.host.interrupt import interruptible
from edge_mer.host.worker import run
from edge_mer.session import recorder
from edge_mer.session.format import Trailer


def record(
    out: Annotated[Path, typer.Argument(help="session file to write (MCAP); never overwritten")],
    raw: Annotated[bool, typer.Option("--raw", help="also record raw media of the modalities with consent")] = False,
    directory: Directory = None,
    setting: Setting = None,
    config: ConfigFile = None,
) -> None:
    """Record the running instance until Ctrl-C, never what is masked.

    The recording starts while fusion runs: verification covers everything after both have the same state.
    """
    check_recording(out)
    asked = overrides(setting)
    settings, _ = load(config, {**asked, "record": {**asked.get("record", {}), "path": str(out), "raw": raw}})
    with connected(directory, config) as bus, interruptible() as stop:
        name = f"record-{os.getpid()}"
        worker = recorder.build(settings, bus, name, joins=True)
        typer.echo(f"recording {bus.directory} into {out}; stop with Ctrl-C", err=True)
        run(name, worker, bus, stop)
    typer.echo(summary(out, worker.trailer))


def summary(out: Path, trailer: Trailer | None) -> str:
    """``a.mcap: 120 messages of 8 topics, verifiable``."""
    if trailer is None:
        return f"{out}: the recording was not finished; complete chunks can be read"
    proof = "verifiable" if trailer.unverifiable is None else f"not verifiable: {trailer.unverifiable}"
    return f"{out}: {sum(trailer.messages.values())} messages of {len(trailer.messages)} topics, {proof}"
