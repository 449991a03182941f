"""Addresses that are no good video, and some that are: a web server whose path names its behaviour.

It is a process of its own, because a camera shuts all network connections of its process.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from urllib.parse import parse_qsl, urlsplit
from urllib.request import urlopen

import cv2

from tests.devices import child, numbered_frame


def jpeg_of(number: int) -> bytes:
    return cv2.imencode(".jpg", numbered_frame(number))[1].tobytes()


class Pages:
    """The running server."""

    def __init__(self, port: int) -> None:
        self._port = port

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._port}/{path}"

    def hits(self) -> int:
        """Requests so far, without those of this function."""
        with urlopen(self.url("hits"), timeout=10) as response:
            return int(response.read())


@contextmanager
def web_pages() -> Iterator[Pages]:
    with child(sys.executable, "-m", __name__, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield Pages(int(process.stdout.readline()))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hits = 0


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self._asked = dict(parse_qsl(parts.query))
        self.server.hits += parts.path != "/hits"
        answers: dict[str, Callable[[], None]] = {
            "/html": lambda: self._send(200, "text/html", b"<html><body>Please log in</body></html>" * 20),
            "/auth": lambda: self._send(401, "text/plain", b""),
            "/missing": lambda: self._send(404, "text/plain", b""),
            "/busy": lambda: self._send(503, "text/plain", b""),
            "/snapshot": lambda: self._send(200, "image/jpeg", jpeg_of(self.server.hits)),
            "/unmeasured": lambda: self._send(200, "image/jpeg", jpeg_of(self.server.hits), measured=False),
            "/still": lambda: self._send(200, "image/jpeg", jpeg_of(1)),
            "/stream": self._stream,
            "/hits": lambda: self._send(200, "text/plain", str(self.server.hits).encode()),
        }
        with suppress(OSError):
            answers.get(parts.path, self._redirect)()

    def _send(self, code: int, kind: str, body: bytes, measured: bool = True) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        if measured:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _redirect(self) -> None:
        self.send_response(302)
        self.send_header("Location", f"/again/{self.server.hits}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _stream(self) -> None:
        """``pause``: seconds between pictures; ``stall``: how many the first connection gives before it stalls;
        ``part``: the first header of each part."""
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        stall = int(self._asked.get("stall", 0)) if self.server.hits == 1 else 0
        wait = threading.Event()
        for number in count(1):
            wait.wait(float(self._asked.get("pause", 0.02)))
            if stall and number > stall:
                continue
            body = jpeg_of(number)
            head = self._asked.get("part", "Content-Type: image/jpeg").encode()
            self.wfile.write(b"--frame\r\n%s\r\nContent-Length: %d\r\n\r\n" % (head, len(body)))
            self.wfile.write(body + b"\r\n")

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    server = _Server(("127.0.0.1", 0), _Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
