"""Time until a mask takes effect: command to ``closed`` and to receipt, per source, and with a stopped switch.

Real processes throughout. The microphone is measured where PortAudio finds one; the camera is a local MJPEG server,
live and stalled (connected, but without data).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_mer.bench.leak_probe import Observer, Toggler
from edge_mer.bench.live import unmask
from edge_mer.bench.result import Figure, spread
from edge_mer.bus import Reader, ZmqBus
from edge_mer.capture.device_list import microphones
from edge_mer.client.instance import Instance, temporary_place
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import DeviceError, EdgeMerError
from edge_mer.contract.messages import HealthReport
from edge_mer.demo.config import demo_config

CLOSED_MS, RECEIPT_MS = 100.0, 200.0
TOGGLES = 100
LIVE_US, MASKED_US = SECOND // 10, SECOND // 10
PATIENCE_US = 20 * SECOND
FPS = 15


def measure() -> list[Figure]:
    with temporary_place() as place:
        figures = _demo_session(Path(place))
    with temporary_place() as place:
        figures += _devices(Path(place))
    return figures


def _demo_session(place: Path) -> list[Figure]:
    sections: dict[str, dict[str, Any]] = {}
    if find_spec("pocketsphinx") is not None:
        sections["text"] = {"source": "asr", "engine": "pocketsphinx", "path": None}
    text_source = "text, PocketSphinx decoding" if sections else "recorded text"
    with _running(place, sections) as (toggler, bus, instance):
        toggler.until_data("video", FPS)
        figures = _toggled(toggler, "audio", "audio of a file, with its text")
        figures += _toggled(toggler, "video", "video of a file")
        figures += _toggled(toggler, "text", text_source)
        return figures + _lost_switch(bus, toggler.observer, instance)


def _devices(place: Path) -> list[Figure]:
    try:
        has_microphone = bool(microphones())
    except DeviceError:
        has_microphone = False
    with _camera() as camera:
        sections: dict[str, dict[str, Any]] = {
            "audio": {"source": "microphone" if has_microphone else "off"},
            "video": {"source": "camera", "device": camera.url, "live": False},
            "text": {"source": "off", "path": None},
        }
        with _running(place, sections) as (toggler, _, _):
            toggler.until_data("video", FPS)
            figures = _toggled(toggler, "audio", "microphone") if has_microphone else []
            figures += _toggled(toggler, "video", "MJPEG camera")
            camera.stalled = True
            return figures + _toggled(toggler, "video", "stalled MJPEG camera", data=False)


@contextmanager
def _running(place: Path, sections: Mapping[str, dict[str, Any]]) -> Iterator[tuple[Toggler, ZmqBus, Instance]]:
    with ExitStack() as ending:
        config = demo_config(place, None, None, {name: dict(values) for name, values in sections.items()})
        directory = place / "run"
        directory.mkdir(mode=0o700)
        instance = Instance(config, directory)
        ending.callback(instance.stop)
        bus = ZmqBus(directory)
        ending.callback(bus.close)
        observer = ending.enter_context(Observer(directory).listening())
        unmask(bus)
        yield Toggler(bus, observer), bus, instance


def _toggled(toggler: Toggler, modality: Modality, name: str, data: bool = True) -> list[Figure]:
    first = len(toggler.toggles)
    for n in range(TOGGLES):
        toggler.wait(LIVE_US * (n % 7) // 7)
        toggler.mask(modality)
        toggler.wait(MASKED_US)
        toggler.unmask(modality)
        if data and modality != "text":
            toggler.until_data(modality)
        elif not data:
            toggler.wait(LIVE_US)  # until it is connected
    done = toggler.toggles[first:]
    if toggler.refused:
        raise EdgeMerError(f"{len(toggler.refused)} masks were not proven, first: {toggler.refused[0]}")
    figures = spread(f"mask to closed, {name}", [t.closed_ms for t in done], "ms", p99=CLOSED_MS)
    figures += spread(f"mask to receipt, {name}", [t.receipt_ms for t in done], "ms", p99=RECEIPT_MS)
    return [*figures, Figure(f"leaked bytes, {name}", float(sum(s.size for s in toggler.leaks())), "B", 0.0)]


def _lost_switch(bus: ZmqBus, observer: Observer, instance: Instance) -> list[Figure]:
    """Time until the last byte of any sensor after switch and supervisor were stopped (SIGSTOP)."""

    lease_s = Config().privacy.lease_s
    reader = bus.reader("health")
    pid = _pid_of_switch(bus, reader)
    begin, stopped = len(observer.seen), bus.clock.now_us()
    both = (instance.process.pid, pid)  # a running supervisor would restart the switch, which masks earlier
    for stop in both:
        os.kill(stop, signal.SIGSTOP)
    try:
        deadline = stopped + round(2 * lease_s * SECOND)
        while (left := deadline - bus.clock.now_us()) > 0:
            bus.wait(left)
            reader.drain()
    finally:
        for stop in both:
            os.kill(stop, signal.SIGCONT)
    raw = [s for s in observer.seen[begin:] if s.topic.startswith("raw/")]
    last = max((s.created_us for s in raw), default=stopped)
    lasted = round((last - stopped) / SECOND, 3)
    return [Figure("switch and supervisor stopped, to the last raw byte", lasted, "s", lease_s, "lease expiry")]


def _pid_of_switch(bus: ZmqBus, reader: Reader) -> int:
    deadline = bus.clock.now_us() + PATIENCE_US
    while bus.clock.now_us() < deadline:
        bus.wait(SECOND // 10)
        for message in reader.drain():
            worker = message.body.workers.get("switch") if isinstance(message.body, HealthReport) else None
            if worker is not None and worker.pid is not None:
                return int(worker.pid)
    raise EdgeMerError("no health report names the process of the switch")


class _Camera(ThreadingHTTPServer):
    daemon_threads = True
    stalled = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ended = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/video"
        self.jpeg = cv2.imencode(".jpg", np.full((240, 320, 3), 90, np.uint8))[1].tobytes()


class _Handler(BaseHTTPRequestHandler):
    server: _Camera

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(self.server.jpeg)
        with suppress(OSError):
            while not self.server.ended.wait(1 / FPS):
                if not self.server.stalled:
                    self.wfile.write(part + self.server.jpeg + b"\r\n")

    def log_message(self, *_: object) -> None:
        return None


@contextmanager
def _camera() -> Iterator[_Camera]:
    server = _Camera()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
