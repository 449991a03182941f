"""An HTTP client of the page's server, with a switch behind it, like a browser."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from edge_mer.bus import ZmqBus
from edge_mer.config import Config
from edge_mer.gateway.outlet import Outlet, OutletBus, OutletWorker
from edge_mer.gateway.page.history_outlet import HistoryOutlet
from edge_mer.gateway.page.http_auth import Token
from edge_mer.gateway.page.node import PageOutlet, outlets
from tests.devices import free_port
from tests.gateway.stage import Stage


class Caller:
    """Sends HTTP requests in its own threads, while page, hub and switch take turns."""

    def __init__(self, stage: Stage, **page: Any) -> None:
        self.stage, self.port = stage, free_port()
        section = {"address": f"http://127.0.0.1:{self.port}", **page}
        if "https" in section["address"]:
            section["address"] = f"https://127.0.0.1:{self.port}"
        config = Config.model_validate({"privacy": {"state": str(stage.state)}, "page": section})
        self.bus = ZmqBus(stage.test_bus.directory)
        self.page = OutletWorker("page", self.bus, partial(self._outlets, config))
        self.token = Token(stage.state).read()
        self.context: ssl.SSLContext | None = None
        self._pool = ThreadPoolExecutor(60)
        self._open: list[http.client.HTTPConnection] = []

    def _outlets(self, config: Config, bus: OutletBus) -> list[Outlet]:
        made = outlets(config, bus)
        (self.outlet,) = [o for o in made if isinstance(o, PageOutlet)]
        (self.history,) = [o for o in made if isinstance(o, HistoryOutlet)]
        return made

    def until(self, done: Callable[[], Any], seconds: float = 8) -> Any:
        def turn() -> Any:
            self.page.turn()
            return done()

        return self.stage.until(turn, seconds)

    def connection(self) -> http.client.HTTPConnection:
        if self.context is not None:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=self.context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def start(
        self, method: str, path: str, body: Any = None, token: str | None = None, **headers: str
    ) -> Future[tuple[int, dict[str, str], bytes]]:
        sent = {"Authorization": f"Bearer {self.token if token is None else token}"}
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}

        def exchange() -> tuple[int, dict[str, str], bytes]:
            connection = self.connection()
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            found = response.status, dict(response.getheaders()), response.read()
            connection.close()
            return found

        return self._pool.submit(exchange)

    def request(
        self, method: str, path: str, body: Any = None, token: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        response = self.start(method, path, body, token, **headers)
        self.until(response.done)
        return response.result()

    def post(self, path: str, body: Any) -> dict[str, Any]:
        status, _, data = self.request("POST", path, body)
        assert status == 200, data
        found: dict[str, Any] = json.loads(data)
        return found

    def open_stream(self, path: str = "/events") -> http.client.HTTPResponse:
        """Opens the event stream without reading from it."""
        connection = self.connection()
        self._open.append(connection)
        connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
        response = self._pool.submit(connection.getresponse)
        self.until(response.done)
        return response.result()

    def events(
        self,
        response: http.client.HTTPResponse,
        enough: Callable[[list[tuple[str, Any]]], bool],
        each: Callable[[], object] = lambda: None,
        seconds: float = 8,
    ) -> list[tuple[str, Any]]:
        """Reads events until ``enough`` is true; ``each`` is called at every turn."""
        found: list[tuple[str, Any]] = []

        def read() -> None:
            while not enough(found):
                line = response.readline()
                if line.startswith(b"event: "):
                    found.append((line[7:-1].decode(), json.loads(response.readline()[6:])))

        reading = self._pool.submit(read)
        self.until(lambda: each() or reading.done(), seconds)
        reading.result()
        return found

    def requested(self) -> dict[str, str]:
        assert self.stage.switch is not None
        return {m: s.requested for m, s in self.stage.switch.states().items()}

    def close(self) -> None:
        for connection in self._open:
            connection.close()
        self.page.close()
        self.bus.close()
        self._pool.shutdown(wait=False)


def has_topic(topic: str) -> Callable[[list[tuple[str, Any]]], bool]:
    return lambda events: any(t == topic for t, _ in events)
