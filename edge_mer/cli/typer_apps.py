"""Every command and group of ``edge-mer`` is made here, so that all help is plain text and never cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command


class PlainGroup(TyperGroup):
    """A group whose list of commands shows each first docstring line whole."""

    def summaries(self, ctx: Any) -> list[tuple[str, str]]:
        """Name and first line of help of every command, in the order shown."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        return [(name, first_line(command.help)) for name, command in found if command is not None]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(self.summaries(ctx))


def first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


def command_group(help: str, cls: type[TyperGroup] = PlainGroup) -> typer.Typer:
    """An app with sub-commands; called without one it shows its help."""
    return typer.Typer(
        cls=cls,
        help=help,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def as_command(name: str, found: Callable[..., None] | typer.Typer) -> Any:
    """The click command of a function or an app."""
    if isinstance(found, typer.Typer):
        return get_command(found)
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    single.command(name)(found)
    return get_command(single)
