"""``python -m tests.image``: carries out the lines of .docker/Dockerfile in Debian roots, and starts the result.

It knows the instructions that this file uses, one ``FROM`` per stage. Debian's image is made by debootstrap.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dockerfile_parse import DockerfileParser

from tests.debian import ENVIRONMENT, debootstrap, in_root, let_in_network

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / ".docker/Dockerfile"
SUITE = "trixie"
READY_S = 60
INSIDE = "EDGE_MER_TEST_INSIDE"


@dataclass
class Image:
    """One stage. ``user``, ``command`` and ``health`` are as in the file."""

    root: Path
    folder: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0"
    entry: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    health: tuple[str, ...] = ()

    def run(self, script: str) -> None:
        steps = f"cd {self.folder}; {script}"
        in_root(self.root, "/bin/bash", "-euo", "pipefail", "-c", steps, environment=self.environment)

    def copy(self, value: str, stages: dict[str, Image]) -> None:
        words = value.split()
        options = [w for w in words if w.startswith("--")]
        *sources, target = [w for w in words if not w.startswith("--")]
        source = next((stages[o.partition("=")[2]].root for o in options if o.startswith("--from=")), ROOT)
        place = self.root / str(Path(self.folder) / target).lstrip("/")
        for name in sources:
            path = source / name.lstrip("/")
            if path.is_dir():
                shutil.copytree(path, place, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)

    def as_user(self, *command: str) -> list[str]:
        ids = [f"--reuid={self.user}", f"--regid={self.user}", "--init-groups"]
        groups = ids if self.user != "0" else []
        variables = [f"{k}={v}" for k, v in (ENVIRONMENT | self.environment).items()]
        return ["chroot", str(self.root), "setpriv", *groups, "env", "-i", *variables, *command]


def build(folder: Path) -> Image:
    """The last stage."""
    stages: dict[str, Image] = {}
    base = folder / "base"
    debootstrap(base, SUITE)
    let_in_network(base)
    with DOCKERFILE.open("rb") as file:
        structure = DockerfileParser(fileobj=file).structure
    for step in structure:
        name, value = step["instruction"], step["value"]
        if name == "FROM":
            image = Image(folder / value.rpartition(" AS ")[2])
            stages[image.root.name] = image
            subprocess.run(["cp", "-a", str(base), str(image.root)], check=True)
        elif stages:
            print(f"{image.root.name}: {name} {value[:90]}", flush=True)
            carry_out(image, name, value, stages)
    return image


def carry_out(image: Image, name: str, value: str, stages: dict[str, Image]) -> None:
    if name == "RUN":
        image.run(value)
    elif name == "COPY":
        image.copy(value, stages)
    elif name == "WORKDIR":
        image.folder = value
        (image.root / value.lstrip("/")).mkdir(parents=True, exist_ok=True)
    elif name == "ENV":
        for key, text in re.findall(r"(\w+)=(\S+)", value):
            image.environment[key] = text.replace("$PATH", ENVIRONMENT["PATH"])
    elif name == "USER":
        image.user = value
    elif name in ("ENTRYPOINT", "CMD"):
        setattr(image, "entry" if name == "ENTRYPOINT" else "command", tuple(json.loads(value)))
    elif name == "HEALTHCHECK":
        image.health = tuple(json.loads(value.partition("CMD ")[2]))
    else:
        assert name in ("SHELL", "VOLUME", "STOPSIGNAL", "COMMENT", "ARG"), f"{name} is not known here"


def try_it(image: Image) -> None:
    """Its command becomes healthy without consent, consent beside it works, and it ends on SIGINT."""
    for kind, place in (("proc", "proc"), ("tmpfs", "tmp")):
        subprocess.run(["mount", "-t", kind, kind, str(image.root / place)], check=True)
    process = subprocess.Popen(image.as_user(*image.entry, *image.command))
    try:
        deadline = time.monotonic() + READY_S
        while subprocess.run(image.as_user(*image.health), stdout=subprocess.DEVNULL, check=False).returncode:
            assert time.monotonic() < deadline, "it is not healthy"
            with suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"it ended with {process.wait(1)}")
        print("healthy and masked without consent", flush=True)
        subprocess.run(image.as_user(*image.entry, "consent", "audio,video,text", "--who", "anna"), check=True)
        subprocess.run(image.as_user(*image.entry, "unmask", "all"), check=True)
        subprocess.run(image.as_user(*image.health), check=True)
    finally:
        process.terminate()
        code = process.wait(20)
    assert code == 0, f"exit code {code}"


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    if not os.environ.get(INSIDE):  # mounts and processes end with the namespaces
        with tempfile.TemporaryDirectory() as temporary:
            place = [] if folder is not None else [temporary]
            command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-m"]
            command += ["tests.image", *sys.argv[1:], *place]
            return subprocess.run(command, env={**os.environ, INSIDE: "1"}, cwd=ROOT, check=False).returncode
    assert folder is not None
    image = build(folder)
    try_it(image)
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
