"""The process ``page``: estimates and explanations in a browser, and /metrics. Off unless ``page.address`` is set.

Browsers get the public topics unchanged, and nothing else; this process keeps no estimate, the newest events until a
mask, and hourly shares only with consent (history_outlet.py). It may mask. It cannot unmask: a browser signs the grant
with its own key, which was paired by a one-time code.
"""

from __future__ import annotations

import asyncio
import datetime
from collections import Counter, deque
from pathlib import Path
from typing import Literal

import msgspec

import edge_mer
from edge_mer.bus import Bus
from edge_mer.client.pending_commands import failed
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, host_boot_id
from edge_mer.contract.control import Answer, Pair
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import ConfigError, EdgeMerError, PrivacyError
from edge_mer.events import corrections
from edge_mer.gateway.metrics import Metrics
from edge_mer.gateway.outlet import PUBLIC, RETAINED, Outlet, OutletBus, OutletWorker, lower_priority
from edge_mer.gateway.page.history_outlet import HistoryOutlet
from edge_mer.gateway.page.history_text import paragraph
from edge_mer.gateway.page.http_auth import Token
from edge_mer.gateway.page.sse_clients import Viewers
from edge_mer.gateway.page.strings import Language
from edge_mer.gateway.page.turn_loop import TurnLoop
from edge_mer.gateway.page.web_server import MOST_SHOWN, MaskCommand, PairingRequest, WebServer, WrongRequest
from edge_mer.gateway.public_message import PublicMessage
from edge_mer.gateway.requests.server import UNMASK_BURST, UNMASK_HZ
from edge_mer.history.shares import table
from edge_mer.host.files import state_directory
from edge_mer.host.limits import Budget
from edge_mer.privacy.keys.host_key import public_key
from edge_mer.privacy.keys.keyring import Keyring
from edge_mer.privacy.keys.pairing import Pairing

NAME = "page"
SHOWN_RECEIPTS = 20
SHOWN_EVENTS = 20
REQUESTER = "the web page"


