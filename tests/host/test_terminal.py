"""Output of commands: foreign control sequences are escaped, and so are characters outside the encoding."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

EVIL = "esc\x1b]0;PWNED\x07\x1b[31m\u202ered.mp4"


def edge_mer(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "edge_mer.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, env={**os.environ, **environment}, timeout=60)


def test_control_characters_in_a_file_name_are_escaped() -> None:
    done = edge_mer("demo", "--media", EVIL)
    assert done.returncode == 1
    assert b"\x1b" not in done.stderr
    assert b"\\u001b]0;PWNED\\u0007" in done.stderr
    assert "\u202e".encode() not in done.stderr


def test_characters_outside_the_encoding_are_escaped() -> None:
    done = edge_mer("demo", "--media", "a b ünï.mp4", PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"\\xfcn\\xef.mp4: no such file" in done.stderr


def without_home(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run as a user id without an entry in passwd, and without variables that name a directory."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")}
    command = [sys.executable, "-m", "edge_mer.cli.main", *arguments]
    if os.getuid() != 0:
        pytest.skip("only root can become a user without an entry in passwd")
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=kept, user=54321, cwd="/", timeout=60)
    except PermissionError:
        pytest.skip("this Python cannot be run by other users")
    if "No module named" in done.stderr:
        pytest.skip("this checkout cannot be read by other users")
    return done


@pytest.mark.parametrize("arguments", [("config",), ("schema", "emotion")])
def test_commands_work_without_a_home_directory(arguments: tuple[str, ...]) -> None:
    done = without_home(*arguments)
    assert done.returncode == 0, done.stderr


def test_missing_state_directory_is_one_clear_line() -> None:
    done = without_home("run", "--consent", "text")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "set HOME, XDG_STATE_HOME or privacy.state" in done.stderr
