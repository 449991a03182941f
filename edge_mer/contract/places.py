"""Directories of a user's files, by the XDG Base Directory Specification 0.8."""

from __future__ import annotations

import os
from pathlib import Path

from edge_mer.contract.errors import ConfigError


def user_directory(variable: str, below_home: str, setting: str) -> Path:
    """The directory that ``variable`` names, else the default below the home directory.

    Raises ConfigError where no home directory is known (no HOME, and a user id that has no entry in passwd); it names
    ``setting``, which also sets the directory.
    """
    if named := os.environ.get(variable):
        return Path(named)
    try:
        return Path.home() / below_home
    except RuntimeError:
        raise ConfigError(
            f"no home directory is known: HOME is not set and user id {os.getuid()} has no entry in passwd; "
            f"set HOME, {variable} or {setting}"
        ) from None


def unwritable(path: Path, error: OSError, setting: str) -> ConfigError:
    """The error for a directory or file that cannot be written."""
    return ConfigError(f"{path} cannot be written: {error.strerror or error}; set {setting} to a place that can")
