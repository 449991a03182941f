"""The process ``switch``: the only authority over what may be open. It fails closed.

It starts with everything masked, closes what must close before it does anything else, and signs leases only for what
a paired key, the local button or root on this host has unmasked. What it says to people about a mask is a receipt.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edge_mer.bus import Bus, ReliablePublisher, ZmqBus
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, host_boot_id
from edge_mer.contract.control import Answer, Command
from edge_mer.contract.domain import MODALITIES, Gate, Modality
from edge_mer.contract.errors import PrivacyError
from edge_mer.contract.messages import Privacy, PrivacyState
from edge_mer.host.files import show_state_directory, state_directory, version_of
from edge_mer.privacy.consent.consent_file import FILE, read_deployment
from edge_mer.privacy.keys.host_key import host_key, public_key
from edge_mer.privacy.keys.keyring import Keyring
from edge_mer.privacy.keys.signing import public_hex
from edge_mer.privacy.switch.button import Press, PrivacyButton, open_button
from edge_mer.privacy.switch.commands import Commands
from edge_mer.privacy.switch.mask_policy import STEP_US, Instant, MaskPolicy
from edge_mer.privacy.switch.modality_gate import ModalityGate
from edge_mer.privacy.switch.modality_gates import ModalityGates
from edge_mer.privacy.switch.receipts import ChainHead, ReceiptLog
from edge_mer.privacy.switch.remote import RemoteControl, open_remote
from edge_mer.privacy.switch.requester import HOST
from edge_mer.privacy.switch.root_socket import RootSocket
from edge_mer.privacy.switch.state import Asked, Holding, Mask, StateFile, SwitchState

NAME = "switch"
PUBLISH_US = SECOND // 2
SAVE_AGAIN_US = SECOND
# Epochs are used up before they are saved, so that a mask never waits for the disk.
RESERVED = 1000
# What a gate may take to release its device after its lease ran out (capture.gated_source.RELEASE_US), and then some.
RELEASE_US = 100_000
MOST_MESSAGES = 1000
BUTTON = "the local button"
log = logging.getLogger(NAME)


@dataclass(frozen=True, slots=True)
class SwitchInputs:
    """The ways in beside the host's own bus, and the ``link`` to the state directory that is removed at the end."""

    remote: RemoteControl | None = None
    root: RootSocket | None = None
    button: PrivacyButton | None = None
    link: Path | None = None

    def close(self) -> None:
        for door in (self.remote, self.root, self.button):
            if door is not None:
                door.close()
        if self.link is not None:
            self.link.unlink(missing_ok=True)


