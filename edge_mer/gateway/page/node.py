"""The process ``page``: what is sensed and why, in a browser. Off unless ``page.address`` is set.

Browsers get the public topics as they are, and nothing else; this process keeps no estimate. It may mask. It cannot
unmask: a browser signs the grant with a key of its own, which was paired by a one-time code.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, deque
from pathlib import Path
from typing import Any, Literal

import msgspec

import edge_mer
from edge_mer.bus import Bus, ReliableReader
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, host_boot_id
from edge_mer.contract.control import Answer, Command, Pair
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import ConfigError, PrivacyError
from edge_mer.contract.messages import Message
from edge_mer.gateway.lazy_topic import LazyTopic
from edge_mer.gateway.lower_priority import lower_priority
from edge_mer.gateway.metrics import Metrics
from edge_mer.gateway.page import web_server
from edge_mer.gateway.page.http_auth import Token
from edge_mer.gateway.page.sse_clients import Viewers
from edge_mer.gateway.page.turn_loop import TurnLoop
from edge_mer.gateway.page.web_server import Order, WebServer
from edge_mer.gateway.public.node import PUBLIC, REMEMBERED
from edge_mer.gateway.requests.server import UNMASK_BURST, UNMASK_HZ
from edge_mer.gateway.stale_after_mask import StaleAfterMask
from edge_mer.host.files import state_directory
from edge_mer.host.limits import Budget
from edge_mer.privacy.keys.host_key import public_key
from edge_mer.privacy.keys.keyring import Keyring
from edge_mer.privacy.keys.pairing import Pairing
from edge_mer.privacy.purge_client import PurgeClient

NAME = "page"
TURN_US = SECOND // 4
PATIENCE_US = 3 * SECOND
SHOWN_RECEIPTS = 20
REQUESTER = "the web page"
GREETING = "hello"
TOPICS = tuple(t for t, s in PUBLIC.items() if s.policy == "latest" and not s.on_request and t != "heartbeat")


class PageNode:
    """Hands messages to viewers, and their orders to the switch."""

    def __init__(self, config: Config, bus: Bus) -> None:
        """Raises ConfigError for an address that cannot be used, MissingExtra without aiohttp."""
        self._bus = bus
        self._directory: Path = state_directory(config.privacy.state)
        if public_key(self._directory) is None:
            raise PrivacyError("the switch has never run here, so this host has no key yet; it is tried again")
        self.viewers = Viewers()
        self._metrics = Metrics()
        self._reader = bus.reader(*TOPICS)
        self._receipts = ReliableReader(bus, "receipt")
        self._why = LazyTopic(bus, "explain")
        self._lineage = PurgeClient(bus, NAME, MODALITIES)
        self._switch = bus.client("switch")
        self._before_mask = StaleAfterMask()
        self._last: dict[str, Message[Any]] = {}
        self._shown: deque[Message[Any]] = deque(maxlen=SHOWN_RECEIPTS)
        self._asked: dict[str, asyncio.Future[Answer]] = {}
        self._unmasks = Budget(UNMASK_HZ, UNMASK_BURST)
        self.server = WebServer(self, config.page, Token(self._directory))
        self._loop = TurnLoop()
        try:
            self._loop.run(self.server.start())
        except ConfigError:
            self._loop.close()
            raise

    def turn(self) -> int:
        """Forget what must be forgotten, hand on what came, let requests go on. Returns the longest wait (us)."""
        for order in self._lineage.orders():
            self._before_mask.order(order.mask_epoch, self._bus.clock.now_us())
            self.viewers.forget()
            self._lineage.done(order)
        for message in (*self._reader.drain(), *self._receipts.drain(), *self._why.drain(self.viewers.why)):
            self._hand_on(message)
        while (answer := self._switch.receive()) is not None:
            if isinstance(answer, Answer) and (asked := self._asked.get(answer.id)) is not None and not asked.done():
                asked.set_result(answer)
        self._loop.turn()
        return TURN_US

    @property
    def wake(self) -> tuple[int, ...]:
        return (self._loop.fd,)

    @property
    def counters(self) -> Counter[str]:
        return (
            self._reader.counters
            + self._receipts.counters
            + self.viewers.counters
            + Counter(requests_refused=self.server.refused)
        )

    def close(self) -> None:
        self._lineage.leave()
        self._loop.run(self.server.stop())
        self._loop.close()

    def _hand_on(self, message: Message[Any]) -> None:
        if self._before_mask.has(message):
            return
        if message.topic in REMEMBERED:
            self._last[message.topic] = message
        elif message.topic == "receipt":
            self._shown.append(message)
        self._metrics.fold(message)
        self.viewers.send(message.topic, message.header)

    # -- what the web server asks --------------------------------------------------------------------------------

    def greeting(self) -> list[tuple[str, bytes]]:
        """The state as it is; never an old estimate."""
        host = public_key(self._directory)
        hello = {"version": edge_mer.__version__, "host": host.public_bytes_raw().hex() if host else None}
        kept = (*self._shown, *(self._last[t] for t in sorted(self._last)))
        return [(GREETING, msgspec.json.encode(hello)), *((m.topic, m.header) for m in kept)]

    async def ask(self, action: Literal["mask", "unmask"], order: Order) -> Answer:
        """The switch's answer, or why there is none."""
        id_ = secrets.token_hex(8)
        if action == "unmask" and not self._unmasks.take(1, self._bus.clock.now_us()):
            return _failed(id_, f"at most {UNMASK_HZ} grants a second; masks are always taken")
        self._asked[id_] = asyncio.get_running_loop().create_future()
        self._switch.send(
            Command(
                id=id_,
                action=action,
                modalities=order.modalities,
                requester=REQUESTER,
                grant=order.grant,
                for_s=order.for_s,
            )
        )
        try:
            return await asyncio.wait_for(self._asked[id_], PATIENCE_US / SECOND)
        except asyncio.TimeoutError:
            return _failed(id_, "the switch does not answer; without it everything closes within one lease")
        finally:
            del self._asked[id_]

    def pair(self, pairing: web_server.PairingRequest) -> Answer:
        """Let a browser's key sign grants from now on, if it knows the one-time code."""
        host = public_key(self._directory)
        assert host is not None
        name = host.public_bytes_raw().hex()
        desk = Pairing(self._directory, Keyring(self._directory), name, self._bus.clock, host_boot_id())
        try:
            key = desk.complete(Pair(id="", name=NAME, signing=pairing.signing, curve="", proof=pairing.proof), "")
        except (PrivacyError, OSError) as error:
            return _failed("", str(error))
        return Answer(id="", ok=True, text=f"paired as {key.name}", modalities={})

    def metrics(self) -> tuple[bytes, str]:
        return self._metrics.exposition(self._bus.clock.now_us()), self._metrics.content_type


def _failed(id_: str, text: str) -> Answer:
    return Answer(id=id_, ok=False, text=text, modalities={})


def build(config: Config, bus: Bus) -> PageNode:
    lower_priority()
    return PageNode(config, bus)
