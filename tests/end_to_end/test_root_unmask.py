"""``sudo edge-mer unmask`` lifts a lock in the instance of another user: real processes, as two users."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.test_state_loss import PATIENCE_S, UID, User, user, wait_for

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.getuid() != 0, reason="only root may act as root and as another user: run as root"),
]
__all__ = ["user"]


def as_root(anna: User, *arguments: str) -> tuple[int, str]:
    """As sudo calls it: root's home, no runtime directory, and who has called."""
    env = {**anna.env, "HOME": "/root", "USER": "root", "SUDO_UID": str(UID), "SUDO_USER": "anna"}
    done = subprocess.run(
        [sys.executable, "-m", "edge_mer.cli.main", *arguments],
        env=env,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_S,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def owners(*places: Path) -> dict[str, int]:
    found = (path for place in places for path in (place, *place.rglob("*")))
    return {str(path): path.lstat().st_uid for path in found}


def test_root_lifts_a_lock_of_another_user_and_leaves_no_file_behind(user: User) -> None:
    user.run("--consent", "audio,video,text")
    wait_for("video is live", lambda: "video  live" in user.privacy())
    runtime = user.runtime / "edge_mer"
    there = ("--directory", str(runtime))
    for hard in ((), ("--hard",)):
        assert user.command("mask", "video", *hard)[0] == 0
        (user.state / "identities/console.counter").unlink()  # as when nobody has signed a grant yet
        assert as_root(user, "unmask", "video", *there)[0] == 0
        wait_for("video is live again", lambda: "video  live" in user.privacy())
        assert user.command("unmask", "video")[0] == 0
    for command in ("mask", "unmask"):
        code, output = as_root(user, command, "audio", *there)
        assert code == 0, output
    assert as_root(user, "status", *there)[0] == 0
    assert set(owners(runtime, user.state).values()) == {UID}, "nothing of root's is left that would lock the user out"
    code, output = user.command("receipts", "show")
    assert (code, output) != (0, ""), output
