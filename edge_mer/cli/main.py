"""Entry point of ``edge-mer``. Its exit codes are the table ``EXIT_CODES``."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import typer

from edge_mer import __version__
from edge_mer.cli.examples import examples
from edge_mer.cli.typer_apps import CommandRow, LazyGroup, command_group
from edge_mer.contract.errors import EdgeMerError
from edge_mer.host.terminal import make_output_visible

# In the order in which people meet them.
COMMANDS: Final[Mapping[str, CommandRow]] = {
    "demo": CommandRow(
        "edge_mer.cli.demo",
        "Play four scenes through the pipeline, then a mask and a crash.",
    ),
    "analyse": CommandRow("edge_mer.cli.analyse", "Print what is expressed when in clips and photographs."),
    "run": CommandRow("edge_mer.cli.run", "Run on microphone and camera, or as configured, until Ctrl-C."),
    "consent": CommandRow("edge_mer.cli.consent", "Give or withdraw consent, also while an instance runs."),
    "page": CommandRow("edge_mer.cli.page", "Show the link to the web page."),
    "status": CommandRow("edge_mer.cli.status", "Show sensors, masks, consent and processes of what runs."),
    "mask": CommandRow("edge_mer.cli.mask", "Close sensors or mask persons; purge what was derived from them."),
    "unmask": CommandRow("edge_mer.cli.unmask", "Let sensors open or persons be seen again, by a signed grant."),
    "receipts": CommandRow("edge_mer.cli.receipts", "Show the signed receipts of masks, or verify them offline."),
    "keys": CommandRow("edge_mer.cli.keys", "Manage keys that may unmask: new, pair, allow, revoke, list."),
    "house": CommandRow("edge_mer.cli.house", "Show, mask and pair all rooms of a house as one."),
    "events": CommandRow("edge_mer.cli.events", "Show events and their budgets, or call one wrong."),
    "history": CommandRow("edge_mer.cli.history", "Show the history of hourly shares, or erase from it."),
    "mqtt": CommandRow("edge_mer.cli.mqtt", "Remove what this host left at the MQTT broker."),
    "devices": CommandRow("edge_mer.cli.devices", "List microphones and cameras without opening any."),
    "calibrate": CommandRow(
        "edge_mer.cli.calibrate", "Measure the microphone, the camera and the offset between them."
    ),
    "baseline": CommandRow("edge_mer.cli.baseline", "Manage the stored neutral voice and face of a person."),
    "doctor": CommandRow("edge_mer.cli.doctor", "Check this installation and name a fix for each fault."),
    "models": CommandRow("edge_mer.cli.models", "List, check or download models."),
    "config": CommandRow("edge_mer.cli.config", "Show every configuration value and where it came from."),
    "record": CommandRow("edge_mer.cli.record", "Record the running instance until Ctrl-C, never what is masked."),
    "replay": CommandRow("edge_mer.cli.replay", "Play a session on the bus, or verify that it replays exactly."),
    "session": CommandRow("edge_mer.cli.session", "Inspect, repair, trim, export, erase and score sessions."),
    "tap": CommandRow("edge_mer.cli.tap", "Print the header of every message of one topic until Ctrl-C."),
    "hz": CommandRow("edge_mer.cli.hz", "Measure the message rate of every topic, with gaps and drops."),
    "schema": CommandRow("edge_mer.cli.schema", "Print the JSON Schema of message headers."),
    "bench": CommandRow("edge_mer.cli.bench", "Measure speed and reliability against their targets."),
    "soak": CommandRow("edge_mer.cli.soak", "Repeat a test many times and count its failures."),
    "completion": CommandRow(
        "edge_mer.cli.completion", "Print the script that completes commands and options in a shell."
    ),
    "engine": CommandRow("edge_mer.cli.engine", "Build, list, verify or clean TensorRT engines for this GPU."),
    "service": CommandRow("edge_mer.cli.service", "Manage the systemd user unit: install, remove, show."),
    "uninstall": CommandRow("edge_mer.cli.uninstall", "Remove what edge_mer made on this host, after asking."),
}


class Commands(LazyGroup):
    """All commands. An EdgeMerError is printed as one line, and sets the exit code."""

    rows = COMMANDS

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EdgeMerError as error:
            typer.echo(f"edge-mer: {error}", err=True)
            raise typer.Exit(error.exit_code) from None


# The environment variable by which a shell asks for completions; its name follows from that of the program.
COMPLETION: Final = "_EDGE_MER_COMPLETE"
EXIT_CODES: Final[Mapping[int, str]] = {
    0: "done",
    1: "failed, with the reason on standard error",
    2: "wrong usage",
    3: "configuration: a value is wrong, or asks for what is not there",
    4: "no consent",
    5: "a device cannot be opened, or was lost",
    6: "privacy is not proven: a mask is not confirmed, or a receipt is wrong",
    130: "interrupted before the end",
}
ABOUT = """Estimates expressed emotion from microphone, camera and words, on this machine alone.

First steps: edge-mer demo, edge-mer doctor, edge-mer run.

\b
Exit codes:
""" + "\n".join(f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items())
LogLevel = Literal["debug", "info", "warning", "error"]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edge-mer {__version__}")
        raise typer.Exit


def common(
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="log more: -v every change of state, -vv everything")
    ] = 0,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="log errors only")] = False,
    log_level: Annotated[LogLevel | None, typer.Option("--log-level", help="of the logs of all processes")] = None,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="show the version and exit")
    ] = False,
) -> None:
    level = log_level or ("error" if quiet else ("debug" if verbose > 1 else "info") if verbose else None)
    if level is not None:
        os.environ["EDGE_MER_LOG"] = level  # worker processes inherit it
        logging.basicConfig(level=level.upper(), format="edge-mer: %(message)s")


app = command_group(ABOUT, Commands, common, examples(()))


def main() -> None:
    make_output_visible()
    if COMPLETION in os.environ:  # the shell asks what may follow
        from typer import completion as shells

        shells.get_completion_inspect_parameters()  # Typer learns the shells here, without which it answers none
    app(prog_name="edge-mer")


if __name__ == "__main__":
    main()
