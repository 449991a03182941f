"""The process ``door``: commands of paired phones, hubs and hosts over TCP. Off unless ``remote.listen`` is set.

It proves who sends (CURVE), limits sizes and rates, and passes commands on to the switch with the sender's key. It can
open nothing by itself: the switch verifies the grant in a command, and the code in a pairing. If it ends or is flooded,
the switch and the masks of this host go on.
"""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from collections.abc import Callable

import msgspec

from edge_mer.bus import Bus, ZmqBus
from edge_mer.client.mask_batches import MaskBatches
from edge_mer.client.pending_commands import Done, PendingCommands, failed
from edge_mer.client.transports import BusTransport
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, host_boot_id
from edge_mer.contract.control import Answer, Command, Pair, Relayed
from edge_mer.contract.errors import ConfigError
from edge_mer.gateway.outlet import lower_priority
from edge_mer.host.files import state_directory
from edge_mer.host.limits import Budget
from edge_mer.privacy.keys.keyring import Keyring
from edge_mer.privacy.keys.pairing import Pairing, server_curve
from edge_mer.privacy.switch.commands import BURST, RATE_HZ
from edge_mer.privacy.switch.remote import ENDPOINT

NAME = "door"
LONGEST_MESSAGE = 16_000
MOST_IN_A_TURN = 50
TURN_US = SECOND // 20
STRANGER = ""


class Door:
    """``address``: where it listens. ``counters``: keys ``refused``, messages ``bad`` or ``unexpected``, connections
    ``dropped``."""

    wake: tuple[int, ...] = ()  # its sockets are on the bus

    def __init__(self, config: Config, bus: ZmqBus) -> None:
        """Raises ConfigError when the address cannot be bound."""
        if config.remote.listen is None:
            raise ConfigError("remote.listen is not set")
        directory = state_directory(config.privacy.state)
        keys = server_curve(directory)
        self._clock, self._keyring = bus.clock, Keyring(directory)
        pairing = Pairing(directory, self._keyring, keys[0].decode(), bus.clock, host_boot_id())

        def admit(curve: str) -> bool:
            return self._keyring.sender(curve) is not None or pairing.current() is not None

        self._server = bus.secure_server(config.remote.listen, keys, admit, LONGEST_MESSAGE)
        self.address = self._server.address
        self._switch = PendingCommands(BusTransport(bus, ENDPOINT), bus.clock, NAME)
        self._masks = MaskBatches(self._relay)
        self._budgets: defaultdict[str, Budget] = defaultdict(lambda: Budget(RATE_HZ, BURST))

    def turn(self) -> int:
        now = self._clock.now_us()
        self._server.turn(now)
        for _ in range(MOST_IN_A_TURN):
            received = self._server.receive()
            if received is None:
                break
            self._receive(*received, now)
        self._switch.turn()
        return TURN_US

    @property
    def counters(self) -> Counter[str]:
        return self._server.counters

    def close(self) -> None:
        self._server.close()
        self._switch.close()

    def _receive(self, peer: bytes, curve: str, message: object, now_us: int) -> None:
        is_paired = self._keyring.sender(curve) is not None  # asked for every message: a revoked key is out at once
        if not isinstance(message, Pair) and not (is_paired and isinstance(message, Command)):
            self._server.counters["unexpected"] += 1
            return
        reply = self._reply_to(peer, message.id)
        if isinstance(message, Command) and message.action == "mask":
            self._masks.add(curve, message, reply)
        elif self._budgets[curve if is_paired else STRANGER].take(1, now_us):
            self._masks.flush(curve)
            self._relay(curve, message, reply)
        else:
            reply(failed(f"too many commands: at most {RATE_HZ} a second; masks are always taken"))

    def _relay(self, curve: str, message: Command | Pair, done: Done) -> None:
        self._switch.ask(Relayed(id=secrets.token_hex(8), key=curve, message=message), done)

    def _reply_to(self, peer: bytes, id_: str) -> Callable[[Answer], object]:
        return lambda answer: self._server.send(peer, msgspec.structs.replace(answer, id=id_))


def build(config: Config, bus: Bus) -> Door:
    """Raises ConfigError when the address cannot be bound."""
    assert isinstance(bus, ZmqBus)
    lower_priority()
    return Door(config, bus)
