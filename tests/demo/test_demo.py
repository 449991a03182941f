"""``edge-mer demo`` as a user runs it: real processes, real media, no device."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from edge_mer.contract.messages import Estimate
from edge_mer.demo import scenes
from edge_mer.demo.chaos import WANTED

pytestmark = pytest.mark.end_to_end
COMMAND = [sys.executable, "-m", "edge_mer.cli.main", "demo", "--json"]


@pytest.fixture
def place() -> Iterator[Path]:
    """A temporary directory with a short path for sockets, so that the demo uses only this one."""
    with tempfile.TemporaryDirectory(prefix="em", dir="/tmp") as path:
        yield Path(path)


def start(place: Path, *more: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "TMPDIR": str(place)}
    return subprocess.Popen([*COMMAND, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def test_every_scene_is_labelled_as_intended_and_the_mask_is_proven(place: Path) -> None:
    demo = start(place)
    _, errors = demo.communicate(timeout=110)
    assert demo.returncode == 0, errors.decode()
    table = [line.split(maxsplit=3) for line in errors.decode().splitlines()[1 : 1 + len(scenes.bundled().scenes)]]
    assert [(row[1], row[2]) for row in table] == [(s.intended, "agreed") for s in scenes.bundled().scenes]
    assert b"closed and proven in" in errors
    assert b"kill -9 of the face encoder: estimates from it again after" in errors
    assert list(place.iterdir()) == []


def test_chaos_shows_every_combination_and_leaves_no_files(place: Path) -> None:
    demo = start(place, "--chaos")
    out, errors = demo.communicate(timeout=110)
    assert demo.returncode == 0, errors.decode()
    bodies = [msgspec.json.decode(line, type=Estimate) for line in out.splitlines()]
    assert {b.combination for b in bodies} == WANTED
    restarts = re.search(rb"restarts of killed processes: (\d+)", errors)
    assert restarts is not None
    assert int(restarts[1]) >= 3, "the three processes that the script kills"
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL], ids=lambda n: n.name)
def test_signal_ends_all_processes(place: Path, number: signal.Signals) -> None:
    demo = start(place)
    assert demo.stdout is not None
    assert demo.stdout.readline()
    children = psutil.Process(demo.pid).children(recursive=True)
    assert len(children) >= 6
    demo.send_signal(number)
    demo.communicate(timeout=60)
    assert demo.returncode == (-number if number == signal.SIGKILL else 130)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []


def test_closed_output_ends_the_demo_without_traceback(place: Path) -> None:
    demo = start(place)
    assert demo.stdout is not None
    assert demo.stderr is not None
    demo.stdout.readline()
    demo.stdout.close()
    assert demo.wait(timeout=60) != 2
    assert b"Traceback" not in demo.stderr.read()


def test_invalid_clip_is_one_clear_line(place: Path) -> None:
    clip = place / "not_a_clip.mp4"
    clip.write_text("this is not a video")
    demo = start(place, "--media", str(clip))
    _, errors = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert b"not_a_clip.mp4" in errors
    assert b"Traceback" not in errors
