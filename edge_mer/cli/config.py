"""``edge-mer config``: every value and where it came from, or a commented file to start from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import tomlkit
import typer
from tomlkit.items import Item

from edge_mer.cli.options import ConfigFile, Setting, overrides
from edge_mer.config import Config, load
from edge_mer.contract.errors import ConfigError
from edge_mer.host.files import write_atomic

ABOUT = "edge_mer configuration. A key that is commented out has its default."


def config(
    config: ConfigFile = None,
    setting: Setting = None,
    write: Annotated[Path | None, typer.Option("--write", help="write a commented TOML file and exit")] = None,
) -> None:
    """Show every configuration value and where it came from.

    That is the default, the file, the environment or the command line.
    """
    resolved, origin = load(config, overrides(setting))
    if write is not None:
        if write.exists():
            raise ConfigError(f"{write} exists and is not overwritten; choose another name")
        write.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(write, commented(resolved, origin).encode(), 0o644)
        typer.echo(f"wrote {write}")
        return
    for section, fields in resolved:
        for key, value in fields:
            name = f"{section}.{key}"
            typer.echo(f"{name:<28} {'-' if value is None else _toml(value):<34} {origin[name]}")


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
