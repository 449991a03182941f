"""A switch and a hub on real sockets, in turns of one thread. Tests publish on the bus and connect over TCP."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import zmq

from edge_mer.bus import ReliablePublisher, ZmqBus
from edge_mer.config import Config
from edge_mer.contract.errors import ConfigError
from edge_mer.contract.messages import Body, Estimate
from edge_mer.contract.services import SERVICES
from edge_mer.gateway.outlet import OutletBus, OutletWorker
from edge_mer.gateway.public.node import PublicOutlet
from edge_mer.privacy.consent.consent_file import CONSENT_SCOPES, FILE, home_consent, write_deployment
from edge_mer.privacy.consent_setup import agree
from edge_mer.privacy.keys.identity import Identity, new_identity
from edge_mer.privacy.keys.keyring import Keyring, PairedKey, Role
from edge_mer.privacy.keys.pairing import server_curve
from edge_mer.privacy.switch.switch import Switch
from tests.gateway.estimates import estimate
from tests.switch_bench import TODAY

TURN_US = 5_000
ANY_PORT = "tcp://127.0.0.1:*"


class Stage:
    """``hub`` and ``switch`` take turns while a test waits with ``until``."""

    def __init__(self, place: Path, **hub: Any) -> None:
        self.state, self.clients = place / "state", place / "clients"
        agree(str(self.state), CONSENT_SCOPES, "Anna", TODAY)
        for folder in (place / "run", self.clients):
            folder.mkdir(mode=0o700)
        section = {"publish": ANY_PORT, "requests": ANY_PORT, **hub}
        self.config = Config.model_validate({"privacy": {"state": str(self.state)}, "hub": section})
        self._buses = [ZmqBus(place / "run") for _ in range(3)]
        self.switch: Switch | None = Switch(self.config, self._buses[0])
        try:
            self.hub = OutletWorker("hub", self._buses[1], self._outlets)
        except ConfigError:
            self._close_buses()
            raise
        self.has_hub, self.test_bus = True, self._buses[2]
        self.plaintext = self.config.hub.plaintext
        self._context = zmq.Context()
        self._publishers: dict[str, Any] = {}

    def _outlets(self, bus: OutletBus) -> list[PublicOutlet]:
        self.outlet = PublicOutlet(self.config, bus, self._buses[1].publisher("heartbeat", "hub"))
        return [self.outlet]

    def until(self, done: Callable[[], Any], seconds: float = 5) -> Any:
        """Runs turns until ``done`` returns a true value; fails after ``seconds``."""
        deadline = self.test_bus.clock.now_us() + seconds * 1e6
        while self.test_bus.clock.now_us() < deadline:
            if self.switch is not None:
                self.switch.turn()
            if self.has_hub:
                self.hub.turn()
            if found := done():
                return found
            self._buses[1].wait(TURN_US)
        raise AssertionError(f"not within {seconds} s")

    def never(self, done: Callable[[], Any], seconds: float = 0.5) -> None:
        try:
            self.until(done, seconds)
        except AssertionError:
            return
        raise AssertionError("it happened")

    def allow(self, name: str = "lamp", role: Role = "reader") -> Identity:
        """A client with a key that is paired with this host; only keys of phones and hubs may sign grants."""
        identity = new_identity(self.clients, name)
        signing = None if role == "reader" else identity.signing
        Keyring(self.state).add(PairedKey(name, role, signing, identity.content.curve_public, "today"))
        return identity

    def may_unmask(self, *modalities: Any) -> None:
        deployment = home_consent("Anna", CONSENT_SCOPES, TODAY)
        hub = msgspec.structs.replace(deployment.hub, may_unmask=modalities)
        write_deployment(self.state / FILE, msgspec.structs.replace(deployment, hub=hub))

    def subscriber(self, identity: Identity | None, *prefixes: str) -> Subscriber:
        assert self.outlet.publisher is not None
        socket = self._client(zmq.SUB, identity)
        for prefix in prefixes:
            socket.subscribe(prefix.encode())
        socket.connect(self.outlet.publisher.address)
        return Subscriber(socket)

    def request_client(self, identity: Identity | None, kind: int = zmq.DEALER) -> RequestClient:
        assert self.outlet.requests is not None
        socket = self._client(kind, identity)
        socket.connect(self.outlet.requests.address)
        return RequestClient(self, socket)

    def _client(self, kind: int, identity: Identity | None) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        if identity is not None:
            socket.curve_publickey, socket.curve_secretkey = identity.curve
            socket.curve_serverkey = server_curve(self.state)[0]
        return socket

    def publish(self, topic: str, body: Body | None = None) -> None:
        """Publish on the host's bus, where a revision is an ``emotion`` of the past."""
        if body is None:
            body = estimate(revision=int(topic == "revision")) if SERVICES[topic].body is Estimate else None
        topic = SERVICES[topic].split_from or topic
        if topic not in self._publishers:
            reliable = SERVICES[topic].policy == "reliable"
            self._publishers[topic] = (
                ReliablePublisher(self.test_bus, topic, "test") if reliable else self.test_bus.publisher(topic, "test")
            )
            self.test_bus.settle()
        publisher = self._publishers[topic]
        publisher.send(body or sample(SERVICES[topic].body), origin_us=self.test_bus.clock.now_us())

    def stop_hub(self) -> None:
        """Stop the hub; the test runs its own."""
        self.hub.close()
        self._buses[1].close()
        self._buses[1] = ZmqBus(self.test_bus.directory)
        self.has_hub = False

    def close(self) -> None:
        self._context.destroy(linger=0)
        for worker in (self.hub if self.has_hub else None, self.switch):
            if worker is not None:
                worker.close()
        self._close_buses()

    def _close_buses(self) -> None:
        for bus in self._buses:
            bus.close()


class Subscriber:
    """``received``: topic and header of every message so far."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket, self.received = socket, list[tuple[str, dict[str, Any]]]()

    def topics(self) -> set[str]:
        while self.socket.poll(0):
            topic, header = self.socket.recv_multipart()
            self.received.append((topic.decode(), json.loads(header)))
        return {topic for topic, _ in self.received}


class RequestClient:
    def __init__(self, stage: Stage, socket: zmq.Socket[bytes]) -> None:
        self._stage, self.socket = stage, socket

    def send(self, request: str, **fields: Any) -> str:
        id_ = secrets.token_hex(4)
        self.socket.send(msgspec.json.encode({"id": id_, "request": request, **fields}))
        return id_

    def request(self, request: str, **fields: Any) -> dict[str, Any]:
        self.send(request, **fields)
        return self.reply()

    def reply(self) -> dict[str, Any]:
        self._stage.until(lambda: self.socket.poll(0))
        found: dict[str, Any] = json.loads(self.socket.recv())
        return found


def sample(body: type[Body]) -> Body:
    """A body with a value in every required field."""
    return msgspec.convert(_filled(msgspec.inspect.type_info(body)), body)


def _filled(info: Any) -> Any:
    name = type(info).__name__
    plain: dict[str, Any] = {
        "IntType": 1,
        "FloatType": 0.5,
        "StrType": "x",
        "BoolType": True,
        "NoneType": None,
        "DictType": {},
        "VarTupleType": [],
    }
    if name in plain:
        return plain[name]
    if name == "LiteralType":
        return info.values[0]
    if name == "UnionType":
        return _filled(info.types[0])
    if name == "Metadata":
        return _filled(info.type)
    assert name == "StructType", name
    return {f.encode_name: _filled(f.type) for f in info.fields if f.required}
