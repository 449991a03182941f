"""The house: time of a mask from the command to the joint receipt, over loopback and over a slow link, and its cost.

Rooms and house are real instances. The link has 50 ms and 5 % loss in each direction: netem in a
network namespace (as root, with ``tc``), else ``edge_mer.bench.slow_link``.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from edge_mer.bench.gateway import free_port
from edge_mer.bench.result import Figure, spread
from edge_mer.bench.soak_replay import recorded
from edge_mer.bus import ZmqBus
from edge_mer.client import SwitchClient
from edge_mer.client.instance import Instance, temporary_place
from edge_mer.client.transports import BusTransport
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.house import House
from edge_mer.contract.messages import Privacy
from edge_mer.contract.room_address import RoomAddress
from edge_mer.demo.config import demo_config
from edge_mer.gateway.house.node import NAME, house_identity
from edge_mer.host.files import state_directory
from edge_mer.host.launcher import SystemLauncher
from edge_mer.privacy.consent_setup import agree
from edge_mer.privacy.keys.host_key import host_key
from edge_mer.privacy.keys.keyring import Keyring, PairedKey
from edge_mer.privacy.keys.pairing import server_curve

ROOMS, MASKS, MASK_MS = ("kitchen", "bath", "hall"), 40, 500.0
DELAY_MS, LOSS = 50, 0.05
MANY, WATCH_S, WARM_S = 20, 20.0, 8.0
PATIENCE_US = 180 * SECOND


def measure() -> list[Figure]:
    figures = spread(f"house mask to joint receipt, {len(ROOMS)} rooms", masks(None), "ms", p99=MASK_MS)
    took, how = far_masks()
    # One round trip, and one retransmission in each direction.
    link_ms = 2 * DELAY_MS + 2 * (200 + 2 * DELAY_MS)
    name = f"the same over {DELAY_MS} ms and {LOSS:.0%} loss each way"
    return figures + spread(name, took, "ms", p99=MASK_MS + link_ms, note=how) + cost()


def far_masks() -> tuple[list[float], str]:
    """As ``masks`` over a link with delay and loss, and by what: netem, or forwarders where the kernel has none."""
    try:
        with netem(DELAY_MS, LOSS) as inside:
            found = subprocess.run(
                [*inside, sys.executable, "-m", "edge_mer.bench.house"], check=True, stdout=subprocess.PIPE
            )
        return json.loads(found.stdout), "netem"
    except NoNetem as error:
        return masks((DELAY_MS, LOSS)), f"slow_link, since {error}"


class NoNetem(EdgeMerError):
    """This host cannot make a network namespace with netem."""


@contextmanager
def netem(delay_ms: float, loss: float) -> Iterator[list[str]]:
    """A command prefix that runs in a network namespace whose loopback is slow. Raises NoNetem with the reason."""
    name = f"em{os.getpid()}"
    commands = (
        ["ip", "netns", "add", name],
        ["ip", "-n", name, "link", "set", "lo", "up"],
        [
            "tc",
            "-n",
            name,
            "qdisc",
            "add",
            "dev",
            "lo",
            "root",
            "netem",
            "delay",
            f"{delay_ms:g}ms",
            "loss",
            f"{loss:%}",
        ],
    )
    try:
        for command in commands:
            subprocess.run(command, check=True, capture_output=True, text=True)
        yield ["ip", "netns", "exec", name]
    except FileNotFoundError as error:
        raise NoNetem(f"{error.filename} is not installed") from error
    except subprocess.CalledProcessError as error:
        if error.cmd not in commands:
            raise
        raise NoNetem(f"{error.cmd[0]} says: {(error.stderr or '').strip()}") from error
    finally:
        with suppress(OSError):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def masks(link: tuple[float, float] | None) -> list[float]:
    """Milliseconds from the command to the proof, each after all rooms were live."""
    with house_of_rooms(link) as (house, rooms):
        took = []
        for _ in range(MASKS):
            for room in rooms:
                room.open()
            began = house.bus.clock.now_us()
            answer = house.client.mask(*MODALITIES)
            if not answer.ok:  # a room was named, and is asked again
                house.wait_for(lambda shown: shown.mask is not None and shown.mask.state == "proven", answer.text)
            took.append((house.bus.clock.now_us() - began) / 1000)
    return took


class RoomInstance:
    def __init__(self, place: Path, name: str, stack: ExitStack) -> None:
        self.name, self.ports = name, (free_port(), free_port())
        addresses = [f"tcp://127.0.0.1:{port}" for port in self.ports]
        more: dict[str, dict[str, Any]] = {
            "video": {"source": "off"},
            "text": {"source": "off", "path": None},
            "hub": dict(zip(("publish", "requests"), addresses, strict=True)),
            "house": {"share_voice": True},
            "run": {"room": name},
        }
        self.config = demo_config(_folder(place / name), None, None, more)
        self.state = agree(self.config.privacy.state, ("audio", "house"), "the bench", datetime.date.today())
        self.host = host_key(self.state).public_key().public_bytes_raw().hex()
        directory = _folder(place / f"{name}.run")
        self.instance = Instance(self.config, directory)
        stack.callback(self.instance.stop)
        self.bus = ZmqBus(directory)
        stack.callback(self.bus.close)
        self._privacy = self.bus.reader("privacy")

    def open(self) -> None:
        """Unmask the microphone with this room's own key, and wait until it is open."""
        deadline = self.bus.clock.now_us() + PATIENCE_US
        switch = SwitchClient.on_bus(self.bus, "bench")
        while not switch.unmask("audio").ok:
            _check(self.bus, deadline, f"{self.name} cannot be unmasked")
        while not any(
            isinstance(m.body, Privacy) and m.body.modalities["audio"].effective == "live"
            for m in self._privacy.drain()
        ):
            _check(self.bus, deadline, f"{self.name} does not open")

    def address(self, ports: tuple[int, int]) -> str:
        publish, requests = (f"tcp://127.0.0.1:{port}" for port in ports)
        return RoomAddress(publish, requests, self.host, server_curve(self.state)[0].decode()).text()


