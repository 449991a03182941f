"""Requests of external clients: describe, schema, status, emotionml, iso30150, mask, unmask.

One JSON object from a REQ or DEALER socket, ``{"id": "1", "request": "mask", "modalities": ["audio"]}``, gets one JSON
object back. This server checks form and rate; the switch decides. ``unmask`` carries a grant (contract.control.Grant)
that the client has signed.
"""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import zmq
from msgspec import Struct

import edge_mer
from edge_mer.bus.curve_server import has_own_identity
from edge_mer.client.mask_batches import MaskBatches
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Answer, Command, Grant
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import BadMessage
from edge_mer.contract.schema import topic_schema
from edge_mer.contract.services import SERVICES
from edge_mer.gateway.curve_listener import CurveListener
from edge_mer.gateway.formats import to_emotionml, to_iso30150
from edge_mer.gateway.outlet import OutletBus
from edge_mer.gateway.public_message import PublicMessage
from edge_mer.host.limits import Budget
from edge_mer.privacy.keys.host_key import public_key
from edge_mer.privacy.switch.commands import LONGEST_S
from edge_mer.privacy.switch.people_mask import fault_of

LONGEST_REQUEST = 16_000
QUEUED = 100
# Limits the time for requests in one turn, so that the topics are not delayed.
MOST_IN_A_TURN = 50
MOST_WAITING = 256
LONGEST_ID = 64
# These limits never apply to masks.
RATE_HZ, BURST = 10, 20
# Each grant costs the switch a signature check, so the limit is for all clients together.
UNMASK_HZ, UNMASK_BURST = 10, 20
PATIENCE_US = 3 * SECOND
STALE_US = 2 * SECOND


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """``topic``: for ``schema``; default all public ones. ``for_s``: seconds until a mask ends by itself; 0 = never.
    ``challenge``: of a mask, random text that the switch signs with the masks that hold (contract.control.Holds).
    ``persons``: of a mask or unmask, in place of modalities: persons in view, as "p2", or "all".

    ``emotionml`` and ``iso30150`` are answered with the next estimate; old estimates are not kept.
    """

    id: str
    request: Literal["describe", "schema", "status", "emotionml", "iso30150", "mask", "unmask"]
    modalities: tuple[Modality, ...] = ()
    topic: str | None = None
    hard: bool = False
    for_s: int = 0
    grant: Grant | None = None
    challenge: str = ""
    persons: tuple[str, ...] = ()


class Reply(Struct, frozen=True):
    """``ok`` only when the request took effect; otherwise ``text`` is the reason. ``result`` depends on the request."""

    id: str
    ok: bool
    text: str
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EstimateRequest:
    """A request that the next estimate answers; ``route`` addresses the client."""

    route: list[bytes]
    id: str
    form: str
    deadline_us: int


