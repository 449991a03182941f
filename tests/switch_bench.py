"""A privacy switch on a fake clock and an in-memory bus, and fakes that tests connect to it."""

from __future__ import annotations

import datetime
import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_mer.bus import Client, MemoryBroker, MemoryBus
from edge_mer.capture.device import Captured, Fault, Release
from edge_mer.config import Config
from edge_mer.contract.clock import FakeClock
from edge_mer.contract.control import Answer, AnyControl, Command, Grant
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.messages import RawVideo
from edge_mer.privacy.consent.consent_file import CONSENT_SCOPES, FILE, Deployment, home_consent, write_deployment
from edge_mer.privacy.consent_setup import pair_console
from edge_mer.privacy.keys.host_key import public_key
from edge_mer.privacy.keys.identity import Identity
from edge_mer.privacy.switch.button import PrivacyButton
from edge_mer.privacy.switch.registrations import FILE as MEMBERS
from edge_mer.privacy.switch.switch import Switch, SwitchInputs

BOOT_ID = "00000000-test-boot"
TODAY = datetime.date(2026, 11, 21)
EVERYBODY = home_consent("Anna", CONSENT_SCOPES, TODAY)


class SwitchBench:
    """``switch`` may be replaced, or set to None: then there is no answer. ``live``: the console unmasks all consented
    modalities. ``runtime``: where a switch finds who took part before it."""

    def __init__(
        self,
        directory: Path,
        deployment: Deployment | None = EVERYBODY,
        live: bool = True,
        button: PrivacyButton | None = None,
        runtime: Path | None = None,
        **sections: Any,
    ) -> None:
        directory.chmod(0o700)
        self.members = runtime / MEMBERS if runtime is not None else None
        self.directory = directory
        self.config = Config.model_validate({"privacy": {"state": str(directory)}, **sections})
        if deployment is not None:
            write_deployment(directory / FILE, deployment)
        self.console = pair_console(directory, TODAY)
        self.button = button
        self.clock, self.broker = FakeClock(), MemoryBroker()
        self.switch: Switch | None = None
        self._switch_bus: MemoryBus | None = None
        self._ids = itertools.count()
        self.start_switch()
        self.person = self.bus("person").client("switch")
        self._unmasked: list[tuple[Modality, int]] = []
        agreed = [m for m in MODALITIES if deployment and deployment.refusal(m, self.clock.wall_us()) is None]
        if live and agreed:
            self.ask("unmask", *agreed)
            self.turn()
            self.answers()

    @property
    def host_public(self) -> Ed25519PublicKey:
        """The host's public key."""
        found = public_key(self.directory)
        assert found is not None
        return found

    def bus(self, boot: str = "") -> MemoryBus:
        return MemoryBus(self.broker, self.clock, boot)

    def start_switch(self) -> None:
        self._switch_bus = self.bus()
        self.switch = Switch(
            self.config, self._switch_bus, BOOT_ID, SwitchInputs(button=self.button, members=self.members)
        )

    def kill_switch(self) -> None:
        """As kill -9 does: no message is sent, no state is saved."""
        assert self._switch_bus is not None
        self._switch_bus.close()
        self._switch_bus.broker.servers.pop("switch", None)
        self._switch_bus.broker.servers.pop("receipt", None)
        self.switch = None

    def ask(
        self,
        action: str,
        *modalities: Modality,
        hard: bool = False,
        id_: str = "",
        for_s: int = 0,
        requester: str = "local",
        grant: Grant | None = None,
        persons: tuple[str, ...] = (),
    ) -> None:
        """Send a command. Unmasking uses a new grant of the console, unless another is given."""
        if action == "unmask":
            grant = grant or (self.grant_persons(*persons) if persons else self.grant(*modalities))
            self._unmasked += [(m, self.clock.now_us()) for m in modalities]
        command = Command(
            id=id_ or f"c{next(self._ids)}",
            action=action,
            modalities=modalities,
            requester=requester,
            grant=grant,
            hard=hard,
            for_s=for_s,
            persons=persons,
        )
        self.person.send(command)

    def grant(self, *modalities: Modality, identity: Identity | None = None, ahead: int = 0) -> Grant:
        """A grant to unmask, for the newest mask epoch, or one that is ``ahead`` of it."""
        epoch = ahead + max(self.switch.epochs().values()) if self.switch is not None else 0
        host = self.host_public.public_bytes_raw().hex()
        return (identity or self.console).grant(host, modalities, epoch, self.clock.wall_us())

    def grant_persons(self, *persons: str, identity: Identity | None = None) -> Grant:
        """A grant to unmask persons in view, for what is masked now."""
        epoch = self.switch.people_epoch() if self.switch is not None else 0
        host = self.host_public.public_bytes_raw().hex()
        return (identity or self.console).grant(host, (), epoch, self.clock.wall_us(), persons)

    def openings(self, modality: Modality) -> list[int]:
        """Times (us) of the requests to unmask it."""
        return [at for m, at in self._unmasked if m == modality]

    def answers(self) -> list[Answer]:
        """The answers since the last call, in the order of the commands."""
        return sorted((m for m in received(self.person) if isinstance(m, Answer)), key=lambda a: a.id)

    def turn(self, *workers: Any) -> None:
        """Take turns of the switch and all workers until all messages are exchanged; the clock stands still."""
        for _ in range(4):
            if self.switch is not None:
                self.switch.turn()
            for worker in workers:
                worker.turn()

    def run(self, us: int, *workers: Any, step_us: int = 20_000, each: Callable[[], object] = lambda: None) -> None:
        """Let time pass in steps; ``each`` is done at every step."""
        self.turn(*workers)
        for _ in range(us // step_us):
            self.clock.advance(step_us)
            each()
            self.turn(*workers)


def received(client: Client) -> list[AnyControl]:
    found: list[AnyControl] = []
    while (message := client.receive()) is not None:
        assert not isinstance(message, list)
        found.append(message)
    return found


def kinds(messages: Iterable[object]) -> list[str]:
    return [type(m).__name__ for m in messages]


class FakeDevice:
    """A camera whose blocks the test provides; it releases at once unless it is ``stuck``."""

    name = "fake camera"
    interval_us: int | None = 66_667
    wake: tuple[int, ...] = ()

    def __init__(self, clock: FakeClock) -> None:
        self.fault: Fault | None = None
        self.counters: Counter[str] = Counter()
        self.is_open = self.stuck = False
        self.held: tuple[str, ...] = ()
        self.error: Exception | None = None
        self.opened = 0
        self.payload = np.frombuffer(b"jpeg", np.uint8)
        self._clock, self._held, self._frame = clock, list[Captured](), 0

    @property
    def closed(self) -> bool:
        return not self.is_open

    def open(self) -> None:
        assert not self.is_open, "opened twice"
        self.is_open = True
        self.opened += 1

    def give(self, count: int = 1, repeats: int = 0) -> None:
        for _ in range(count if self.is_open else 0):
            self._frame += 1
            body = RawVideo(frame=self._frame, width=2, height=1, mask_epoch=0)
            now = self._clock.now_us()
            self._held.append(Captured(now, now, body, (self.payload,), repeats))

    def read(self) -> list[Captured]:
        if self.error is not None:
            raise self.error
        blocks, self._held = self._held, []
        return blocks

    def abort(self) -> None:
        self._held = []
        self.is_open = self.stuck

    def release(self) -> Release:
        return Release(self.held, True, "handle")

    def join(self, timeout_s: float) -> bool:
        return self.closed