class HouseInstance:
    def __init__(self, config: Config, directory: Path, stack: ExitStack) -> None:
        self.instance = Instance(config, directory)
        stack.callback(self.instance.stop)
        self.bus = ZmqBus(directory)
        stack.callback(self.bus.close)
        self.client = SwitchClient(
            BusTransport(self.bus, NAME), self.bus.clock, "bench", "the house is silent", 4 * SECOND
        )
        self._reader = self.bus.reader("house")

    def wait_for(self, done: Callable[[House], bool], event: str) -> None:
        deadline = self.bus.clock.now_us() + PATIENCE_US
        while not any(done(message.body) for message in self._reader.drain()):
            _check(self.bus, deadline, event)


@contextmanager
def house_of_rooms(link: tuple[float, float] | None) -> Iterator[tuple[HouseInstance, list[RoomInstance]]]:
    with temporary_place() as folder, ExitStack() as stack:
        place = Path(folder)
        config = quiet_config(_folder(place / "house"), {})
        curve = house_identity(config).content.curve_public
        rooms = [RoomInstance(place, name, stack) for name in ROOMS]
        for room in rooms:
            Keyring(room.state).add(PairedKey(NAME, "reader", None, curve, "today"))
        ports = {room.name: room.ports if link is None else _linked(link, room.ports, stack) for room in rooms}
        addresses = {room.name: room.address(ports[room.name]) for room in rooms}
        house = HouseInstance(quiet_config(place / "house", addresses), _folder(place / "house.run"), stack)
        house.wait_for(
            lambda shown: all(r.reachable and r.uncertainty_us for r in shown.rooms.values()), "a room is not reached"
        )
        yield house, rooms


def quiet_config(place: Path, rooms: dict[str, str]) -> Config:
    """A host without sensors that has a house."""
    off = {m: {"source": "off"} for m in MODALITIES}
    return Config.model_validate({**off, "privacy": {"state": str(place / "state")}, "house": {"rooms": rooms}})


def cost() -> list[Figure]:
    """CPU and memory of the process ``house`` with 1 and with 20 rooms, which play a recorded session."""
    with recorded(WATCH_S) as (session, _):
        (one_cpu, one_mb), (cpu, mb) = (_usage(session, n) for n in (1, MANY))
    more = MANY - 1
    return [
        Figure(f"house of {MANY} rooms: CPU", round(cpu, 4), "cores"),
        Figure("each further room: CPU", round((cpu - one_cpu) / more, 5), "cores"),
        Figure(f"house of {MANY} rooms: resident", round(mb, 1), "MB"),
        Figure("each further room: resident", round((mb - one_mb) / more, 3), "MB"),
    ]


def _usage(session: Path, number: int) -> tuple[float, float]:
    """Cores and resident MB of the process ``house`` with so many rooms."""
    with temporary_place() as folder, ExitStack() as stack:
        place, ports = Path(folder), [free_port() for _ in range(2 * number)]
        command = [sys.executable, "-m", "edge_mer.bench.house_rooms", str(session), *map(str, ports)]
        player = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(player.kill)
        assert player.stdout is not None
        curve = player.stdout.readline().strip()
        rooms = {
            f"room{n}": RoomAddress(f"tcp://127.0.0.1:{a}", f"tcp://127.0.0.1:{b}", f"{n:064x}", curve).text()
            for n, (a, b) in enumerate(zip(ports[::2], ports[1::2], strict=True))
        }
        config = quiet_config(_folder(place / "house"), rooms)
        host_key(state_directory(config.privacy.state))
        directory = _folder(place / "run")
        bus = ZmqBus(directory)
        stack.callback(bus.close)
        house = SystemLauncher(directory, config).start(NAME, "edge_mer.gateway.house.node")
        stack.callback(house.wait, 2)
        stack.callback(house.terminate)
        reader, deadline, newest = bus.reader("house"), bus.clock.now_us() + PATIENCE_US, None
        while newest is None or not all(r.reachable for r in newest.rooms.values()):
            _check(bus, deadline, "the house does not reach its rooms")
            newest = next((m.body for m in reversed(reader.drain())), newest)
        process = psutil.Process(house.pid)
        time.sleep(WARM_S)
        process.cpu_percent()
        time.sleep(WATCH_S)
        return process.cpu_percent() / 100, process.memory_info().rss / 1e6


def _linked(link: tuple[float, float], ports: tuple[int, int], stack: ExitStack) -> tuple[int, int]:
    """Ports of a slow link to these."""
    found = free_port(), free_port()
    pairs = [f"{listen}:{port}" for listen, port in zip(found, ports, strict=True)]
    command = [sys.executable, "-m", "edge_mer.bench.slow_link", str(link[0]), str(link[1]), *pairs]
    process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    stack.callback(process.kill)
    assert process.stdout is not None
    process.stdout.readline()
    return found


def _check(bus: ZmqBus, deadline_us: int, text: str) -> None:
    if bus.clock.now_us() > deadline_us:
        raise EdgeMerError(f"{text} within {PATIENCE_US // SECOND} s; run: edge-mer doctor")
    bus.wait(SECOND // 50)


def _folder(path: Path) -> Path:
    path.mkdir(mode=0o700)
    return path


if __name__ == "__main__":
    print(json.dumps(masks(None)))
