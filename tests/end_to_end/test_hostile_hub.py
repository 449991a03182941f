"""Slow, unreachable, hostile and flooding clients at once do not delay capture or fusion. Real processes."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import pytest
import zmq

from edge_mer.bench.live import unmask
from edge_mer.bus import ZmqBus
from edge_mer.client import SwitchClient
from edge_mer.contract.clock import SECOND, SystemClock
from edge_mer.contract.messages import Estimate, HealthReport
from edge_mer.demo.config import demo_config
from edge_mer.privacy.keys.host_key import public_key
from edge_mer.privacy.keys.identity import Identity, new_identity
from edge_mer.privacy.keys.keyring import Keyring, PairedKey
from edge_mer.privacy.keys.pairing import server_curve
from tests.devices import free_port
from tests.end_to_end.room import started

pytestmark = [pytest.mark.end_to_end]
WORKERS = ("fusion", "file", "switch", "hub", "page", "mqtt")
BASELINE_US, LOAD_US = 4 * SECOND, 12 * SECOND
SUBSCRIBERS, NOISE = 200, 40


class HostileClients:
    """Hostile clients, each in a thread, until ``end`` is called."""

    def __init__(self, state: Path, ports: dict[str, int]) -> None:
        self.ended = threading.Event()
        self._state, self._ports = state, ports
        self._context = zmq.Context(io_threads=2)
        self._context.setsockopt(zmq.MAX_SOCKETS, 2000)
        self._threads: list[threading.Thread] = []
        self._kept: list[Any] = []

    def identity(self, name: str, allowed: bool = True) -> Identity:
        (self._state / "away").mkdir(mode=0o700, exist_ok=True)
        identity = new_identity(self._state / "away", name)
        if allowed:
            curve = identity.content.curve_public
            Keyring(self._state).add(PairedKey(name, "hub", identity.signing, curve, "today"))
        return identity

    def socket(self, kind: int, endpoint: str, identity: Identity) -> zmq.Socket[bytes]:
        found = self._context.socket(kind)
        found.setsockopt(zmq.LINGER, 0)
        found.curve_publickey, found.curve_secretkey = identity.curve
        found.curve_serverkey = server_curve(self._state)[0]
        found.connect(f"tcp://127.0.0.1:{self._ports[endpoint]}")
        self._kept.append(found)
        return found

    def silent_subscribers(self) -> None:
        """200 subscribers of all topics that never read, one of them with a queue of one message."""
        identity = self.identity("subscribers")
        for n in range(SUBSCRIBERS):
            found = self.socket(zmq.SUB, "publish", identity)
            found.setsockopt(zmq.RCVHWM, 1 if n == 0 else 1000)
            found.subscribe(b"")

    def unknown_keys(self) -> None:
        """Many connections with a key that is not allowed."""
        identity = self.identity("unknown", allowed=False)
        for _ in range(NOISE):
            self.socket(zmq.SUB, "publish", identity).subscribe(b"")

    def flood(self) -> None:
        """Malformed, oversized and valid requests, and one repeated grant."""
        identity = self.identity("flood")
        client = self.socket(zmq.DEALER, "requests", identity)
        host = public_key(self._state)
        assert host is not None
        grant = identity.grant(host.public_bytes_raw().hex(), ("audio",), 10**6, SystemClock().wall_us())
        replayed = msgspec.json.encode({"id": "r", "request": "unmask", "modalities": ["audio"], "grant": grant})
        parts = [
            b"{",
            b"\xff" * 100,
            b"[" * 9000,
            b"x" * 15_000,
            replayed,
            b'{"id": "1", "request": "describe"}',
            b'{"id": "2", "request": "emotionml"}',
        ]
        oversized = self.socket(zmq.DEALER, "requests", identity)

        def send() -> None:
            while not self.ended.wait(0.001):
                for part in parts:
                    with suppress(zmq.ZMQError):
                        client.send(part, zmq.NOBLOCK)
                with suppress(zmq.ZMQError):
                    oversized.send(b"x" * 1_000_000, zmq.NOBLOCK)

        self._run(send)

    def noise(self) -> None:
        """Bytes that are not ZeroMQ, and incomplete HTTP requests."""
        for port in self._ports.values():
            for n in range(NOISE):
                with suppress(OSError):
                    raw = socket.create_connection(("127.0.0.1", port), 1)
                    self._kept.append(raw)
                    raw.send(b"\xff\x00\x00\x00noise" if n % 2 else b"GET /events HTTP/1.1\r\nHost: 127.0.0.1")

    def guesses(self) -> None:
        """Commands to the page with wrong tokens, at full speed."""

        def send() -> None:
            while not self.ended.wait(0.001):
                with suppress(OSError), socket.create_connection(("127.0.0.1", self._ports["page"]), 1) as raw:
                    raw.send(
                        b"POST /unmask HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer x\r\n"
                        b"Content-Length: 4\r\n\r\nnull"
                    )
                    raw.recv(100)

        self._run(send)

    def _run(self, send: Callable[[], None]) -> None:
        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        self._threads.append(thread)

    def end(self) -> None:
        self.ended.set()
        for thread in self._threads:
            thread.join(5)
        for kept in self._kept:
            kept.close()
        self._context.destroy(linger=0)


class Monitor:
    """Observes estimates and health reports."""

    def __init__(self, bus: ZmqBus) -> None:
        self._bus = bus
        self._reader = bus.reader("emotion", "health")
        self.estimates: list[tuple[int, int]] = []
        self.health: HealthReport | None = None

    def observe(self, for_us: int) -> None:
        deadline = self._bus.clock.now_us() + for_us
        while (left := deadline - self._bus.clock.now_us()) > 0:
            self._bus.wait(left)
            for message in self._reader.drain():
                body = message.body
                if isinstance(body, HealthReport):
                    self.health = body
                elif isinstance(body, Estimate) and not (body.revision or body.final):
                    self.estimates.append((message.envelope.origin_us, message.envelope.created_us))

    def median_us(self) -> float:
        """Median time from the end of a window to its estimate."""
        return median(made - at for at, made in self.estimates)

    def worker(self, name: str) -> Any:
        assert self.health is not None
        return self.health.workers[name]


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="em", dir="/tmp") as name:
        yield Path(name)


def test_hostile_clients_cause_no_missed_window_and_masks_still_work(place: Path) -> None:
    with ExitStack() as stack:
        ports = {name: free_port() for name in ("publish", "requests", "page")}
        sections = {
            "hub": {name: f"tcp://127.0.0.1:{ports[name]}" for name in ("publish", "requests")},
            "page": {"address": f"http://127.0.0.1:{ports['page']}"},
            "mqtt": {"address": f"mqtt://127.0.0.1:{free_port()}"},  # a broker that is down
        }
        state = place / "privacy"
        bus = stack.enter_context(started(demo_config(place, None, None, sections), place))
        unmask(bus)
        monitor = Monitor(bus)
        monitor.observe(BASELINE_US)
        baseline_us = monitor.median_us()
        missed = monitor.worker("fusion").counters.get("tick.missed", 0)
        lost = monitor.worker("file").counters.get("dropped", 0)
        # The first start may precede the host key; only restarts under load count.
        restarts = {name: monitor.worker(name).restarts for name in WORKERS}
        hostile = HostileClients(state, ports)
        stack.callback(hostile.end)
        for attack in (hostile.silent_subscribers, hostile.unknown_keys, hostile.flood, hostile.noise, hostile.guesses):
            attack()
        monitor.estimates.clear()
        monitor.observe(LOAD_US)

        hop = 500_000
        first, last = monitor.estimates[0][0], monitor.estimates[-1][0]
        assert [at for at, _ in monitor.estimates] == list(range(first, last + 1, hop)), "each window, once, in order"
        assert last - first >= LOAD_US - 4 * hop
        assert monitor.median_us() < max(100_000, 2 * baseline_us)
        assert monitor.worker("fusion").counters.get("tick.missed", 0) == missed
        assert monitor.worker("file").counters.get("dropped", 0) == lost
        for name in WORKERS:
            assert (monitor.worker(name).state, monitor.worker(name).restarts) == ("running", restarts[name]), name
        assert monitor.worker("hub").counters["bad_request"] > 100, "the hostile requests arrived"
        assert monitor.worker("hub").counters["refused"] >= 1
        answer = SwitchClient.on_bus(bus).mask("video")
        assert answer.ok, answer.text
        assert answer.receipts
