"""Entry point of ``edge-mer``. Exit codes: 0 done, 1 failed and says why, 2 wrong usage."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from edge_mer.client.terminal import make_output_visible
from edge_mer.contract.errors import EdgeMerError

# In the order in which people meet them. The function of a command is in the file of its name.
COMMANDS = (
    "demo",
    "run",
    "page",
    "status",
    "mask",
    "unmask",
    "receipts",
    "keys",
    "devices",
    "calibrate",
    "baseline",
    "doctor",
    "models",
    "config",
    "record",
    "replay",
    "session",
    "tap",
    "hz",
    "schema",
    "bench",
    "soak",
    "engine",
)


class LazyCommands(TyperGroup):
    """Imports a command's file when it is called, so that starting is quick; turns our errors into one clear line."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        found = getattr(import_module(f"edge_mer.cli.{cmd_name}"), cmd_name)
        if isinstance(found, typer.Typer):
            return get_command(found)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name)(found)
        return get_command(single)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EdgeMerError as error:
            typer.echo(f"edge-mer: {error}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=LazyCommands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


@app.callback()
def edge_mer() -> None:
    """Expressed emotion from microphone, camera and words, on this machine alone.

    First steps: edge-mer demo, edge-mer doctor, edge-mer run.
    """


def main() -> None:
    make_output_visible()
    app(prog_name="edge-mer")


if __name__ == "__main__":
    main()
