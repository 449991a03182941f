"""``edge-mer completion SHELL``: the script with which a shell completes commands, options and values."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from typer import completion as shells

from edge_mer.cli.main import COMPLETION


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(metavar="SHELL", help="bash, zsh or fish")],
) -> None:
    """Print the script that completes commands and options in a shell.

    For bash, write it to ~/.local/share/bash-completion/completions/edge-mer; for zsh, source it after compinit; for
    fish, write it to ~/.config/fish/completions/edge-mer.fish. The program must be on the path as edge-mer.
    """
    script = shells.get_completion_script  # type: ignore[attr-defined]  # imported there under no other name
    typer.echo(script(prog_name="edge-mer", complete_var=COMPLETION, shell=shell))
