"""Real devices for tests: a PulseAudio source read through PortAudio, and cameras over MJPEG/HTTP and RTSP.

Each is a context manager that ends its own processes by id.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

RATE = 16_000
SYSTEM_PYTHON = "/usr/bin/python3"


@contextmanager
def child(*command: str, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that is killed when the block ends."""
    process = subprocess.Popen(command, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class PulseAudio:
    """A separate sound server with one null sink; its monitor is the only microphone in ALSA.

    ``env`` is the environment for processes that use it; ``rate`` and ``channels`` are those of the sink.
    """

    def __init__(self, directory: Path, rate: int = RATE, channels: int = 1) -> None:
        self._directory = directory
        self._rate, self._channels = rate, channels
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = directory / "pulse.socket"
        config = directory / "asound.conf"
        config.write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
        self.env = {
            **os.environ,
            "HOME": str(directory),
            "XDG_RUNTIME_DIR": str(directory),
            "PULSE_SERVER": f"unix:{self.socket}",
            "PULSE_COOKIE": str(directory / "cookie"),
            "ALSA_CONFIG_PATH": f"/usr/share/alsa/alsa.conf:{config}",
        }

    @contextmanager
    def server(self) -> Iterator[subprocess.Popen[bytes]]:
        script = self._directory / "pulse.pa"
        script.write_text(
            f"load-module module-native-protocol-unix socket={self.socket} auth-anonymous=1\n"
            f"load-module module-null-sink sink_name=edge_test rate={self._rate} "
            f"channels={self._channels} format=s16le\n"
            "set-default-sink edge_test\nset-default-source edge_test.monitor\n"
        )
        options = ("-n", "-F", str(script), "--daemonize=no", "--exit-idle-time=-1", "--disable-shm=yes", "-v")
        with child("pulseaudio", *options, env=self.env, stderr=subprocess.PIPE) as process:
            log = process.stderr
            assert log is not None
            if not any(b"startup complete" in line for line in log):
                pytest.skip("pulseaudio does not start")
            threading.Thread(target=log.read, daemon=True).start()
            self._process = process
            yield process

    def stop(self) -> None:
        """Kill the server, like an unplugged device."""
        assert self._process is not None
        self._process.kill()

    def listeners(self) -> int:
        """Number of streams that record from the microphone, according to the sound server."""
        command = ("pactl", "list", "short", "source-outputs")
        return len(subprocess.run(command, env=self.env, capture_output=True, check=True).stdout.splitlines())

    def play(self, samples: NDArray[np.int16], sink: str = "edge_test") -> subprocess.Popen[bytes]:
        """Start to play int16 [n] or [n, channels], at the rate of the sink, into the microphone."""
        path = self._directory / "playing.raw"
        path.write_bytes(samples.tobytes())
        channels = samples.shape[1] if samples.ndim == 2 else 1
        return subprocess.Popen([*self._player(channels, sink), str(path)], env=self.env)

    @contextmanager
    def quiet_room(self, sink: str = "edge_test", noise: float = 60.0) -> Iterator[None]:
        """Plays faint noise for ever: an idle null sink has no clock, so its monitor delivers no data."""
        second = np.random.default_rng(0).normal(0, noise, self._rate).astype(np.int16).tobytes()
        with child(*self._player(1, sink), env=self.env, stdin=subprocess.PIPE) as player:
            assert player.stdin is not None
            threading.Thread(target=_repeat, args=(player.stdin, second), daemon=True).start()
            yield

    def control(self, *command: str) -> None:
        """One command of pactl."""
        subprocess.run(("pactl", *command), env=self.env, capture_output=True, check=True)

    def _player(self, channels: int, sink: str) -> tuple[str, ...]:
        form = ("--raw", "--format=s16le", f"--rate={self._rate}", f"--channels={channels}")
        return ("pacat", *form, "--latency-msec=50", f"--device={sink}")


def _repeat(out: IO[bytes], data: bytes) -> None:
    with suppress(OSError, ValueError):
        while True:
            out.write(data)


@contextmanager
def pulseaudio(directory: Path, rate: int = RATE, channels: int = 1) -> Iterator[PulseAudio]:
    """Skips the test with a reason when PulseAudio or PortAudio is not installed."""
    for tool in ("pulseaudio", "pactl", "pacat"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (apt install pulseaudio pulseaudio-utils libasound2-plugins)")
    try:
        import sounddevice  # noqa: F401
    except OSError as error:
        pytest.skip(f"{error} (apt install libportaudio2)")
    server = PulseAudio(directory, rate, channels)
    with server.server():
        yield server


class MjpegCamera(ThreadingHTTPServer):
    """A network camera: multipart JPEG over HTTP at 15 frames a second, each with its number encoded as squares.

    ``behaviour``: "live", "frozen" (always the same frame) or "stalled" (connected, but without data).
    """

    daemon_threads = True
    fps = 15.0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _MjpegHandler)
        self.behaviour = "live"
        self.picture: Callable[[int], NDArray[np.uint8]] = numbered_frame
        self.ended = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/video?password=secret"

    def unplug(self) -> None:
        """Take the camera off the network: connections end, new ones are refused."""
        self.ended.set()
        self.shutdown()
        self.server_close()


class _MjpegHandler(BaseHTTPRequestHandler):
    server: MjpegCamera

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        number = 0
        with suppress(OSError):
            while not self.server.ended.wait(1 / self.server.fps):
                if self.server.behaviour == "stalled":
                    continue
                number += self.server.behaviour == "live"
                jpeg = cv2.imencode(".jpg", self.server.picture(number))[1].tobytes()
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg))
                self.wfile.write(jpeg + b"\r\n")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def mjpeg_camera() -> Iterator[MjpegCamera]:
    server = MjpegCamera()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        if not server.ended.is_set():
            server.unplug()
        thread.join()


