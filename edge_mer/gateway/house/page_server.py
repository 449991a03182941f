"""The page of all rooms over HTTP: the server of the room's page, with the commands of a house."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec import Struct

from edge_mer.config import Config, PageConfig
from edge_mer.contract.control import Answer
from edge_mer.gateway.page.http_auth import Token, link_of
from edge_mer.gateway.page.web_server import Backend, Server
from edge_mer.host.files import state_directory
from edge_mer.privacy.switch.commands import LONGEST_S

if TYPE_CHECKING:
    from aiohttp import web

# Whoever has it may view and mask all rooms, so it is not the token of one room's page.
TOKEN_FILE = "house.token"


class HouseCommand(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``/mask`` and ``/withdraw``. ``for_s``: seconds until the mask ends by itself; 0 = never."""

    for_s: int = 0


Ask = Callable[[str, int], Awaitable[Answer]]


class HouseServer(Server):
    """``ask``: called with the action, ``mask`` or ``withdraw``, and ``for_s``."""

    index: ClassVar[str] = "house.html"

    def __init__(self, backend: Backend, page: PageConfig, token: Token, ask: Ask) -> None:
        """Raises ConfigError for an address that cannot be used, MissingExtra without aiohttp."""
        self._ask = ask
        super().__init__(backend, page, token)

    def _routes(self, web: Any) -> list[web.RouteDef]:
        return [web.post("/mask", self._command), web.post("/withdraw", self._command)]

    async def _command(self, request: web.Request) -> web.StreamResponse:
        command = await self._body(request, HouseCommand)
        if not 0 <= command.for_s <= LONGEST_S:
            return self._text(400, f"for_s is 0 to {LONGEST_S}")
        return self._answer(await self._ask(request.path.removeprefix("/"), command.for_s))


def house_page(config: Config) -> PageConfig | None:
    """The section of the page of all rooms: that of the room's page with the address of the house; None without one."""
    if config.house.page is None:
        return None
    return config.page.model_copy(update={"address": config.house.page})


def house_link(config: Config) -> str | None:
    """The link of the page of all rooms, with its token; None without one."""
    page = house_page(config)
    return None if page is None else link_of(page, Token(state_directory(config.privacy.state), TOKEN_FILE))
