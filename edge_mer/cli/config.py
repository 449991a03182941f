"""``edge-mer config``: every value and where it came from, or a commented file to start from."""

from __future__ import annotations

import json as builtin_json
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_mer.cli.options import ConfigFile, Setting, overrides
from edge_mer.config import load
from edge_mer.contract.errors import ConfigError


def config(
    config: ConfigFile = None,
    setting: Setting = None,
    write: Annotated[Path | None, typer.Option("--write", help="write a commented TOML file and end")] = None,
) -> None:
    """Show every value and where it came from: default, file, environment or command line."""

    resolved, origin = load(config, overrides(setting))
    if write is not None:
        if write.exists():
            raise ConfigError(f"{write} exists and is not overwritten; choose another name")
        write.parent.mkdir(parents=True, exist_ok=True)
        write.write_text(commented(resolved, origin))
        typer.echo(f"wrote {write}")
        return
    values = resolved.model_dump()
    for section, fields in values.items():
        for key, value in fields.items():
            name = f"{section}.{key}"
            typer.echo(f"{name:<28} {_shown(value):<34} {origin[name]}")


def commented(resolved: Any, origin: dict[str, str]) -> str:
    """TOML of all keys with their meaning; those that still have their default are commented out."""
    lines = ["# edge_mer configuration. Lines that begin with # show the defaults.", ""]
    for section, model in resolved:
        lines.append(f"[{section}]")
        for key, field in type(model).model_fields.items():
            value = getattr(model, key)
            if field.description:
                lines.append(f"# {field.description}")
            off = "# " if value is None or origin[f"{section}.{key}"] == "default" else ""
            lines.append(f"{off}{key} = {_toml(value)}")
        lines.append("")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return "-" if value is None else _toml(value)


def _toml(value: Any) -> str:
    if value is None:
        return '""'
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return builtin_json.dumps(value, ensure_ascii=False)