BITS, CELL = 16, 20


def numbered_frame(number: int) -> NDArray[np.uint8]:
    """320x240 BGR; the number as black and white squares along the top."""
    image = np.full((240, 320, 3), 90, np.uint8)
    for bit in range(BITS):
        image[:CELL, bit * CELL : (bit + 1) * CELL] = 255 * (number >> bit & 1)
    return image


def frame_number(image: NDArray[np.uint8]) -> int:
    cells = image[:CELL, : BITS * CELL].mean(axis=2).reshape(CELL, BITS, CELL).mean(axis=(0, 2))
    return sum(1 << bit for bit in range(BITS) if cells[bit] > 127)


RTSP_SERVER = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server, factory = GstRtspServer.RTSPServer(), GstRtspServer.RTSPMediaFactory()
server.set_address("127.0.0.1")
server.set_service("0")
factory.set_launch("( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=15/1"
                   " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay name=pay0 )")
factory.set_shared(True)
server.get_mount_points().add_factory("/camera", factory)
both = GstRtspServer.RTSPMediaFactory()
both.set_launch(
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=15/1"
    " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay name=pay0"
    " audiotestsrc is-live=true freq=440 volume=0.3 ! audio/x-raw,rate=48000,channels=2 ! opusenc"
    " ! rtpopuspay name=pay1 pt=97 )")
both.set_shared(True)
server.get_mount_points().add_factory("/both", both)
def setup(client, context):
    print("SETUP", context.uri.get_request_uri(), flush=True)
server.connect("client-connected", lambda server, client: client.connect("setup-request", setup))
assert server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""


@contextmanager
def rtsp_camera() -> Iterator[str]:
    """The URL of an RTSP camera (GStreamer's server under the system's Python). Skips the test when it is missing."""
    with child(SYSTEM_PYTHON, "-c", RTSP_SERVER, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip().decode()
        if not port:
            pytest.skip("no RTSP server (apt install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-ugly)")
        yield f"rtsp://127.0.0.1:{port}/camera"


@contextmanager
def rtsp_room() -> Iterator[tuple[str, list[str]]]:
    """The URL of an RTSP camera with sound (440 Hz), and the tracks that were requested of it so far."""
    with child(SYSTEM_PYTHON, "-c", RTSP_SERVER, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip().decode()
        if not port:
            pytest.skip("no RTSP server (apt install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-ugly)")
        tracks: list[str] = []
        threading.Thread(target=_collect, args=(process.stdout, tracks), daemon=True).start()
        yield f"rtsp://127.0.0.1:{port}/both", tracks


def _collect(lines: IO[bytes], found: list[str]) -> None:
    for line in lines:
        found.append(line.decode().strip().rpartition("/")[2])


def main() -> None:
    """``python -m tests.devices COMMAND ...``: run COMMAND with a silent PulseAudio source as microphone."""
    with TemporaryDirectory() as place, pulseaudio(Path(place)) as server, server.quiet_room():
        raise SystemExit(subprocess.run(sys.argv[1:], env=server.env).returncode)


if __name__ == "__main__":
    main()
