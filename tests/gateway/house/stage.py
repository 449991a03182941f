"""A house and its rooms on real sockets with CURVE, in turns of one thread. A room is a switch and a hub."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_mer.bus import ReliableReader, ZmqBus
from edge_mer.client.pending_commands import PendingCommands
from edge_mer.client.transports import BusTransport
from edge_mer.config import Config
from edge_mer.contract.control import Answer, Command
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.house import House
from edge_mer.contract.room_address import RoomAddress
from edge_mer.gateway.house.node import HouseNode, house_identity
from edge_mer.host.files import show_state_directory
from edge_mer.privacy.keys.host_key import host_key
from edge_mer.privacy.keys.keyring import Keyring, PairedKey
from edge_mer.privacy.keys.pairing import server_curve
from tests.gateway.stage import Stage

TURN_US = 2_000
KEY = "house"


class RoomStage(Stage):
    """``is_stopped``: neither switch nor hub take turns, as after SIGSTOP."""

    is_stopped = False

    @property
    def address(self) -> RoomAddress:
        assert self.outlet.publisher is not None
        assert self.outlet.requests is not None
        host = host_key(self.state).public_key().public_bytes_raw().hex()
        curve = server_curve(self.state)[0].decode()
        return RoomAddress(self.outlet.publisher.address, self.outlet.requests.address, host, curve)

    def turn(self) -> None:
        if self.is_stopped:
            return
        if self.switch is not None:
            self.switch.turn()
        if self.has_hub:
            self.hub.turn()

    def unmask(self) -> None:
        """By the console of this room, as its own people do."""
        done = list[Answer]()
        show_state_directory(self.test_bus.directory, self.state)
        commands = PendingCommands.local(self.test_bus, "test")
        commands.unmask(MODALITIES, done.append)
        self.until(lambda: commands.turn() or done)
        assert done[0].ok, done[0].text
        commands.close()

    def gates(self) -> dict[str, str]:
        assert self.switch is not None
        return {m: s.effective for m, s in self.switch.states().items()}

    def requested(self) -> set[str]:
        assert self.switch is not None
        return {s.requested for s in self.switch.states().values()}


class HouseStage:
    """``rooms`` by name. ``pair`` False: the rooms do not know this house's key."""

    def __init__(self, place: Path, *names: str, **house: Any) -> None:
        self.place, self.rooms = place, {n: RoomStage(_folder(place, n)) for n in names}
        self.config = self.configured(_folder(place, "house"), **house)
        self.state = Path(self.config.privacy.state or "")
        host_key(self.state)
        for room in self.rooms.values():
            self.admit(room, self.config)
            room.unmask()
        self.run = _folder(place, "run")
        self.start()

    def configured(self, state: Path, **house: Any) -> Config:
        rooms = {n: r.address.text() for n, r in self.rooms.items()}
        return Config.model_validate({"privacy": {"state": str(state)}, "house": {"rooms": rooms, **house}})

    def admit(self, room: RoomStage, config: Config, name: str = KEY) -> None:
        curve = house_identity(config).content.curve_public
        Keyring(room.state).add(PairedKey(name, "reader", None, curve, "today"))

    def start(self) -> None:
        """The process house, which may have run before."""
        self.bus, self.person = ZmqBus(self.run), ZmqBus(self.run)
        self.node = HouseNode(self.config, self.bus)
        self.reader, self.journal = self.person.reader("house"), ReliableReader(self.person, "binding")
        self.person.settle()
        self.shown: House | None = None
        self.entries: list[Any] = []

    def kill(self) -> None:
        """As kill -9: nothing is saved or said."""
        self.bus.close()
        self.person.close()

    def turn(self) -> None:
        self.node.turn()
        for room in self.rooms.values():
            room.turn()
        for message in self.reader.drain():
            self.shown = message.body
        self.entries += self.journal.drain()

    def until(self, done: Callable[[], Any], seconds: float = 20) -> Any:
        deadline = self.bus.clock.now_us() + seconds * 1e6
        while self.bus.clock.now_us() < deadline:
            self.turn()
            if found := done():
                return found
            self.bus.wait(TURN_US)
        raise AssertionError(f"not within {seconds} s; shown: {self.shown}")

    def reachable(self) -> None:
        self.until(lambda: self.shown and all(r.reachable and r.uncertainty_us for r in self.shown.rooms.values()))

    def ask(self, action: str, for_s: int = 0) -> Callable[[], Answer | None]:
        """Send a command; the result gives its answer once there is one."""
        found, commands = list[Answer](), PendingCommands(BusTransport(self.person, "house"), self.bus.clock, "test")
        commands.patience_us = 10_000_000
        commands.ask(Command(id=secrets.token_hex(4), action=action, requester="test", for_s=for_s), found.append)

        def answer() -> Answer | None:
            if not found:
                commands.turn()
            return found[0] if found else None

        return answer

    def answer(self, action: str, for_s: int = 0) -> Answer:
        found: Answer = self.until(self.ask(action, for_s))
        return found

    def saved(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state / "house.json").read_text())
        return found

    def close(self) -> None:
        self.node.close()
        self.kill()
        for room in self.rooms.values():
            room.close()


def _folder(place: Path, name: str) -> Path:
    path = place / name
    path.mkdir(mode=0o700)
    return path