class Switch:
    """Binds the endpoint ``switch`` and the topics ``privacy`` and ``receipt``.

    ``used``: the highest counter that each key has used up. ``host``: this host's public key, hex.
    """

    def __init__(self, config: Config, bus: Bus, boot_id: str | None = None, doors: SwitchInputs | None = None) -> None:
        directory = state_directory(config.privacy.state)
        restarted = public_key(directory) is not None
        key = host_key(directory)
        self._clock, self._boot_id = bus.clock, boot_id or host_boot_id()
        self.now_us = self._clock.now_us()
        self.host, self.keyring = public_hex(key), Keyring(directory)
        self._deployment_path, self._deployment_seen = directory / FILE, object()
        self._file = StateFile(directory, key)
        state, never = self._remembered(restarted)
        self._epoch, self.used = state.epoch, dict(state.used)
        self.demand = MaskPolicy(config, state.asked, never)
        self._log = ReceiptLog(directory, key, ChainHead(state.receipts, state.head))
        if self._log.note:
            log.error("%s", self._log.note)
        self._server = bus.server(NAME)
        lease_us = round(config.privacy.lease_s * SECOND)
        former_until = self.now_us + lease_us + RELEASE_US if restarted else self.now_us
        self._channels = ModalityGates(self._server, self._clock, key, self._boot_id, lease_us, former_until)
        self._commands = Commands(self)
        self._doors = doors or SwitchInputs()
        self._publisher = bus.publisher("privacy", NAME)
        self._receipts = ReliablePublisher(bus, "receipt", NAME)
        self._publish_due = 0
        self._save_due: int | None = None
        self._own: Counter[str] = Counter()
        self._highest_offset = state.wall_us - self._clock.boottime_us() if state.wall_us else self._offset()
        self._begin()

    def _remembered(self, restarted: bool) -> tuple[SwitchState, str]:
        """What was saved, and why things are masked that nobody has unmasked since."""
        try:
            return self._file.load(), "the switch has started: unmask it to let it sense"
        except FileNotFoundError:
            fault = "its state was not saved" if restarted else ""
        except PrivacyError as error:
            fault = str(error)
            log.error("%s; everything is masked", fault)
        # Above every epoch that counting can have reached, so that none comes twice.
        epoch = self._clock.wall_us() // SECOND if restarted else 0
        return SwitchState(epoch, 0), f"masked since the switch started: {fault}" if fault else "nobody unmasked it yet"

    def _begin(self) -> None:
        """Everything masked; with ``resume`` in the deployment file, what was live goes on."""
        self._look_around()
        self._watch_clock()
        deployment = self.demand.deployment
        if deployment is None or not deployment.resume:
            self.demand.asked = {m: Asked(mask=a.mask) for m, a in self.demand.asked.items()}
        self.settle("the start of the switch", self.now_us, again=MODALITIES)

    # -- the loop ------------------------------------------------------------------------------------------------

    def turn(self) -> int:
        """Handle every message that is there, then resend, prove, answer and publish. Returns the longest wait (us)."""
        before = self.states()
        self.now_us = self._clock.now_us()
        self._watch_clock()
        self.demand.expire(self._instant())
        self._look_around()
        self.settle("the switch", self.now_us)
        self._listen()
        self._channels.turn()
        self._prove()
        self._commands.turn(self.now_us)
        if self._save_due is not None and self.now_us >= self._save_due:
            self._save()
        self._receipts.pump()
        if self.now_us >= self._publish_due or self.states() != before:
            self._publish_due = self.now_us + PUBLISH_US
            self._publisher.send(Privacy(mask_epoch=self._epoch, modalities=self.states()), origin_us=self.now_us)
        due = [self._publish_due, *self._commands.due_us, *self._channels.due_us]
        return max(0, min(due) - self.now_us)

    @property
    def wake(self) -> tuple[int, ...]:
        """The local button and root's socket end the wait too."""
        return tuple(fd for door in (self._doors.root, self._doors.button) if door for fd in door.wake)

    @property
    def counters(self) -> Counter[str]:
        remote = self._doors.remote.counters if self._doors.remote is not None else Counter[str]()
        return self._own + self._channels.counters + Counter(bad=self._server.bad) + remote

    def close(self) -> None:
        """What was live is saved as it is, for ``resume``."""
        self._save()
        self._server.close()
        self._doors.close()

    def _listen(self) -> None:
        for _ in range(MOST_MESSAGES):
            received = self._server.receive()
            if received is None:
                break
            peer, message = received
            if isinstance(message, Command):
                self._commands.receive(partial(self._server.send, peer), HOST, message)
            elif not self._channels.handle(peer, message):
                self._own["unexpected"] += 1
        for door in (self._doors.root, self._doors.remote):
            for reply, caller, command in door.receive() if door is not None else ():
                self._commands.receive(reply, caller, command)
        if self._doors.button is not None:
            for press in self._doors.button.presses():
                self._pressed(press)

    # -- what people ask -----------------------------------------------------------------------------------------

    def mask(self, modalities: Iterable[Modality], gate: Gate, by: str, for_s: int = 0) -> None:
        until = self._instant().after(for_s) if for_s else None
        asked = [m for m in modalities if self.demand.mask(m, gate, f"masked by {by}", until)]
        again = [m for m in MODALITIES if any(m in self.demand.reached_by(a) for a in asked)]
        self.settle(by, self.now_us, again)

    def unmask(self, modalities: tuple[Modality, ...], holding: Holding, lifts_hard: bool) -> str:
        """Why it did not happen, or not for all; empty when everything that was asked is live."""
        if refusal := self.demand.refusal(modalities, self._clock.wall_us(), lifts_hard):
            return refusal
        for modality in modalities:
            self.demand.unmask(modality, holding)
        self.settle(holding.by, self.now_us)
        still = [m for m in modalities if self._channels[m].requested != "live"]
        return "; ".join(f"{m} stays masked: {self._channels[m].reason}" for m in still)

    def _pressed(self, press: Press) -> None:
        """A short press masks what is live, or lifts every mask; a long one masks hard."""
        live = any(self._channels[m].requested == "live" for m in MODALITIES)
        if press == "long":
            self.mask(MODALITIES, "hard", BUTTON)
        elif live:
            self.mask(MODALITIES, "masked", BUTTON)
        else:
            wall = self._clock.wall_us()
            agreed = tuple(m for m in MODALITIES if not self.demand.refusal((m,), wall, may_lift_hard=True))
            self.unmask(agreed, Holding(BUTTON, ""), lifts_hard=True)

    def states(self) -> dict[Modality, PrivacyState]:
        return self._channels.states()

    def epochs(self) -> dict[Modality, int]:
        return {m: self._channels[m].epoch for m in MODALITIES}

    def answer(self, id_: str, ok: bool, text: str, receipts: tuple[int, ...] = ()) -> Answer:
        return Answer(id=id_, ok=ok, text=text, modalities=self.states(), receipts=receipts)

    def complaints(self, modalities: frozenset[Modality]) -> list[str]:
        return self._channels.complaints(modalities)

    def receipts(self, modalities: frozenset[Modality]) -> tuple[int, ...]:
        found = [self._channels[m].receipt for m in MODALITIES if m in modalities]
        return tuple(sorted(r.number for r in found if r is not None))

    @property
    def former_until_us(self) -> int:
        return self._channels.former_until_us

    # -- from what is asked to what holds ------------------------------------------------------------------------

    def settle(self, requester: str, requested_us: int, again: Iterable[Modality] = ()) -> None:
        """Make what holds as what is asked: first close, then save, then open. ``again``: a new epoch in any case."""
        wall, again = self._clock.wall_us(), set(again)
        wanted = {m: self.demand.of(m, wall) for m in MODALITIES}
        changed = [m for m in MODALITIES if m in again or wanted[m][0] != self._channels[m].requested]
        for m in MODALITIES:
            self._channels[m].reason = wanted[m][1]
        if not changed:
            return
        self._epoch += 1
        for m in changed:
            gate, reason = wanted[m]
            self._channels.change(m, ModalityGate(gate, self._epoch, self.now_us, reason, requester, requested_us))
        fault = self._save()
        opening = [m for m in changed if wanted[m][0] == "live"]
        if fault is None:
            for m in opening:
                self._channels.open(m)
        elif opening:
            for m in opening:
                self.demand.asked[m] = Asked(Mask("masked", f"masked: what is unmasked cannot be saved ({fault})"))
            self.settle(requester, requested_us)

    def _prove(self) -> None:
        """Receipts of masks that have taken effect."""
        for modality in MODALITIES:
            channel = self._channels[modality]
            if not channel.owes_receipt or self.now_us < channel.write_due:
                continue
            draft = channel.draft_receipt(modality, self._clock.now_us(), self._clock.wall_us(), self._boot_id)
            try:
                channel.receipt = self._log.append(draft)
            except OSError as error:
                channel.unwritten = f"{self._log.path}: {error.strerror or error}"
                channel.write_due = self.now_us + SAVE_AGAIN_US
                log.error("no receipt: %s", channel.unwritten)
                continue
            self._receipts.send(channel.receipt, origin_us=self.now_us)
            self._save_due = self._save_due or self.now_us + SAVE_AGAIN_US

    def _save(self) -> str | None:
        """Why the state could not be saved, None when it was."""
        state = SwitchState(
            self._epoch + RESERVED,
            self._clock.wall_us(),
            self.demand.asked,
            self.used,
            self._log.head.count,
            self._log.head.hash,
        )
        try:
            self._file.save(state)
        except OSError as error:
            self._save_due = self.now_us + SAVE_AGAIN_US
            log.error("the state cannot be saved, so a restart masks everything: %s", error)
            return str(error.strerror or error)
        self._save_due = None
        return None

    # -- what changes by itself ----------------------------------------------------------------------------------

    def _look_around(self) -> None:
        """The deployment file and the paired keys may have changed."""
        version = version_of(self._deployment_path)
        if version != self._deployment_seen:
            self._deployment_seen = version
            try:
                self.demand.deployment = read_deployment(self._deployment_path)
            except PrivacyError as error:
                self.demand.deployment, self.demand.no_consent = None, str(error)
        paired = {k.signing for k in self.keyring.paired()}
        for asked in list(self.demand.asked.values()):
            if asked.holding is not None and asked.holding.key and asked.holding.key not in paired:
                self.demand.withdraw(f"masked: the key of {asked.holding.by} was revoked", asked.holding.key)

    def _watch_clock(self) -> None:
        """Where something ends by the wall clock, one that was set back is not believed any more."""
        offset = self._offset()
        if offset < self._highest_offset - STEP_US:
            self._highest_offset = offset
            if self.demand.uses_wall_time():
                self.demand.withdraw("masked: the clock of this host was set back")
        self._highest_offset = max(self._highest_offset, offset)

    def _offset(self) -> int:
        return self._clock.wall_us() - self._clock.boottime_us()

    def _instant(self) -> Instant:
        return Instant.of(self._clock, self._boot_id)


def build(config: Config, bus: Bus) -> Switch:
    """Raises ConfigError when the configured button or address cannot be used."""
    assert isinstance(bus, ZmqBus)
    link = show_state_directory(bus.directory, state_directory(config.privacy.state))
    doors = SwitchInputs(
        open_remote(config, bus), RootSocket(bus.directory / RootSocket.NAME), open_button(config.button.source), link
    )
    return Switch(config, bus, doors=doors)
