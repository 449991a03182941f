"""Real devices for tests: a PulseAudio source heard through PortAudio, and cameras over MJPEG/HTTP and RTSP.

Each is a context manager that ends what it started, by its process id.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

RATE = 16_000


@contextmanager
def child(*command: str, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that is gone when the block ends."""
    process = subprocess.Popen(command, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


class PulseAudio:
    """A sound server of its own with one null sink; its monitor is the only microphone that ALSA offers.

    ``env`` is the environment of processes that shall hear it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.socket = directory / "pulse.socket"
        config = directory / "asound.conf"
        config.write_text('pcm.!default { type pulse device "edge_test.monitor" }\nctl.!default { type pulse }\n')
        self.env = {
            **os.environ, "HOME": str(directory), "XDG_RUNTIME_DIR": str(directory),
            "PULSE_SERVER": f"unix:{self.socket}", "PULSE_COOKIE": str(directory / "cookie"),
            "ALSA_CONFIG_PATH": f"/usr/share/alsa/alsa.conf:{config}",
        }  # fmt: skip

    @contextmanager
    def server(self) -> Iterator[subprocess.Popen[bytes]]:
        script = self._directory / "pulse.pa"
        script.write_text(
            f"load-module module-native-protocol-unix socket={self.socket} auth-anonymous=1\n"
            f"load-module module-null-sink sink_name=edge_test rate={RATE} channels=1 format=s16le\n"
            "set-default-sink edge_test\nset-default-source edge_test.monitor\n"
        )
        options = ("-n", "-F", str(script), "--daemonize=no", "--exit-idle-time=-1", "--disable-shm=yes", "-v")
        with child("pulseaudio", *options, env=self.env, stderr=subprocess.PIPE) as process:
            log = process.stderr
            assert log is not None
            if not any(b"startup complete" in line for line in log):
                pytest.skip("pulseaudio does not start here")
            threading.Thread(target=log.read, daemon=True).start()
            yield process

    def play(self, samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> subprocess.Popen[bytes]:
        """Begin to play int16 mono at 16 kHz into the microphone."""
        path = self._directory / "playing.raw"
        path.write_bytes(samples.tobytes())
        command = ("pacat", "--raw", "--format=s16le", f"--rate={RATE}", "--channels=1", "--latency-msec=50", str(path))
        return subprocess.Popen(command, env=self.env)

    @contextmanager
    def quiet_room(self) -> Iterator[None]:
        """Endless silence: an idle null sink has no clock, and its monitor then gives no data at all."""
        with child(
            "pacat",
            "--raw",
            "--format=s16le",
            f"--rate={RATE}",
            "--channels=1",
            "--latency-msec=50",
            "/dev/zero",
            env=self.env,
        ):
            yield


@contextmanager
def pulseaudio(directory: Path) -> Iterator[PulseAudio]:
    """Skips the test, saying why, where PulseAudio or PortAudio is not installed."""
    for tool in ("pulseaudio", "pactl", "pacat"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (apt install pulseaudio pulseaudio-utils libasound2-plugins)")
    try:
        import sounddevice  # noqa: F401
    except OSError as error:
        pytest.skip(f"{error} (apt install libportaudio2)")
    server = PulseAudio(directory)
    with server.server():
        yield server
