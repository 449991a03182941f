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

import msgspec

from edge_mer.bus import Bus, ReliablePublisher, ZmqBus
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, host_boot_id
from edge_mer.contract.control import Answer, Command, Grant, HeldMask, Holds
from edge_mer.contract.domain import MODALITIES, Gate, Modality
from edge_mer.contract.errors import PrivacyError
from edge_mer.contract.messages import Privacy, PrivacyState, Receipt
from edge_mer.host.files import show_state_directory, state_directory, version_of
from edge_mer.host.state_lock import StateLock
from edge_mer.privacy.consent.consent_file import FILE, read_deployment
from edge_mer.privacy.keys.host_key import host_key
from edge_mer.privacy.keys.keyring import Keyring
from edge_mer.privacy.keys.signing import public_hex, sign
from edge_mer.privacy.switch import people_mask
from edge_mer.privacy.switch.button import Press, PrivacyButton, open_button
from edge_mer.privacy.switch.commands import Commands
from edge_mer.privacy.switch.mask_policy import STEP_US, Instant, MaskPolicy
from edge_mer.privacy.switch.memory import has_run, locked, recall
from edge_mer.privacy.switch.modality_gate import ModalityGate
from edge_mer.privacy.switch.modality_gates import ModalityGates
from edge_mer.privacy.switch.people_mask import PeopleAsked
from edge_mer.privacy.switch.receipt_log import ReceiptAudit
from edge_mer.privacy.switch.registrations import FILE as MEMBERS
from edge_mer.privacy.switch.remote import RemoteCommands, open_remote
from edge_mer.privacy.switch.requester import HOST
from edge_mer.privacy.switch.root_socket import RootSocket
from edge_mer.privacy.switch.state import (
    RESERVED,
    VERSION,
    WITHOUT_PEOPLE,
    Asked,
    Holding,
    Mask,
    StateFile,
    SwitchState,
)

NAME = "switch"
PUBLISH_US = SECOND // 2
SAVE_AGAIN_US = SECOND
AUDIT_US = SECOND // 50
# What a gate may take to release its device after its lease ran out (capture.gated_source.RELEASE_US), and then some.
RELEASE_US = 100_000
MOST_MESSAGES = 1000
BUTTON = "the local button"
log = logging.getLogger(NAME)


@dataclass(frozen=True, slots=True)
class SwitchInputs:
    """The inputs beside the host's own bus; the ``link`` to the state directory and its ``lock`` go at the end.

    ``members``: the file in the state directory that says who takes part.
    """

    remote: RemoteCommands | None = None
    root: RootSocket | None = None
    button: PrivacyButton | None = None
    link: Path | None = None
    lock: StateLock | None = None
    members: Path | None = None

    def close(self) -> None:
        for source in (self.remote, self.root, self.button):
            if source is not None:
                source.close()
        if self.link is not None:
            self.link.unlink(missing_ok=True)
        if self.lock is not None:
            self.lock.close()


