"""Home Assistant's core in a Debian chroot: its Python is newer than that of most hosts. Needs root and debootstrap."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.debian import debootstrap, in_root, let_in_network

VERSION = "2026.11.0"
SUITE = "forky"  # has the Python 3.14 that this version needs
PACKAGES = ("python3", "python3-venv", "ca-certificates")
VENV = "/ha/venv"
# What the integrations of a bare configuration need, read from Home Assistant's own manifests. Packages that have no
# wheel belong to parts that are not used here (turbojpeg, microphones); hass logs which integrations it leaves out.
REQUIREMENTS = """
import json, pathlib, homeassistant
from homeassistant import bootstrap
base = pathlib.Path(homeassistant.__file__).parent / "components"
wanted = {*bootstrap.DEFAULT_INTEGRATIONS, *bootstrap.CORE_INTEGRATIONS, "hassio", "mqtt", "recorder"}
seen, found = set(), set()
while wanted - seen:
    name = (wanted - seen).pop()
    seen.add(name)
    if (file := base / name / "manifest.json").exists():
        manifest = json.loads(file.read_text())
        found |= set(manifest.get("requirements", []))
        wanted |= set(manifest.get("dependencies", []))
print(chr(10).join(sorted(found)))
"""


def is_installed(root: Path) -> bool:
    return (root / VENV.lstrip("/") / "bin" / "hass").exists()


def install(root: Path) -> None:
    """Takes minutes, 1 GB in ``root`` and the package indexes of Debian and PyPI."""
    if is_installed(root):
        return
    debootstrap(root, SUITE, PACKAGES)
    let_in_network(root)
    shutil.copy(_uv(root.parent), root / "usr/local/bin/uv")
    python = f"{VENV}/bin/python"
    in_root(root, "uv", "venv", "-q", "--python", "/usr/bin/python3", VENV)
    in_root(root, "uv", "pip", "install", "-q", "--python", python, f"homeassistant=={VERSION}")
    constraints = next(
        root.glob(f"{VENV.lstrip('/')}/lib/python3*/site-packages/homeassistant/package_constraints.txt")
    )
    limits = ("-c", f"/{constraints.relative_to(root)}", "--only-binary", ":all:")
    for requirement in in_root(root, python, "-c", REQUIREMENTS).split():
        try:
            in_root(root, "uv", "pip", "install", "-q", "--python", python, *limits, requirement)
        except subprocess.CalledProcessError:
            print(f"without {requirement}: it has no wheel")


def _uv(place: Path) -> Path:
    """uv's program, from its wheel."""
    target = place / "uv-wheel"
    if not (found := list(target.glob("bin/uv"))):
        command = ["python3", "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), "uv"]
        subprocess.run(command, check=True)
        found = list(target.glob("bin/uv"))
    return found[0]
