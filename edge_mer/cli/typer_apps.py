"""Every command and group of ``edge-mer`` is made here, so that all help is plain text and never cut."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command

from edge_mer.cli.examples import examples


class PlainGroup(TyperGroup):
    """A group whose list of commands shows each first docstring line whole. The help of each ends with examples.

    ``path``: its name as typed, () for the root.
    """

    path: tuple[str, ...] = ()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return _with_examples(super().get_command(ctx, cmd_name), (*self.path, cmd_name))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Wrong usage (exit code 2) names the nearest command."""
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"
            ctx.fail(f"no such command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def summaries(self, ctx: Any) -> list[tuple[str, str]]:
        """Name and first line of help of every command, in the order shown."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        return [(name, first_line(command.help)) for name, command in found if command is not None]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(self.summaries(ctx))


class CommandRow(NamedTuple):
    """``module`` holds a function or Typer app of the command's name; ``help`` is the first line of its docstring."""

    module: str
    help: str


class LazyGroup(PlainGroup):
    """A group whose commands are rows of a table; a module is imported only when its command is called."""

    rows: ClassVar[Mapping[str, CommandRow]]

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.rows)

    def summaries(self, ctx: Any) -> list[tuple[str, str]]:
        return [(name, row.help) for name, row in self.rows.items()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        row = self.rows.get(cmd_name)
        if row is None:
            return None
        found = as_command(cmd_name, getattr(import_module(row.module), cmd_name))
        return _with_examples(found, (*self.path, cmd_name))


def _with_examples(command: Any, path: tuple[str, ...]) -> Any:
    if command is not None:
        command.epilog = examples(path)
        if isinstance(command, PlainGroup):
            command.path = path
    return command


def first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


def command_group(
    help: str,
    cls: type[TyperGroup] = PlainGroup,
    callback: Callable[..., None] = lambda: None,
    epilog: str | None = None,
) -> typer.Typer:
    """An app with sub-commands; called without one it shows its help. ``callback`` takes the group's own options."""
    return typer.Typer(
        cls=cls,
        callback=callback,
        help=help,
        epilog=epilog,
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
