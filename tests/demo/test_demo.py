"""``edge-mer demo`` as a user starts it: real processes, real media, no device."""

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
from edge_mer.demo.script import WANTED

pytestmark = pytest.mark.end_to_end
COMMAND = [sys.executable, "-m", "edge_mer.cli.main", "demo", "--json"]


@pytest.fixture
def place() -> Iterator[Path]:
    """A temporary directory short enough for sockets, so that the demo uses it and nothing else."""
    with tempfile.TemporaryDirectory(prefix="em", dir="/tmp") as path:
        yield Path(path)


def start(place: Path, *more: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "TMPDIR": str(place)}
    return subprocess.Popen([*COMMAND, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def test_it_sees_every_combination_within_a_minute_and_leaves_nothing(place: Path) -> None:
    demo = start(place)
    out, said = demo.communicate(timeout=110)
    assert demo.returncode == 0, said.decode()
    bodies = [msgspec.json.decode(line, type=Estimate) for line in out.splitlines()]
    assert {b.combination for b in bodies} == WANTED
    restarts = re.search(rb"restarts of killed processes: (\d+)", said)
    assert restarts is not None
    assert int(restarts[1]) >= 3, "the three that the script kills"
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL], ids=lambda n: n.name)
def test_whatever_ends_it_no_process_stays(place: Path, number: signal.Signals) -> None:
    demo = start(place)
    assert demo.stdout is not None
    assert demo.stdout.readline()
    family = psutil.Process(demo.pid).children(recursive=True)
    assert len(family) >= 6
    demo.send_signal(number)
    demo.communicate(timeout=60)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []


def test_a_reader_that_goes_away_ends_it_quietly(place: Path) -> None:
    demo = start(place)
    assert demo.stdout is not None
    assert demo.stderr is not None
    demo.stdout.readline()
    demo.stdout.close()
    assert demo.wait(timeout=60) != 2
    assert b"Traceback" not in demo.stderr.read()


def test_a_clip_that_is_none_is_one_clear_line(place: Path) -> None:
    clip = place / "not_a_clip.mp4"
    clip.write_text("this is no video")
    demo = start(place, "--media", str(clip))
    _, said = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert b"not_a_clip.mp4" in said
    assert b"Traceback" not in said
