"""The process ``house``: all rooms of ``house.rooms`` as one. Off unless that names some.

It reads the rooms' public topics, publishes ``house`` and ``binding``, and masks all rooms on command: of the command
line (endpoint ``house``), of its page, and over MQTT. Its key may view and mask; it has none that could unmask.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

import edge_mer
from edge_mer.bus import Bus, ReliablePublisher, ZmqBus
from edge_mer.client.pending_commands import failed
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Answer, Command
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import PrivacyError
from edge_mer.contract.house import HeardVoice, House, RoomInput, Voice
from edge_mer.contract.messages import Message
from edge_mer.contract.plain_text import visible
from edge_mer.contract.room_address import read_room
from edge_mer.gateway.house.journal import Journalled
from edge_mer.gateway.house.mask import STATE, Masks
from edge_mer.gateway.house.mqtt import HouseMqtt
from edge_mer.gateway.house.page_server import TOKEN_FILE, HouseServer, house_page
from edge_mer.gateway.house.proof import JointLog, JointReceipt, proof_of
from edge_mer.gateway.house.room import Room
from edge_mer.gateway.house.room_view import RoomView
from edge_mer.gateway.page.http_auth import Token
from edge_mer.gateway.page.sse_clients import Viewers
from edge_mer.gateway.page.turn_loop import TurnLoop
from edge_mer.gateway.public_message import MessageTracker, PublicMessage
from edge_mer.gateway.requests.server import Reply
from edge_mer.host.files import state_directory
from edge_mer.privacy.keys.host_key import has_host_key, host_key
from edge_mer.privacy.keys.identity import Identity, new_identity, read_identity
from edge_mer.privacy.keys.signing import public_hex
from edge_mer.privacy.purge_client import PurgeClient
from edge_mer.privacy.switch.commands import LONGEST_S

NAME = "house"
TURN_US, TICK_US, PUBLISH_US, PING_US = SECOND // 10, SECOND // 4, SECOND // 2, 5 * SECOND
PATIENCE_US = 3 * SECOND
# Commands that wait for proof, and answers kept for a repeated command.
MOST_WAITING, MOST_ANSWERS = 64, 64
SHOWN_VOICES, SHOWN_VOICES_US = 8, 60 * SECOND
LONGEST_REASON = 200
# A message that is from further back or ahead than this has a wrong time.
OLDEST_US, NEWEST_US = 5 * SECOND, SECOND // 2
# Steps of a message, bytes that name it, and messages of a tick, so that an entry of the journal keeps to its size.
MOST_STEPS, LONGEST_NAMES, MOST_INPUTS = 20, 64, 500
Done = Callable[[Answer], object]


@dataclass
class Waiting:
    done: Done
    round: int
    deadline_us: int


class HouseNode:
    """A worker. Nothing in a turn waits for a room."""

    def __init__(self, config: Config, bus: ZmqBus) -> None:
        """Raises ConfigError for an address that cannot be used, PrivacyError before this host has a key."""
        directory = state_directory(config.privacy.state)
        if not has_host_key(directory):
            raise PrivacyError("this host has no key yet: start the switch once; retrying")
        key = host_key(directory)
        self._clock, self._host = bus.clock, public_hex(key)
        self._log = JointLog(directory, key)
        identity = house_identity(config)
        self._rooms = {n: Room(n, read_room(text), identity, bus) for n, text in config.house.rooms.items()}
        self._views = {name: RoomView() for name in self._rooms}
        hosts = {name: room.host for name, room in self._rooms.items()}
        self._masks = Masks(directory / STATE, hosts, self._clock.wall_us(), self._write)
        self._journal = Journalled()
        self._voices: deque[HeardVoice] = deque(maxlen=SHOWN_VOICES)
        self._waiting: dict[str, Waiting] = {}
        self._answers: dict[str, Answer] = {}
        self._purges = PurgeClient(bus, NAME, MODALITIES)
        self._server = bus.server(NAME)
        self._publisher, self._binding = bus.publisher("house", NAME), ReliablePublisher(bus, "binding", NAME)
        self._tracker, self._shown = MessageTracker(), House(rooms={}, mask=None, voices=())
        self._tick_due = self._publish_due = 0
        self._ping_due = dict.fromkeys(self._rooms, 0)
        self._own: Counter[str] = Counter()
        self.viewers = Viewers()
        self._last: PublicMessage | None = None
        page = house_page(config)
        self._loop = TurnLoop()
        self._page = HouseServer(self, page, Token(directory, TOKEN_FILE), self._ask) if page is not None else None
        if self._page is not None:
            self._loop.run(self._page.start())
        self._mqtt = HouseMqtt(config.mqtt, self._host[:8], self._press) if config.mqtt.address else None

    # -- the loop --------------------------------------------------------------------------------------------------

    def turn(self) -> int:
        now = self._clock.now_us()
        self._purge()
        for name in self._rooms:
            self._read(name, now)
        self._listen(now)
        self._send(now)
        self._masks.save()
        if now >= self._tick_due:
            self._tick_due = now + TICK_US
            self._tick(now)
        self._binding.pump()
        self._answer_waiting(now)
        self._show(now)
        self._loop.turn()
        if self._mqtt is not None:
            self._mqtt.turn(self._shown, now)
        return TURN_US if self._publish_due else 0  # a command of the page or over MQTT has just come

    @property
    def wake(self) -> tuple[int, ...]:
        return (self._loop.fd, *(self._mqtt.wake if self._mqtt is not None else ()))

    @property
    def counters(self) -> Counter[str]:
        found = self._own + self.viewers.counters
        for name, room in self._rooms.items():
            found += Counter({f"{name}.{kind}": n for kind, n in room.counters.items()})
        if self._page is not None:
            found["requests_refused"] = self._page.refused
        return found + self._mqtt.counters if self._mqtt is not None else found

    @property
    def notes(self) -> tuple[str, ...]:
        silent = [f"{n}: {r.reason}" for n, r in self._shown.rooms.items() if r.reason is not None]
        missing = [f"not masked: {n}: {why}" for n, why in self._missing().items()]
        fault = [self._masks.fault] if self._masks.fault else []
        return (*silent, *missing, *fault, *(self._mqtt.notes if self._mqtt is not None else ()))

    def close(self) -> None:
        if self._page is not None:
            self._loop.run(self._page.stop())
        self._loop.close()
        if self._mqtt is not None:
            self._mqtt.close()
        for room in self._rooms.values():
            room.close()
        self._purges.leave()

    # -- rooms -----------------------------------------------------------------------------------------------------

    def _read(self, name: str, now: int) -> None:
        room, view = self._rooms[name], self._views[name]
        for message in room.messages():
            masked = view.fold(message, now)
            for modality, epoch in masked:
                room.reader.require_epoch(modality, epoch)
                if modality == "audio":
                    self._forget_voice(name)
            if masked:
                self._revoke()
            self._take(name, message, now)
        for request, took_us, reply in room.replies():
            if request == "mask":
                self._proven(name, reply, now)
            elif reply.ok:
                view.clock.trips.append(took_us)
        if now >= self._ping_due[name] and room.ask("describe"):
            self._ping_due[name] = now + PING_US

    def _take(self, name: str, message: Message[Any], now: int) -> None:
        """Into the fold of voices, with the time of this host."""
        clock = self._views[name].clock
        offset, uncertainty = clock.offset_us, clock.uncertainty_us
        if message.topic not in ("voice", "emotion", "person") or offset is None or uncertainty is None:
            return
        body, age_us = message.body, now - message.envelope.origin_us - offset
        if not -NEWEST_US <= age_us <= OLDEST_US or (isinstance(body, Voice) and len(body.levels) > MOST_STEPS):
            self._own["bad_time"] += 1
            return
        if (
            len(message.envelope.source) + len(message.envelope.boot) > LONGEST_NAMES
            or self._journal.held >= MOST_INPUTS
        ):
            self._own["not_folded"] += 1
            return
        self._journal.take(RoomInput(name, message.ref, offset, uncertainty), message)

    def _forget_voice(self, name: str) -> None:
        self._journal.purge(name)
        self._voices = deque((v for v in self._voices if name not in v.levels), SHOWN_VOICES)

    def _purge(self) -> None:
        """A mask of this host, whose own room may be one of the rooms."""
        if orders := self._purges.orders():
            for name, view in self._views.items():
                view.estimate = None
                self._forget_voice(name)
            self._revoke()
            for order in orders:
                self._purges.done(order)

    def _revoke(self) -> None:
        self._tracker.revoke()
        self.viewers.forget()
        self._publish_due = 0

    def _send(self, now: int) -> None:
        for name, challenge, for_s in self._masks.attempts(now, self._clock.wall_us()):
            if not self._rooms[name].ask("mask", modalities=MODALITIES, for_s=for_s, challenge=challenge):
                self._masks.unsent(name, now)

    def _proven(self, name: str, reply: Reply, now: int) -> None:
        if not reply.ok:
            self._masks.failed(name, visible(reply.text)[:LONGEST_REASON] or "it did not mask")
            return
        try:
            proof = proof_of(reply.result, self._rooms[name].host)
        except PrivacyError as error:
            self._masks.failed(name, visible(str(error))[:LONGEST_REASON])
        else:
            self._masks.answered(name, proof, now, self._clock.wall_us())
            self._publish_due = 0

    def _write(self, draft: JointReceipt) -> int | None:
        """The number of the written receipt; None where it cannot be written."""
        try:
            return self._log.append(draft).number
        except OSError:
            self._own["receipt_unwritten"] += 1
            return None

    # -- commands --------------------------------------------------------------------------------------------------

    def _listen(self, now: int) -> None:
        while (received := self._server.receive()) is not None:
            peer, message = received
            if not isinstance(message, Command):
                self._own["unexpected"] += 1
            elif message.id in self._answers:
                self._server.send(peer, self._answers[message.id])
            elif message.id not in self._waiting:
                self._command(message, partial(self._reply, peer, message.id), now)

    def _reply(self, peer: bytes, id_: str, answer: Answer) -> None:
        self._answers[id_] = answer = msgspec.structs.replace(answer, id=id_)
        while len(self._answers) > MOST_ANSWERS:
            del self._answers[next(iter(self._answers))]
        self._server.send(peer, answer)

    def _command(self, command: Command, done: Done, now: int) -> None:
        if command.action == "mask" and 0 <= command.for_s <= LONGEST_S:
            number = self._masks.mask(visible(command.requester)[:64], command.for_s, now, self._clock.wall_us())
            self._publish_due = 0
            if len(self._waiting) >= MOST_WAITING:
                done(failed("asked of every room, but too many commands wait for proof: edge-mer house status"))
            else:
                self._waiting[command.id] = Waiting(done, number, now + PATIENCE_US)
        elif command.action == "withdraw":
            text = self._masks.withdraw(self._clock.wall_us())
            self._publish_due = 0
            done(failed(text) if text else Answer(id="", ok=True, text="", modalities={}))
        else:
            done(failed(f"a house takes mask and withdraw, and opens nothing; got {visible(command.action)[:64]!r}"))

    def _answer_waiting(self, now: int) -> None:
        for id_, waiting in list(self._waiting.items()):
            shown = self._masks.shown
            if self._masks.proven_round >= waiting.round:
                receipt = (self._masks.proven_receipt,) if self._masks.proven_receipt is not None else ()
                answer = Answer(id="", ok=True, text=self._masks.fault, modalities={}, receipts=receipt)
            elif shown is not None and shown.state == "withdrawn":
                answer = failed("it was withdrawn")
            elif now >= waiting.deadline_us:
                answer = failed("; ".join(f"{n}: {why}" for n, why in self._missing().items()))
            else:
                continue
            del self._waiting[id_]
            waiting.done(answer)

    def _missing(self) -> dict[str, str]:
        shown = self._masks.shown
        return shown.missing if shown is not None and shown.state == "pending" else {}

    async def _ask(self, action: str, for_s: int) -> Answer:
        """A command of the page."""
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(answer: Answer) -> None:
            if not answered.done():  # cancelled when the browser disconnected
                answered.set_result(answer)

        self._from_outlet(action, "the page of the house", for_s, done)
        return await answered

    def _press(self, requester: str, for_s: int) -> None:
        self._from_outlet("mask", requester, for_s, lambda answer: None)

    def _from_outlet(self, action: str, requester: str, for_s: int, done: Done) -> None:
        self._own["commands"] += 1
        id_ = f"{requester} {self._own['commands']}"
        self._command(Command(id=id_, action=action, requester=requester, for_s=for_s), done, self._clock.now_us())

    # -- what is shown ---------------------------------------------------------------------------------------------

    def _tick(self, now: int) -> None:
        voices, entry = self._journal.tick(now)
        self._binding.send(entry, origin_us=now)
        self._voices += voices
        if voices:
            self._publish_due = 0

    def _show(self, now: int) -> None:
        if now < self._publish_due:
            return
        self._publish_due = now + PUBLISH_US
        self._shown = House(
            rooms={name: view.state(now) for name, view in self._views.items()},
            mask=self._masks.shown,
            # Copies: a mask empties what was published.
            voices=tuple(deepcopy(v) for v in self._voices if now - v.end_us <= SHOWN_VOICES_US),
        )
        message = self._tracker.track(self._publisher.send(self._shown, origin_us=now))
        self._last = message
        self.viewers.send(message)

    def greeting(self) -> tuple[bytes, list[PublicMessage]]:
        """For a new viewer of the page; the state follows within half a second."""
        hello = {"version": edge_mer.__version__, "host": self._host}
        return msgspec.json.encode(hello), [] if self._last is None or self._last.revoked else [self._last]


def house_identity(config: Config) -> Identity:
    """The keys by which rooms know this house, made on first use. They sign no grant: rooms pair them as a reader."""
    directory = state_directory(config.privacy.state)
    return read_identity(directory, NAME) or new_identity(directory, NAME)


def build(config: Config, bus: Bus) -> HouseNode:
    assert isinstance(bus, ZmqBus)
    return HouseNode(config, bus)
