"""``python -m tests.home_assistant``: checks against a real Home Assistant; the result goes into the gateway's README.

Without ``--hass`` it builds Home Assistant in a chroot (root, debootstrap, network; minutes). As root it runs in
network, mount and process namespaces of its own, so that nothing can be left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from tests.home_assistant.checks import CHECKS, Scene, let_hub_unmask_video
from tests.home_assistant.client import HomeAssistant
from tests.home_assistant.install import VENV, VERSION, install
from tests.home_assistant.stage import HTTP_PORT, Stage

ROOT = Path(__file__).parents[2]
README = ROOT / "edge_mer/gateway/README.md"
MARK = re.compile(r"(<!-- home-assistant -->\n).*?(<!-- /home-assistant -->)", re.S)
NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
INSIDE = "EDGE_MER_TEST_INSIDE"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.home_assistant", description=__doc__)
    parser.add_argument("--hass", help="an installed hass; default: one is built in a chroot")
    parser.add_argument("--root", type=Path, help="folder of the chroot, kept; default: a temporary one")
    parser.add_argument("--minutes", type=float, default=10, help="how long rows are counted")
    parser.add_argument("--only", nargs="*", choices=list(CHECKS), help="these checks, beside discovery")
    parser.add_argument("--keep-readme", action="store_true", help="do not write the result into the README")
    return parser.parse_args()


def main() -> int:
    chosen = arguments()
    if os.environ.get(INSIDE):
        return asyncio.run(check(chosen))
    with tempfile.TemporaryDirectory() as place:
        root = None if chosen.hass else chosen.root or Path(place) / "root"
        if root is not None:
            install(root)
        given = [*sys.argv[1:], *(["--root", str(root)] if root is not None and chosen.root is None else [])]
        command = [sys.executable, "-m", "tests.home_assistant", *given]
        isolation = list(NAMESPACES) if os.geteuid() == 0 else []
        return subprocess.run([*isolation, *command], env={**os.environ, INSIDE: "1"}, cwd=ROOT, check=False).returncode


async def check(chosen: argparse.Namespace) -> int:
    if os.geteuid() == 0:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    folder = Path(tempfile.mkdtemp(prefix="ha_", dir=None if chosen.root is None else chosen.root / "tmp"))
    if chosen.root is None:
        stage = Stage(folder, chosen.hass)
    else:
        subprocess.run(["mount", "-t", "proc", "proc", str(chosen.root / "proc")], check=True)
        stage = Stage(Path("/") / folder.relative_to(chosen.root), f"{VENV}/bin/hass", chosen.root)
    results: dict[str, tuple[bool, str]] = {}
    ha = HomeAssistant(f"http://127.0.0.1:{HTTP_PORT}")
    try:
        stage.prepare()
        stage.start_broker()
        stage.start_home_assistant()
        start_edge_mer(stage)
        await ha.onboard()
        await ha.connect()
        await ha.ask("http/config/promote")  # else it goes back to another address after five minutes
        scene = Scene(stage, ha, chosen.minutes)
        for name in CHECKS:
            if chosen.only is None or name in ("discovery", *chosen.only):
                results[name] = await outcome(name, scene)
    finally:
        await ha.close()
        stage.close()
        if not results or not all(good for good, _ in results.values()):
            print(stage.log("home_assistant")[:3000], stage.log("edge_mer")[-3000:], sep="\n", file=sys.stderr)
        shutil.rmtree(folder)
    if chosen.only is None and not chosen.keep_readme:
        write(results, chosen)
    return 0 if all(good for good, _ in results.values()) else 1


def start_edge_mer(stage: Stage) -> None:
    """With a key for MQTT that may unmask the camera."""
    stage.edge_mer("consent", "audio,video,text", "--who", "anna")
    stage.edge_mer("keys", "new", "mqtt", "--hub")
    let_hub_unmask_video(stage.place / "state/edge_mer")
    stage.start_edge_mer()


async def outcome(name: str, scene: Scene) -> tuple[bool, str]:
    started = time.monotonic()
    try:
        text, good = await CHECKS[name](scene), True
    except Exception as error:
        text, good = str(error) or repr(error), False
    print(f"{'ok' if good else 'FAILED':6} {name} ({time.monotonic() - started:.0f} s): {text}", flush=True)
    return good, text


def write(results: dict[str, tuple[bool, str]], chosen: argparse.Namespace) -> None:
    """Replace the marked block of the gateway's README by these results."""
    load = os.getloadavg()[0]
    which = chosen.hass or f"core {VERSION}"
    rows = [f"| {name} | {'' if good else '**failed**: '}{text} |" for name, (good, text) in results.items()]
    head = f"Home Assistant {which}, {date.today()}, {os.cpu_count()} cores of {platform.machine()}, load {load:.1f}:"
    table = "\n".join([head, "", "| check | result |", "|---|---|", *rows])
    README.write_text(MARK.sub(lambda found: f"{found[1]}{table}\n{found[2]}", README.read_text()))


if __name__ == "__main__":
    sys.exit(main())
