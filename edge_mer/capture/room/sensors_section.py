"""The section ``[sensors]`` of the user's config file: what ``edge-mer calibrate`` writes."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from edge_mer.capture.room.levels import Measured
from edge_mer.config import SensorsConfig
from edge_mer.contract.errors import ConfigError
from edge_mer.host.files import write_atomic

NAME = "sensors"


def updated(old: SensorsConfig, found: Measured, date: str) -> SensorsConfig | None:
    """``old`` with what was found; None when nothing was."""
    fresh = {name: value for name, value in dataclasses.asdict(found).items() if value is not None}
    return old.model_copy(update={**fresh, "date": date}) if fresh else None


def section_toml(section: SensorsConfig) -> str:
    """The section as TOML, without what was never measured."""
    return tomlkit.dumps({NAME: _values(section)})


def write_section(path: Path, section: SensorsConfig) -> None:
    """Set the section in the file, or add it. Comments, order and every other section stay; so does the file's mode.

    Raises ConfigError, and changes nothing, when the file is not TOML.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    try:
        document = tomlkit.parse(path.read_bytes() if path.exists() else "")
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}; correct it and try again") from error
    table, values = document.setdefault(NAME, tomlkit.table()), _values(section)
    for key in set(table) - set(values):
        del table[key]
    table.update(values)
    write_atomic(path, tomlkit.dumps(document).encode(), mode)


def _values(section: SensorsConfig) -> dict[str, Any]:
    return {name: value for name, value in section.model_dump().items() if value is not None}