class Switch:
    """Binds the endpoint ``switch`` and the topics ``privacy`` and ``receipt``.

    ``used``: the highest counter that each key has used up. ``host``: this host's public key, hex.
    """

    def __init__(
        self, config: Config, bus: Bus, boot_id: str | None = None, inputs: SwitchInputs | None = None
    ) -> None:
        directory = state_directory(config.privacy.state)
        restarted = has_run(directory)
        key = self._key = host_key(directory)
        self._clock, self._boot_id, self._room = bus.clock, boot_id or host_boot_id(), config.run.room_name
        self.now_us = self._clock.now_us()
        self.host, self.keyring = public_hex(key), Keyring(directory)
        self._deployment_path, self._deployment_seen = directory / FILE, object()
        self._file = StateFile(directory, key)
        memory = recall(directory, key, restarted, self._clock.wall_us())
        self._epoch, self.used, self._log = memory.epoch, memory.counters, memory.log
        self.policy = MaskPolicy(config, memory.asked, memory.never)
        for fault in (memory.fault, memory.counters.fault, memory.log.note):
            if fault:
                log.error("%s", fault)
        self._unsaved = ""
        self._audit = None if self._log.is_verified else ReceiptAudit(directory, key.public_key(), self._log.head)
        self._audit_due = 0
        self._server = bus.server(NAME)
        lease_us = round(config.privacy.lease_s * SECOND)
        former_until = self.now_us + lease_us + RELEASE_US if restarted else self.now_us
        self._inputs = inputs or SwitchInputs()
        self._gates = ModalityGates(
            self._server, self._clock, key, self._boot_id, lease_us, former_until, self._inputs.members
        )
        self._commands = Commands(self)
        self._publisher = bus.publisher("privacy", NAME)
        self._receipts = ReliablePublisher(bus, "receipt", NAME)
        self._publish_due = 0
        self._save_due: int | None = None
        self._own: Counter[str] = Counter()
        self._highest_offset = memory.wall_us - self._clock.boottime_us() if memory.wall_us else self._offset()
        self._gates.people.asked = memory.people
        self._begin()
        if self._unsaved and restarted:
            self.policy.asked = locked(self.policy.asked, memory.newest, f"its state cannot be saved ({self._unsaved})")
            self.settle("the start of the switch", self.now_us, again=MODALITIES)

    def _begin(self) -> None:
        """Everything masked; with ``resume`` in the deployment file, what was live goes on."""
        self._reload()
        self._watch_clock()
        deployment = self.policy.deployment
        if deployment is None or not deployment.resume or self.used.fault:
            self.policy.asked = {m: Asked(mask=a.mask) for m, a in self.policy.asked.items()}
        self.settle("the start of the switch", self.now_us, again=MODALITIES)
        if self._gates.people.asked.holds:
            self._set_people(self._gates.people.asked, "the start of the switch", again=True)

    # -- the loop ------------------------------------------------------------------------------------------------

    def turn(self) -> int:
        """Handle every message that is there, then resend, prove, answer and publish. Returns the longest wait (us)."""
        before = self.states(), self._gates.people_state()
        self.now_us = self._clock.now_us()
        self._watch_clock()
        lapsed = self.policy.expire(self._instant())
        self._reload()
        self.settle("the switch", self.now_us)
        for m in lapsed:
            log.warning("the timed mask of %s has ended: it is %s", m, self._gates[m].requested)
        self._listen()
        if self._gates.known_epoch > self._epoch:  # the state was lost, and this worker outlived it
            self._epoch = self._gates.known_epoch
            self.settle("the switch", self.now_us, again=MODALITIES)
        self._gates.turn()
        self._watch_people()
        self._prove()
        if self._save_due is not None and self.now_us >= self._save_due:
            self._save()
        self._commands.turn(self.now_us)
        self._receipts.pump()
        self._verify_receipts()
        people = self._gates.people_state()
        if self.now_us >= self._publish_due or (self.states(), people) != before:
            self._publish_due = self.now_us + PUBLISH_US
            privacy = Privacy(mask_epoch=self._epoch, modalities=self.states(), people=people)
            self._publisher.send(privacy, origin_us=self.now_us)
        due = [self._publish_due, *self._commands.due_us, *self._gates.due_us]
        if self._audit is not None and not self._audit.is_done:
            due.append(self._audit_due)
        return max(0, min(due) - self.now_us)

    @property
    def wake(self) -> tuple[int, ...]:
        """The local button, root's socket and the end of a gate or data holder end the wait too."""
        sources = (self._inputs.root, self._inputs.button, self._gates)
        return tuple(fd for source in sources if source is not None for fd in source.wake)

    @property
    def counters(self) -> Counter[str]:
        remote = self._inputs.remote.counters if self._inputs.remote is not None else Counter[str]()
        return self._own + self._gates.counters + Counter(bad=self._server.bad) + remote

    @property
    def notes(self) -> tuple[str, ...]:
        """What is wrong with the files, and how far the receipts are verified."""
        found = [self._log.note or "", self.used.fault, self._gates.fault]
        if self._audit is not None:
            found.append(self._audit.fault or ("" if self._audit.is_done else self._audit.progress))
        return tuple(note for note in found if note)

    def close(self) -> None:
        """What was live is saved as it is, for ``resume``."""
        self._save()
        self._server.close()
        self._inputs.close()

    def _listen(self) -> None:
        for _ in range(MOST_MESSAGES):
            received = self._server.receive()
            if received is None:
                break
            peer, message = received
            if isinstance(message, Command):
                self._commands.receive(partial(self._server.send, peer), HOST, message)
            elif not self._gates.handle(peer, message):
                self._own["unexpected"] += 1
        for source in (self._inputs.root, self._inputs.remote):
            for reply, requester, command in source.receive() if source is not None else ():
                self._commands.receive(reply, requester, command)
        if self._inputs.button is not None:
            for press in self._inputs.button.presses():
                self._press(press)

    # -- what people ask -----------------------------------------------------------------------------------------

    def mask(
        self, modalities: Iterable[Modality], gate: Gate, by: str, for_s: int = 0, prolong: bool = True
    ) -> list[Modality]:
        """Returns the modalities whose mask holds but would have to be prolonged, which ``prolong`` forbids."""
        until = self._instant().after(for_s) if for_s else None
        changes = {m: self.policy.mask(m, gate, f"masked by {by}", until, prolong) for m in modalities}
        closed = [m for m, change in changes.items() if change == "gate"]
        again = [m for m in MODALITIES if any(m in self.policy.reached_by(a) for a in closed)]
        if "longer" in changes.values():
            self._save_due = self.now_us  # before its answer, and once for all commands of this turn
        self.settle(by, self.now_us, again)
        return [m for m, change in changes.items() if change == "refused"]

    def unmask(self, modalities: tuple[Modality, ...], holding: Holding, lifts_hard: bool) -> str:
        """Why it did not happen, or not for all; empty when everything that was asked is live."""
        if refusal := self.policy.refusal(modalities, self._clock.wall_us(), lifts_hard):
            return refusal
        if lifts_hard:
            self.used.trust()
        for modality in modalities:
            self.policy.unmask(modality, holding)
        self.settle(holding.by, self.now_us)
        still = [m for m in modalities if self._gates[m].requested != "live"]
        return "; ".join(f"{m} stays masked: {self._gates[m].reason}" for m in still)

    def _press(self, press: Press) -> None:
        """A short press masks what is live, or lifts every mask; a long one masks hard."""
        live = any(self._gates[m].requested == "live" for m in MODALITIES)
        if press == "long":
            self.mask(MODALITIES, "hard", BUTTON)
        elif live:
            self.mask(MODALITIES, "masked", BUTTON)
        else:
            wall = self._clock.wall_us()
            agreed = tuple(m for m in MODALITIES if not self.policy.refusal((m,), wall, may_lift_hard=True))
            self.unmask(agreed, Holding(BUTTON, ""), lifts_hard=True)
            self.unmask_people((people_mask.EVERYBODY,), BUTTON, lifts_local=True)

    def use(self, grant: Grant) -> None:
        """Use a grant up. Raises PrivacyError when that cannot be saved, for then it would work again later."""
        self.used.use(grant.key, grant.counter)
        self._save_due = self.now_us
        try:
            self._save_counters()
        except OSError as error:
            raise PrivacyError(f"{self.used.path} cannot be written: {error.strerror or error}") from error

    def states(self) -> dict[Modality, PrivacyState]:
        return self._gates.states()

    def epochs(self) -> dict[Modality, int]:
        return {m: self._gates[m].epoch for m in MODALITIES}

    def answer(self, id_: str, ok: bool, text: str) -> Answer:
        return Answer(id=id_, ok=ok, text=text, modalities=self.states(), people=self._gates.people_state())

    def complaints(self, modalities: frozenset[Modality]) -> list[str]:
        return self._with_unsaved(self._gates.complaints(modalities))

    def _with_unsaved(self, found: list[str]) -> list[str]:
        if self._unsaved:
            closed = "" if found else "closed, but "
            found.append(f"{closed}a restart would forget this mask: its state cannot be saved ({self._unsaved})")
        return found

    def late_complaints(self) -> tuple[str, ...]:
        """What is still not confirmed of masks that are older than a second."""
        people = self._gates.people_state()
        found = [text for state in self.states().values() for text in state.unconfirmed]
        return (*found, *(people.unconfirmed if people is not None else ()))

    def receipts(self, modalities: frozenset[Modality]) -> tuple[Receipt, ...]:
        """Those that prove the masks which hold now."""
        found = [self._gates[m].receipt for m in MODALITIES if m in modalities]
        return tuple(r for r in found if r is not None)

    def holds(self, challenge: str, proofs: tuple[Receipt, ...]) -> Holds:
        held = {r.modality: HeldMask(r.gate, r.mask_epoch, r.number) for r in proofs}
        return sign(self._key, Holds(challenge=challenge, boot_id=self._boot_id, modalities=held))

    @property
    def former_until_us(self) -> int:
        return self._gates.former_until_us

    # -- from what is asked to what holds ------------------------------------------------------------------------

    def settle(self, requester: str, requested_us: int, again: Iterable[Modality] = ()) -> None:
        """Make what holds as what is asked: first close, then save, then open. ``again``: a new epoch in any case."""
        wall, again = self._clock.wall_us(), set(again)
        wanted = {m: self.policy.of(m, wall) for m in MODALITIES}
        changed = [m for m in MODALITIES if m in again or wanted[m][0] != self._gates[m].requested]
        if changed:
            self._epoch += 1
        for m in changed:
            gate, reason = wanted[m]
            self._gates.change(m, ModalityGate(gate, self._epoch, self.now_us, reason, requester, requested_us))
        for m in MODALITIES:
            self._gates[m].reason, self._gates[m].until_us = wanted[m][1], self.policy.opens_us(m)
        if not changed:
            return
        self._save()
        opening = [m for m in changed if wanted[m][0] == "live"]
        if not self._unsaved:
            for m in opening:
                self._gates.open(m)
        elif opening:
            why = f"masked: what is unmasked cannot be saved ({self._unsaved})"
            for m in opening:
                self.policy.asked[m] = Asked(Mask("masked", why))
            self.settle(requester, requested_us)

    # -- masks of single persons ---------------------------------------------------------------------------------

    def mask_people(self, persons: tuple[str, ...], by: str) -> None:
        people = self._gates.people
        self._set_people(people_mask.masked(people.asked, persons, people.boot, f"masked by {by}"), by)

    def unmask_people(self, persons: tuple[str, ...], by: str, lifts_local: bool) -> str:
        """Why it did not happen; empty when these are seen again."""
        asked = self._gates.people.asked
        if refusal := people_mask.refusal(asked, persons, lifts_local):
            return refusal
        self._set_people(people_mask.unmasked(asked, persons), by)
        return f"masked: what is unmasked cannot be saved ({self._unsaved})" if self._unsaved else ""

    def people_epoch(self) -> int:
        return self._gates.people.asked.mask_epoch

    def people_complaints(self, persons: tuple[str, ...]) -> list[str]:
        return self._with_unsaved(self._gates.people_complaints(persons))

    def people_receipts(self) -> tuple[Receipt, ...]:
        receipt = self._gates.people.gate.receipt
        return (receipt,) if receipt is not None else ()

    def _watch_people(self) -> None:
        """Numbers of persons that mean nothing any more: everybody is masked."""
        people = self._gates.people
        asked = people_mask.in_life(people.asked, people.boot)
        if people.is_doubted:
            asked = people_mask.doubted(asked)
        self._set_people(asked, "the switch", again=people.is_doubted)

    def _set_people(self, asked: PeopleAsked, requester: str, again: bool = False) -> None:
        """First mask, then save, then unmask. ``again``: a new epoch in any case."""
        people, before = self._gates.people, self._gates.people.asked
        if asked == before and not again:
            return
        self._epoch += 1
        asked = msgspec.structs.replace(asked, mask_epoch=self._epoch)
        if asked.covers(before):
            people.change(asked, requester, self.now_us)
            self._save()
            return
        people.asked = asked
        self._save()
        if self._unsaved:
            people.asked = before
        else:
            people.change(asked, requester, self.now_us)

    def _prove(self) -> None:
        """Receipts of masks that have taken effect."""
        facts = self._clock.now_us(), self._clock.wall_us(), self._boot_id, self._room, self._unsaved
        for modality in (*MODALITIES, None):
            gate = self._gates[modality] if modality is not None else self._gates.people.gate
            if not gate.owes_receipt or self.now_us < gate.write_due:
                continue
            if modality is not None:
                draft = gate.draft_receipt(modality, *facts)
            else:
                draft = self._gates.people.draft_receipt(self._gates["video"].requested, *facts)
            try:
                gate.receipt = self._log.append(draft)
            except OSError as error:
                gate.unwritten = f"{self._log.path}: {error.strerror or error}"
                gate.write_due = self.now_us + SAVE_AGAIN_US
                log.error("no receipt: %s", gate.unwritten)
                continue
            self._receipts.send(gate.receipt, origin_us=self.now_us)
            self._save_due = self._save_due or self.now_us + SAVE_AGAIN_US

    def _verify_receipts(self) -> None:
        """The next slice of the receipts that were there at the start."""
        if self._audit is None or self._audit.is_done or self.now_us < self._audit_due:
            return
        self._audit_due = self.now_us + AUDIT_US
        self._audit.turn()
        if self._audit.fault:
            log.error("the receipts are damaged: %s", self._audit.fault)

    def _save(self) -> None:
        """Save the used counters and the state; ``_unsaved`` says why one could not be, and is empty otherwise."""
        self._save_due, self._unsaved = None, ""
        for save in (self._save_counters, self._save_state):  # the second also when the first fails
            try:
                save()
            except OSError as error:
                self._save_due = self.now_us + SAVE_AGAIN_US
                self._unsaved = str(error.strerror or error)
                log.error("the state cannot be saved, so a restart masks everything: %s", error)

    def _save_counters(self) -> None:
        self.used.save(self._epoch + RESERVED)

    def _save_state(self) -> None:
        self._file.save(
            SwitchState(
                epoch=self._epoch + RESERVED,
                wall_us=self._clock.wall_us(),
                asked=self.policy.asked,
                receipts=self._log.head.count,
                head=self._log.head.hash,
                version=VERSION if self._gates.people.asked.holds else WITHOUT_PEOPLE,
                mask_epoch=self._epoch,
                grants=self.used.number,
                people=self._gates.people.asked,
            )
        )

    # -- what changes by itself ----------------------------------------------------------------------------------

    def _reload(self) -> None:
        """The deployment file and the paired keys may have changed."""
        version = version_of(self._deployment_path)
        if version != self._deployment_seen:
            self._deployment_seen = version
            try:
                self.policy.deployment = read_deployment(self._deployment_path)
            except PrivacyError as error:
                self.policy.deployment, self.policy.no_consent = None, str(error)
        paired = {k.signing for k in self.keyring.paired()}
        for asked in list(self.policy.asked.values()):
            if asked.holding is not None and asked.holding.key and asked.holding.key not in paired:
                self.policy.withdraw(f"masked: the key of {asked.holding.by} was revoked", asked.holding.key)

    def _watch_clock(self) -> None:
        """Where something ends by the wall clock, one that was set back is not believed any more."""
        offset = self._offset()
        if offset < self._highest_offset - STEP_US:
            self._highest_offset = offset
            if self.policy.uses_wall_time():
                self.policy.withdraw("masked: the clock of this host was set back")
        self._highest_offset = max(self._highest_offset, offset)

    def _offset(self) -> int:
        return self._clock.wall_us() - self._clock.boottime_us()

    def _instant(self) -> Instant:
        return Instant.of(self._clock, self._boot_id)


def build(config: Config, bus: Bus) -> Switch:
    """Raises ConfigError when the configured button or address cannot be used, EndpointInUse for a second switch."""
    assert isinstance(bus, ZmqBus)
    directory = state_directory(config.privacy.state)
    lock = StateLock(directory, bus.directory)
    inputs = SwitchInputs(
        open_remote(config, bus),
        RootSocket(bus.directory / RootSocket.NAME),
        open_button(config.button.source),
        show_state_directory(bus.directory, directory),
        lock,
        directory / MEMBERS,
    )
    return Switch(config, bus, inputs=inputs)
