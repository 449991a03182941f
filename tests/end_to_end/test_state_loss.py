"""Masks outlive a lost state file, a full disk and a second instance: real processes, as an ordinary user has them."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from edge_mer.bench.live import unmask
from edge_mer.client import SwitchClient
from edge_mer.client.auto_unmask import AutoUnmask
from edge_mer.client.instance import owner
from edge_mer.contract.domain import MODALITIES
from edge_mer.demo.config import SESSION, WORDS, demo_config
from edge_mer.host.readable import readable
from edge_mer.privacy.switch.state import FILE
from tests.end_to_end.room import started

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
UID = 4242
PATIENCE_S = 60.0


def wait_for(what: str, is_so: Callable[[], bool]) -> None:
    """``is_so`` asks a command, which takes a moment each time."""
    until = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until, f"{what}: not within {PATIENCE_S:.0f} s"


class User:
    """An ordinary user with a home of their own, who runs commands and instances in a terminal."""

    def __init__(self, home: Path) -> None:
        self.home, self.runtime = home, home / "xdg"
        self.state = home / ".local/state/edge_mer"
        self._ids = {"user": UID, "group": UID, "extra_groups": []} if os.getuid() == 0 else {}
        self._running: list[tuple[subprocess.Popen[bytes], int]] = []
        self.env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "USER": "anna",
            "TERM": "xterm",
            "PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LANG": "C.UTF-8",
        }
        (home / ".config").mkdir()
        self.runtime.mkdir(mode=0o700)
        (home / ".config/edge_mer.toml").write_text(
            f'[audio]\nsource = "file"\n[video]\nsource = "file"\nlive = false\n[text]\nsource = "recorded"\n'
            f'path = "{WORDS}"\n[file]\npath = "{SESSION}"\nloop = true\n'
        )
        if os.getuid() == 0:
            for path in (home, *home.rglob("*")):
                os.chown(path, UID, UID)

        self._python = self._interpreter()

    def _interpreter(self) -> str:
        """One that this user may run: the tests' own is often in a home that nobody else can enter."""
        for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
            self._python = python
            with suppress(PermissionError, FileNotFoundError):
                if self.command("--help")[0] == 0:
                    return python
        pytest.skip(f"user {UID} can run no Python {sys.version_info.minor}")

    def environment(self, desktop: bool) -> dict[str, str]:
        """As in a desktop session, or as over ssh or in cron: without XDG_RUNTIME_DIR."""
        return {**self.env, "XDG_RUNTIME_DIR": str(self.runtime)} if desktop else self.env

    def command(self, *arguments: str, desktop: bool = True) -> tuple[int, str]:
        done = subprocess.run(
            [self._python, "-m", "edge_mer.cli.main", *arguments],
            env=self.environment(desktop),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE_S,
            **self._ids,  # type: ignore[call-overload]
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    def run(self, *arguments: str, desktop: bool = True) -> subprocess.Popen[bytes]:
        """``edge-mer run`` in a terminal."""
        master, slave = pty.openpty()
        process: subprocess.Popen[bytes] = subprocess.Popen(
            [self._python, "-m", "edge_mer.cli.main", "run", "--json", *arguments],
            env=self.environment(desktop),
            stdin=slave,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._ids,  # type: ignore[call-overload]
        )
        os.close(slave)
        self._running.append((process, master))
        return process

    def privacy(self) -> str:
        """What ``edge-mer status`` says about masks; empty while nothing answers."""
        code, output = self.command("status")
        return output.partition("privacy\n")[2].partition("\nconsent")[0] if code == 0 else ""

    def stop(self) -> None:
        for process, master in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(timeout=30)
            os.close(master)


@pytest.fixture
def user() -> Iterator[User]:
    with tempfile.TemporaryDirectory(prefix="em", dir="/tmp") as place:
        anna = User(Path(place))
        try:
            yield anna
        finally:
            anna.stop()


@pytest.mark.parametrize("damage", ["lost", "torn"])
def test_a_hard_mask_outlives_a_power_cut_that_costs_the_state_file(user: User, damage: str) -> None:
    first = user.run("--consent", "audio,video,text")
    wait_for("video is live", lambda: "video  live" in user.privacy())
    assert user.command("mask", "video", "--hard")[0] == 0
    code, output = user.command("unmask", "video")
    assert (code, "masked hard" in output) == (1, True)
    supervisor = int((user.runtime / "edge_mer/supervisor.rel.lock").read_text())
    end = os.pidfd_open(supervisor)
    os.kill(first.pid, signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
    first.wait()
    assert readable(end, PATIENCE_S), "the supervisor has ended"
    os.close(end)
    assert owner(user.runtime / "edge_mer") is None
    state = user.state / FILE
    if damage == "lost":
        state.unlink()
    else:
        state.write_bytes(state.read_bytes()[:100])
    user.run()
    wait_for("the switch answers", lambda: "video  " in user.privacy())
    privacy = user.privacy()
    assert "video  hard" in privacy
    assert "live" not in privacy
    assert "sudo edge-mer unmask video" in privacy
    assert user.command("unmask", "all")[0] == 1
    assert "live" not in user.privacy()


def test_a_second_instance_is_refused_and_mask_finds_the_first(user: User) -> None:
    first = user.run("--consent", "audio,video,text")
    wait_for("video is live", lambda: "video  live" in user.privacy())
    code, output = user.command("run", desktop=False)
    assert (code, output.count("\n")) == (1, 0)
    assert f"in {user.runtime / 'edge_mer'}, since" in output
    code, output = user.command("mask", "all", desktop=False)
    assert code == 0, output
    assert "live" not in user.privacy()
    assert user.command("unmask", "video", desktop=False)[0] == 0
    assert "video  live" in user.privacy()
    assert str(user.runtime) in user.command("status", desktop=False)[1]
    first.send_signal(signal.SIGINT)
    first.wait(timeout=30)
    code, output = user.command("receipts", "verify")
    assert (code, "all signed and in one chain; none missing at the end" in output) == (0, True)


def test_a_hard_mask_on_a_full_disk_is_not_ok_and_outlives_a_kill() -> None:
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="em", dir="/tmp")))
        state = place / "privacy"
        state.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", str(state)], capture_output=True, text=True
        )
        if mounted.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
        stack.callback(lambda: subprocess.run(["umount", "-l", str(state)], check=True))
        bus = stack.enter_context(started(demo_config(place, None, None, {}), place))
        unmask(bus)
        with (state / "fill").open("wb", buffering=0) as fill, suppress(OSError):
            while fill.write(b"x" * 512):
                pass
        with SwitchClient.on_bus(bus) as switch:
            answer = switch.mask("video", hard=True)
            assert not answer.ok
            assert "a restart would forget this mask" in answer.text
            assert answer.modalities["video"].effective == "hard"
            old = int((place / "run/switch.rel.lock").read_text())
            os.kill(old, signal.SIGKILL)
            (state / "fill").unlink()

            def is_back() -> bool:
                with suppress(OSError, ValueError):
                    return int((place / "run/switch.rel.lock").read_text()) != old
                return False

            wait_for("the switch is back", is_back)
            assert "live" not in {s.requested for s in switch.status().modalities.values()}
            resume = AutoUnmask(bus, MODALITIES)
            until = time.monotonic() + 10
            while not resume.done and time.monotonic() < until:
                bus.wait(50_000)
                resume.turn()
            states = switch.status().modalities
        assert resume.done
        assert states["video"].requested == "hard"
