"""``edge-mer config``: every value and where it came from, or a commented file to start from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import tomlkit
import typer
from tomlkit.items import Item

from edge_mer.cli.options import ConfigFile, Setting, overrides
from edge_mer.config import Config, default_path, load
from edge_mer.contract.errors import ConfigError
from edge_mer.contract.places import unwritable
from edge_mer.host.files import write_atomic

ABOUT = "edge_mer configuration. A key that is commented out has its default."


def config(
    config: ConfigFile = None,
    setting: Setting = None,
    write: Annotated[bool, typer.Option("--write", help="write a commented TOML file and exit")] = False,
    path: Annotated[Path | None, typer.Argument(help="with --write: the file; default: where it is read")] = None,
) -> None:
    """Show every configuration value and where it came from.

    That is the default, the file, the environment or the command line.
    """
    resolved, origin = load(config, overrides(setting))
    if write:
        write_new(path or default_path(), commented(resolved, origin))
        return
    if path is not None:
        raise typer.BadParameter(f"{path} is written only with --write, and read with --config {path}")
    for section, fields in resolved:
        for key, value in fields:
            name = f"{section}.{key}"
            typer.echo(f"{name:<28} {'-' if value is None else _toml(value):<34} {origin[name]}")


def write_new(path: Path, text: str) -> None:
    """Raises ConfigError where there is a file, or none can be written."""
    if path.exists():
        raise ConfigError(f"{path} exists and is not overwritten; choose another name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode(), 0o644)
    except OSError as error:
        raise unwritable(path, error, "--write") from error
    is_read = path.absolute() == default_path().absolute()
    typer.echo(
        f"wrote {path}; " + ("every command reads it" if is_read else f"read it with: edge-mer run --config {path}")
    )


def commented(resolved: Config, origin: Mapping[str, str]) -> str:
    """TOML of all keys with their meaning, that loads as ``resolved``. Those that have their default are comments.

    A key without a value is named alone, since TOML has no null.
    """
    document = tomlkit.document()
    document.add(tomlkit.comment(ABOUT))
    for section, fields in resolved:
        table = tomlkit.table()
        for key, field in type(fields).model_fields.items():
            value = getattr(fields, key)
            if field.description:
                table.add(tomlkit.comment(field.description))
            if value is None:
                table.add(tomlkit.comment(f"{key} ="))
            elif origin[f"{section}.{key}"] == "default":
                table.add(tomlkit.comment(f"{key} = {_toml(value)}"))
            else:
                table.add(key, _item(value))
        document.add(tomlkit.nl())
        document.add(section, table)
    return tomlkit.dumps(document)


def _toml(value: Any) -> str:
    return _item(value).as_string()


def _item(value: Any) -> Item:
    """``value`` on one line: a dict as an inline table."""
    if isinstance(value, dict):
        table = tomlkit.inline_table()
        table.update(value)
        return table
    item: Item = tomlkit.item(value)
    return item
