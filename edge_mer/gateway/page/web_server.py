"""The page over HTTP (aiohttp): packaged files, one stream of events per viewer, commands as JSON, /metrics."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import msgspec
from msgspec import Struct

from edge_mer.config import PageConfig
from edge_mer.contract.control import Answer, Grant
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import ConfigError, EdgeMerError, missing_extra
from edge_mer.gateway.page import strings
from edge_mer.gateway.page.http_auth import HEADERS, METRICS, PageAddress, Token, foreign, misnamed, parse_address
from edge_mer.gateway.page.listening_socket import ListeningSocket
from edge_mer.gateway.page.sse_clients import Viewer, Viewers, event
from edge_mer.gateway.page.strings import Language
from edge_mer.gateway.public_message import PublicMessage
from edge_mer.privacy.switch.commands import LONGEST_S

if TYPE_CHECKING:
    from aiohttp import web

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

Body = TypeVar("Body", bound=Struct)
LONGEST_BODY = 16_000
SILENT_S = 15.0
UNREAD_S = 20.0
BACKLOG = 128
# Connections at once, counted when they are accepted, and how long a TLS handshake may take.
MOST_CONNECTIONS, HANDSHAKE_S = 256, 5.0
# Days of history in one answer: reading them must not delay a purge.
MOST_SHOWN = 31
MOST_BACK = 3660
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}
INDEX = "index.html"
HELLO = "hello"


class MaskCommand(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``/mask`` and ``/unmask``. ``for_s``: a mask that ends by itself. ``grant``: signed by the browser.
    ``persons``, in place of modalities: persons in view, as "p2", or "all"."""

    modalities: tuple[Modality, ...]
    for_s: int = 0
    grant: Grant | None = None
    persons: tuple[str, ...] = ()


class PairingRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``/pair``. ``signing``: Ed25519 public key, hex. ``proof``: see edge_mer.privacy.keys.pairing."""

    signing: str
    proof: str


class EraseRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``/history/erase``: a day as YYYY-MM-DD, or a modality."""

    what: str


class WrongRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``/event/wrong``: an event was wrong, or that is taken back."""

    event: str
    wrong: bool = True


class Backend(Protocol):
    """What every page may read."""

    viewers: Viewers

    def greeting(self) -> tuple[bytes, list[PublicMessage]]:
        """For a new viewer: JSON about this host, and the current state."""
        ...


class PageBackend(Backend, Protocol):
    """What the page of a room may read and request."""

    async def ask(self, action: Literal["mask", "unmask"], command: MaskCommand) -> Answer: ...

    def pair(self, pairing: PairingRequest) -> Answer: ...

    def history(self, days: int, back: int, language: Language) -> bytes: ...

    def history_table(self) -> str: ...

    def erase(self, what: str) -> Answer: ...

    def wrong(self, request: WrongRequest) -> Answer: ...

    def metrics(self) -> tuple[bytes, str]:
        """The exposition and its content type."""
        ...


class Server:
    """What every page has: packaged files, events, and access. ``index``: the file of ``/``.

    ``refused``: connections beyond the limit, and requests with an unknown host name, from another page, without the
    token, or with a bad body.
    """

    index: ClassVar[str] = INDEX

    def __init__(self, backend: Backend, page: PageConfig, token: Token) -> None:
        """Raises ConfigError for an address that cannot be used, MissingExtra without aiohttp."""
        try:
            from aiohttp import web
        except ImportError:
            raise missing_extra("aiohttp", "hub") from None
        self._web, self._backend, self._token = web, backend, token
        self.address: PageAddress = parse_address(page)
        self._context = _context(page) if self.address.scheme == "https" else None
        self._refused = 0
        self._setting = page.language
        self._files = self._packaged()
        app = web.Application(middlewares=[web.middleware(partial(self._guard))], client_max_size=LONGEST_BODY)
        app.add_routes(
            [
                web.get("/", self._file),
                web.get("/web/{name}", self._file),
                web.get("/events", self._events, allow_head=False),
                *self._routes(web),
            ]
        )
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.2, keepalive_timeout=SILENT_S, handle_signals=False
        )
        self._sockets: list[ListeningSocket] = []
        self._servers: list[asyncio.Server] = []

    def _packaged(self) -> dict[Language, dict[str, bytes]]:
        """The files of each language, the page itself under the name INDEX."""
        packaged = {
            f.name: f.read_bytes()
            for f in files("edge_mer.gateway.page").joinpath("web").iterdir()
            if f.name.endswith(tuple(TYPES))
        }
        index = packaged[self.index].decode()
        shared = {name: content for name, content in packaged.items() if not name.endswith(".html")}
        return {
            language: shared
            | {INDEX: strings.render(index, language).encode(), strings.JS: strings.strings_js(language)}
            for language in strings.LANGUAGES
        }

    @property
    def refused(self) -> int:
        return self._refused + sum(s.refused for s in self._sockets)

    async def start(self) -> None:
        """Raises ConfigError when the address cannot be bound."""
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        handshake_s = HANDSHAKE_S if self._context is not None else None
        try:
            self._sockets = _listen(self.address)
            self._servers = [
                await asyncio.get_running_loop().create_server(
                    server, sock=s, ssl=self._context, ssl_handshake_timeout=handshake_s, backlog=BACKLOG
                )
                for s in self._sockets
            ]
        except OSError as error:
            raise ConfigError(f"page.address = {self.address.url}: {error.strerror or error}") from error

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        await self._runner.cleanup()

    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every request needs one of our host names. Packaged files are public, and other pages may link to them; all
        other requests must come from our page and carry the token."""
        response = self._refusal(request)
        if response is None:
            try:
                response = await handler(request)
            except self._web.HTTPException as error:
                response = self._text(error.status, error.reason)
        self._refused += response.status in (400, 401, 403, 404, 405, 413)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _refusal(self, request: web.Request) -> web.StreamResponse | None:
        if (reason := misnamed(request.headers, self.address)) is not None:
            return self._text(403, reason)
        if request.path == "/" or request.path.startswith("/web/"):
            return None
        if (reason := foreign(request.headers, self.address)) is not None:
            return self._text(403, reason)
        if not self._token.admits(request.headers, request.path):
            return self._text(401, "the viewing token is missing or was renewed; edge-mer page prints the link")
        return None

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name", INDEX)
        found = self._files[self._language(request)]
        if name not in found:
            raise self._web.HTTPNotFound
        kind = TYPES[name[name.rindex(".") :]]
        charset = None if kind == "image/png" else "utf-8"
        return self._web.Response(body=found[name], content_type=kind, charset=charset)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events until the viewer disconnects or the token is renewed; ``?why=1``: explanations instead."""
        viewer = self._backend.viewers.join(request.query.get("why") == "1", request.transport)
        if viewer is None:
            return self._text(503, "too many viewers; close another view of the page")
        response = self._web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        try:
            hello, newest = self._backend.greeting()
            for message in () if viewer.why else newest:
                viewer.put(message)
            await response.prepare(request)
            if not viewer.why:
                await response.write(event(HELLO, hello))
            while True:
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(viewer.filled(), SILENT_S)
                if not self._token.admits(request.headers, request.path):
                    break
                await asyncio.wait_for(_write(response, viewer), UNREAD_S)
        except (asyncio.TimeoutError, OSError):
            viewer.abort()  # it does not read: discard the queued data
        finally:
            self._backend.viewers.leave(viewer)
        return response

    def _language(self, request: web.Request) -> Language:
        return strings.chosen(self._setting, request.headers.get("Accept-Language", ""))

    async def _body(self, request: web.Request, kind: type[Body]) -> Body:
        if request.content_type != "application/json":  # an HTML form of another page cannot send this type
            raise self._web.HTTPBadRequest(reason="send JSON")
        try:
            return msgspec.json.decode(await request.read(), type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._web.HTTPBadRequest(reason="the JSON does not match the request's schema") from None

    def _answer(self, answer: Answer) -> web.StreamResponse:
        reply = {"ok": answer.ok, "text": answer.text, "receipts": answer.receipts}
        return self._web.Response(body=msgspec.json.encode(reply), content_type="application/json")

    def _content(self, body: bytes, **named: Any) -> web.StreamResponse:
        return self._web.Response(body=body, **named)

    def _text(self, status: int, text: str) -> web.StreamResponse:
        return self._web.Response(status=status, text=text)

    def _routes(self, web: Any) -> list[web.RouteDef]:
        """What this page does, beside showing itself."""
        return []


class WebServer(Server):
    """The page of one room."""

    def __init__(self, backend: PageBackend, page: PageConfig, token: Token) -> None:
        """Raises as ``Server``."""
        self._room = backend
        super().__init__(backend, page, token)

    def _routes(self, web: Any) -> list[web.RouteDef]:
        return [
            web.get(METRICS, self._metrics),
            web.post("/mask", self._command),
            web.post("/unmask", self._command),
            web.post("/pair", self._pair),
            web.post("/event/wrong", self._wrong),
            web.get("/history", self._history),
            web.get("/history.csv", self._history_table),
            web.post("/history/erase", self._erase),
        ]

    async def _command(self, request: web.Request) -> web.StreamResponse:
        command = await self._body(request, MaskCommand)
        if not (command.modalities or command.persons) or not 0 <= command.for_s <= LONGEST_S:
            return self._text(400, f"name at least one modality; for_s is 0 to {LONGEST_S}")
        return self._answer(await self._room.ask("mask" if request.path == "/mask" else "unmask", command))

    async def _pair(self, request: web.Request) -> web.StreamResponse:
        return self._answer(self._room.pair(await self._body(request, PairingRequest)))

    async def _wrong(self, request: web.Request) -> web.StreamResponse:
        return self._answer(self._room.wrong(await self._body(request, WrongRequest)))

    async def _history(self, request: web.Request) -> web.StreamResponse:
        days, back = max(1, self._days(request, "days", MOST_SHOWN)), self._days(request, "back", MOST_BACK)
        return self._read("application/json", lambda: self._room.history(days, back, self._language(request)))

    async def _history_table(self, request: web.Request) -> web.StreamResponse:
        return self._read("text/csv", lambda: self._room.history_table().encode())

    async def _erase(self, request: web.Request) -> web.StreamResponse:
        return self._answer(self._room.erase((await self._body(request, EraseRequest)).what))

    def _read(self, kind: str, read: Callable[[], bytes]) -> web.StreamResponse:
        try:
            return self._content(read(), content_type=kind, charset="utf-8")
        except (EdgeMerError, OSError) as error:
            return self._text(500, str(error))

    def _days(self, request: web.Request, name: str, most: int) -> int:
        """A number of the query; 0 where it is missing."""
        text = request.query.get(name, "0")
        if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text) <= most):
            raise self._web.HTTPBadRequest(reason=f"{name} is a number up to {most}")
        return int(text)

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        body, kind = self._room.metrics()
        return self._content(body, headers={"Content-Type": kind})


async def _write(response: web.StreamResponse, viewer: Viewer) -> None:
    """Take and write the queue in one step of the loop, so that a mask comes before or after it."""
    await response.write(viewer.take())


def _listen(address: PageAddress) -> list[ListeningSocket]:
    """One socket for every address that the name stands for. Raises OSError."""
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    places = dict.fromkeys((family, place) for family, _, _, _, place in found)
    return [ListeningSocket(place, family, MOST_CONNECTIONS, BACKLOG) for family, place in places]


def _context(page: PageConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(page.certificate or "", page.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"page.certificate = {page.certificate!r}, page.key = {page.key!r}: {error}") from error
    return context