class RequestServer:
    """One ROUTER socket. ``last``: the newest public messages, which ``status`` answers from."""

    def __init__(
        self, bus: OutletBus, listener: CurveListener, address: str, last: Mapping[str, PublicMessage]
    ) -> None:
        """Raises ConfigError when the address cannot be bound."""
        self._counts: Counter[str] = Counter()
        self._bus, self._listener, self._last = bus, listener, last
        self._socket = bus.socket(zmq.ROUTER)
        self.address, self._connections = listener.open(
            self._socket, address, "hub.requests", LONGEST_REQUEST, QUEUED, QUEUED
        )
        self._switch = bus.switch("a client")
        self._masks = MaskBatches(lambda key, command, done: self._switch.ask(command, done))
        self._awaiting: deque[EstimateRequest] = deque()
        self._budgets: defaultdict[str, Budget] = defaultdict(lambda: Budget(RATE_HZ, BURST))
        self._unmasks = Budget(UNMASK_HZ, UNMASK_BURST)

    def turn(self, now_us: int) -> None:
        self._connections.turn(now_us)
        for _ in range(MOST_IN_A_TURN):
            if not int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
                break
            self._receive(self._socket.recv_multipart(zmq.NOBLOCK, copy=False), now_us)
        while self._awaiting and self._awaiting[0].deadline_us <= now_us:
            waiting = self._awaiting.popleft()
            self._reply(waiting.route, Reply(waiting.id, False, "no estimate arrived in time", {}))

    @property
    def counters(self) -> Counter[str]:
        return self._counts + Counter(dropped=self._connections.dropped)

    def answer_with(self, message: PublicMessage) -> None:
        """Answer all waiting requests with a window's first estimate."""
        clock, at = self._bus.clock, message.envelope.origin_us
        wall_us = clock.wall_us() - (clock.now_us() - at)
        while self._awaiting:
            waiting = self._awaiting.popleft()
            as_xml = waiting.form == "emotionml"
            result = {"document": to_emotionml(message.body, wall_us)} if as_xml else to_iso30150(message.body, wall_us)
            self._reply(waiting.route, Reply(waiting.id, True, "", result))

    def close(self) -> None:
        self._connections.close()
        self._bus.release(self._socket)

    def _receive(self, frames: list[zmq.Frame], now_us: int) -> None:
        connection = self._connections.finished(frames[-1])
        if not has_own_identity(frames[0].bytes):
            self._counts["bad_identity"] += 1
            self._connections.drop(connection)
            return
        sender = self._listener.sender(frames[-1])
        route, rest = [frames[0].bytes], frames[1:]
        if len(rest) == 2 and not len(rest[0]):  # a REQ socket puts an empty frame before its message
            route, rest = [*route, b""], rest[1:]
        if sender is None or len(rest) != 1:
            self._counts["bad_request"] += 1
            return
        try:
            request = _decoded(rest[0].bytes)
        except BadMessage as error:
            self._counts["bad_request"] += 1
            self._reply(route, Reply("", False, str(error), {}))
            return
        self._handle(route, *sender, request, now_us)

    def _handle(self, route: list[bytes], key: str, name: str, request: Request, now_us: int) -> None:
        kind = request.request
        budget = self._budgets[key]
        if kind != "mask" and not budget.take(1, now_us):
            self._reply(
                route, Reply(request.id, False, f"at most {RATE_HZ} requests a second; masks are always accepted", {})
            )
        elif kind == "unmask" and request.grant is not None and not self._unmasks.take(1, now_us):
            self._reply(route, Reply(request.id, False, f"at most {UNMASK_HZ} grants a second, of all clients", {}))
        elif kind in ("mask", "unmask"):
            self._command(route, key, name, request)
        elif kind in ("emotionml", "iso30150"):
            self._await_estimate(EstimateRequest(route, request.id, kind, now_us + PATIENCE_US))
        elif kind == "describe":
            self._reply(route, Reply(request.id, True, "", self._description()))
        elif kind == "schema":
            self._reply(route, _schemas(request))
        else:
            self._reply(route, self._status(request, now_us))

    def _await_estimate(self, waiting: EstimateRequest) -> None:
        if len(self._awaiting) >= MOST_WAITING:
            self._reply(waiting.route, Reply(waiting.id, False, "too many clients wait for the next estimate", {}))
        else:
            self._awaiting.append(waiting)

    def _command(self, route: list[bytes], key: str, name: str, request: Request) -> None:
        def reply(answer: Answer) -> None:
            self._reply(route, Reply(request.id, answer.ok, answer.text, _proof(answer)))

        # A new id: the switch treats equal ids as the same command.
        command = Command(
            id=secrets.token_hex(8),
            action=request.request,
            modalities=request.modalities,
            requester=name,
            grant=request.grant,
            hard=request.hard,
            for_s=request.for_s,
            challenge=request.challenge,
            persons=request.persons,
        )
        if request.request == "mask":
            self._masks.add(key, command, reply)
        else:
            self._masks.flush(key)
            self._switch.ask(command, reply)

    def _description(self) -> dict[str, Any]:
        """Version, room, modalities, requests and topics, and the host's key that a grant names."""
        rows = [s for s in SERVICES.values() if s.public]
        host = public_key(self._listener.directory)
        return {
            "version": edge_mer.__version__,
            "room": self._bus.stamp.room,
            "host": host.public_bytes_raw().hex() if host is not None else None,
            "modalities": list(MODALITIES),
            "requests": list(msgspec.json.schema(Request)["$defs"]["Request"]["properties"]["request"]["enum"]),
            "topics": {
                s.topic: {"schema": s.schema, "rate_hz": s.rate_hz, "max_bytes": s.max_bytes, "biometric": s.biometric}
                for s in rows
            },
        }

    def _status(self, request: Request, now_us: int) -> Reply:
        """The last value of every state topic; not ok when the switch does not respond."""
        last = {topic: msgspec.json.decode(m.json) for topic, m in self._last.items()}
        privacy = self._last.get("privacy")
        is_silent = privacy is None or now_us - privacy.envelope.created_us > STALE_US
        text = "the switch is silent; every device closes within one lease" if is_silent else ""
        return Reply(request.id, not is_silent, text, last)

    def _reply(self, route: list[bytes], reply: Reply) -> None:
        try:
            self._socket.send_multipart([*route, msgspec.json.encode(reply)], zmq.NOBLOCK)
        except zmq.ZMQError:
            self._counts["unsent"] += 1


_DECODER = msgspec.json.Decoder(Request)


def _decoded(frame: bytes) -> Request:
    """Raises BadMessage that names the fault in a request."""
    try:
        request = _DECODER.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"request: {error}") from error
    if len(request.id) > LONGEST_ID:
        raise BadMessage(f"request: id may have at most {LONGEST_ID} characters")
    if fault := fault_of(request.persons):
        raise BadMessage(f"request: {fault}")
    if not 0 <= request.for_s <= LONGEST_S:
        raise BadMessage(f"request: for_s must be 0 to {LONGEST_S}")
    return request


def _schemas(request: Request) -> Reply:
    public = [s.topic for s in SERVICES.values() if s.public]
    if request.topic is not None and request.topic not in public:
        return Reply(request.id, False, f"no public topic is named {request.topic!r}; known: {', '.join(public)}", {})
    chosen = public if request.topic is None else [request.topic]
    return Reply(request.id, True, "", {topic: topic_schema(topic) for topic in chosen})


def _proof(answer: Answer) -> dict[str, Any]:
    """Empty when the switch did not answer."""
    if not answer.modalities:
        return {}
    result = {"modalities": msgspec.to_builtins(answer.modalities), "receipts": list(answer.receipts)}
    if answer.people is not None:
        result["people"] = msgspec.to_builtins(answer.people)
    if answer.holds is not None:
        result |= {"holds": msgspec.to_builtins(answer.holds), "proofs": msgspec.to_builtins(answer.proofs)}
    return result