class PageOutlet(Outlet):
    """Sends messages to viewers, and their commands to the switch. ``metrics`` is the outlet behind /metrics."""

    name = NAME
    topics = tuple(t for t in PUBLIC if t not in ("heartbeat", "voice", "house"))

    def __init__(self, config: Config, bus: OutletBus, metrics: Metrics, history: HistoryOutlet) -> None:
        """Raises ConfigError for an address that cannot be used, MissingExtra without aiohttp."""
        self._clock, self._stamp = bus.clock, bus.stamp
        self._directory: Path = state_directory(config.privacy.state)
        if public_key(self._directory) is None:
            raise PrivacyError("this host has no key yet: start the switch once; retrying")
        self.viewers = Viewers()
        self._metrics, self._history = metrics, history
        self._keep_days = config.history.keep_days
        self._switch = bus.switch(REQUESTER)
        self._retained: dict[str, PublicMessage] = {}
        self._receipts: deque[PublicMessage] = deque(maxlen=SHOWN_RECEIPTS)
        self._events: deque[PublicMessage] = deque(maxlen=SHOWN_EVENTS)
        self._unmasks = Budget(UNMASK_HZ, UNMASK_BURST)
        self.server = WebServer(self, config.page, Token(self._directory))
        self._loop = TurnLoop()
        try:
            self._loop.run(self.server.start())
        except ConfigError:
            self._loop.close()
            raise

    def publish(self, message: PublicMessage) -> None:
        if message.topic in RETAINED:
            self._retained[message.topic] = message
        elif message.topic == "receipt":
            self._receipts.append(message)
        elif message.topic == "event":
            self._events.append(message)
        self.viewers.send(message)

    def forget(self, modalities: tuple[Modality, ...], mask_epoch: int) -> None:
        self._events.clear()
        self.viewers.forget()

    def wants(self, topic: str) -> bool:
        return self.viewers.why

    def after(self, now_us: int) -> None:
        self._loop.turn()

    @property
    def wake(self) -> tuple[int, ...]:
        return (self._loop.fd,)

    @property
    def counters(self) -> Counter[str]:
        return self.viewers.counters + Counter(requests_refused=self.server.refused)

    def close(self) -> None:
        self._loop.run(self.server.stop())
        self._loop.close()

    # -- PageBackend: called by the web server ----------------------------------------------------------------------

    def greeting(self) -> tuple[bytes, list[PublicMessage]]:
        """The current state, and events since the last mask; never an old estimate."""
        host = public_key(self._directory)
        hello = {
            "version": edge_mer.__version__,
            "host": host.public_bytes_raw().hex() if host else None,
            "room": self._stamp.room,
        }
        return msgspec.json.encode(hello), [
            *self._receipts,
            *(self._retained[t] for t in sorted(self._retained)),
            *self._events,
        ]

    async def ask(self, action: Literal["mask", "unmask"], command: MaskCommand) -> Answer:
        """The switch's answer, or an answer that names why there is none."""
        if action == "unmask" and not self._unmasks.take(1, self._clock.now_us()):
            return failed(f"at most {UNMASK_HZ} grants a second; masks are always accepted")
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(answer: Answer) -> None:
            if not answered.done():  # cancelled when the browser disconnected
                answered.set_result(answer)

        self._switch.command(
            action, command.modalities, done, grant=command.grant, for_s=command.for_s, persons=command.persons
        )
        return await answered

    def pair(self, request: PairingRequest) -> Answer:
        """Allow a browser's key to sign grants, if the browser knows the one-time code."""
        host = public_key(self._directory)
        assert host is not None
        name = host.public_bytes_raw().hex()
        pairing = Pairing(self._directory, Keyring(self._directory), name, self._clock, host_boot_id())
        try:
            key = pairing.complete(Pair(id="", name=NAME, signing=request.signing, curve="", proof=request.proof), "")
        except (PrivacyError, OSError) as error:
            return failed(str(error))
        return Answer(id="", ok=True, text=f"paired as {key.name}", modalities={})

    def history(self, days: int, back: int, language: Language) -> bytes:
        """JSON of ``days`` days, the last of them ``back`` days ago, with a summary."""
        last = self._today() - datetime.timedelta(days=back)
        hours = self._history.hours(last - datetime.timedelta(days=days - 1), last)
        return msgspec.json.encode(
            {
                "on": self._history.is_on,
                "keep_days": self._keep_days,
                "last": last,
                "hours": hours,
                "summary": paragraph(language, hours),
            }
        )

    def history_table(self) -> str:
        """CSV of the last ``MOST_SHOWN`` days."""
        return table(self._history.hours(self._today() - datetime.timedelta(days=MOST_SHOWN - 1), self._today()))

    def _today(self) -> datetime.date:
        return datetime.datetime.fromtimestamp(self._clock.wall_us() / SECOND).date()

    def erase(self, what: str) -> Answer:
        """Erase a day or a modality of the history."""
        try:
            erasure = self._history.erase(what, REQUESTER)
        except (EdgeMerError, OSError) as error:
            return failed(str(error))
        return Answer(id="", ok=True, text="", modalities={}, receipts=(erasure.number,))

    def wrong(self, request: WrongRequest) -> Answer:
        """Call an event wrong, or take that back."""
        change = corrections.wrong if request.wrong else corrections.take_back
        try:
            change(self._directory, request.event)
        except (EdgeMerError, OSError) as error:
            return failed(str(error))
        return Answer(id="", ok=True, text="", modalities={})

    def metrics(self) -> tuple[bytes, str]:
        return self._metrics.exposition(self._clock.now_us()), self._metrics.content_type


def outlets(config: Config, bus: OutletBus) -> list[Outlet]:
    """Those of the page's process."""
    metrics, history = Metrics(bus.stamp.room), HistoryOutlet(config, bus)
    return [metrics, history, PageOutlet(config, bus, metrics, history)]


def build(config: Config, bus: Bus) -> OutletWorker:
    lower_priority()
    return OutletWorker(NAME, bus, lambda own: outlets(config, own), config.run.room_name)
