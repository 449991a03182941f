"""Everything that can go wrong, in any order: masked within one lease, never opened without leave, reason published.

The model is simpler than the switch and knows nothing of it: a modality may be open only after a fresh unmask by a
paired key, and not after anything that masks.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Command, Grant, Lease, encode
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.privacy.consent.consent_file import FILE as DEPLOYMENT
from edge_mer.privacy.keys.identity import new_identity
from edge_mer.privacy.switch.state import FILE as STATE
from tests.privacy.plant import Plant

LEASE_US = 2 * SECOND
SLACK_US = SECOND // 4
SOME = st.sets(st.sampled_from(MODALITIES), min_size=1)
ONE = st.sampled_from(MODALITIES)


@dataclass
class Wish:
    """What the model expects of one modality. ``timed``: when a timed mask ends, and whether it then may open."""

    live: bool = False
    since_us: int = 0
    hard: bool = False
    masked: bool = False
    timed: tuple[int, int, bool] | None = None


class Faults(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.full = False
        self.patch.setattr(os, "fsync", self._fsync)
        self.place = Path(tempfile.mkdtemp(prefix="em"))
        self.plant = Plant(self.place, live=False)
        self.bench, self.clock = self.plant.bench, self.plant.bench.clock
        self.stranger = new_identity(self.place, "stranger")
        self.wishes: dict[Modality, Wish] = {m: Wish(since_us=self.clock.now_us()) for m in MODALITIES}
        self.opened = dict.fromkeys(MODALITIES, 0)
        self.grants: list[Grant] = []
        self.agreed = True
        self.started_us = 0
        self.leases: list[Lease] = []
        self.unmask(set(MODALITIES))

    def teardown(self) -> None:
        self.patch.undo()
        shutil.rmtree(self.place)

    def _fsync(self, fd: int) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")

    # -- the world -----------------------------------------------------------------------------------------------

    def pass_time(self, us: int) -> None:
        for _ in range(max(1, us // 100_000)):
            self.clock.advance(min(us, 100_000))
            self._end_timed()
            for gate in self.plant.gates.values():
                gate.device.give()
            self.bench.turn(*self.plant.everybody())
            self._check()
        for gate in self.plant.gates.values():
            lease = gate.source.gate._lease
            if lease is not None and lease not in self.leases:
                self.leases.append(lease)

    def knows_everybody(self) -> bool:
        """Gates speak to a new switch within half a second; until then their leases must run out."""
        return self.clock.now_us() - self.started_us > SECOND

    def _end_timed(self) -> None:
        for wish in self.wishes.values():
            if wish.timed and self.clock.wall_us() >= wish.timed[0] and self.clock.boottime_us() >= wish.timed[1]:
                wish.live, wish.timed = wish.timed[2], None

    def _masked(self, *modalities: Modality) -> None:
        """Something happened that must close these."""
        for m in modalities:
            wish = self.wishes[m]
            if wish.live:
                wish.since_us = self.clock.now_us()
            wish.live = False

    def _check(self) -> None:
        now = self.clock.now_us()
        for m, gate in self.plant.gates.items():
            wish = self.wishes[m]
            if gate.device.opened > self.opened[m]:
                assert wish.live, f"{m} was opened without leave"
            self.opened[m] = gate.device.opened
            if gate.is_open:
                assert gate.source.gate.is_open, f"{m} is open without a lease"
                assert wish.live or now - wish.since_us <= LEASE_US + SLACK_US, f"{m} stays open after a mask"

    @invariant()
    def says_why(self) -> None:
        if self.bench.switch is None:
            return
        for m, state in self.bench.switch.states().items():
            if not self.wishes[m].live:
                assert state.requested != "live", f"{m}: {state}"
            if state.requested != "live":
                assert state.reason, f"{m} is masked without a reason"
            if state.effective != "live":
                assert not self.plant.gates[m].is_open, f"the switch says {state.effective} while {m} is open"

    # -- people --------------------------------------------------------------------------------------------------

    @rule(modalities=SOME, hard=st.booleans())
    def mask(self, modalities: set[Modality], hard: bool) -> None:
        self.bench.ask("mask", *modalities, hard=hard)
        if self.bench.switch is not None:
            for m in modalities:
                self.wishes[m].hard |= hard
                self.wishes[m].timed, self.wishes[m].masked = None, True
            self._masked(*modalities)
        self.pass_time(20_000)
        if self.bench.switch is not None and self.knows_everybody():
            assert not self.plant.open() & modalities, "a mask closes at once"

    @rule(modality=ONE, minutes=st.integers(1, 100))
    def guests(self, modality: Modality, minutes: int) -> None:
        wish = self.wishes[modality]
        self.bench.ask("mask", modality, for_s=60 * minutes)
        if self.bench.switch is not None and not (wish.masked or wish.hard):
            us = 60 * minutes * SECOND
            wall, boot = self.clock.wall_us() + us, self.clock.boottime_us() + us
            if wish.timed is None or wall > wish.timed[0]:
                wish.timed = (wall, boot, wish.timed[2] if wish.timed else wish.live)
            self._masked(modality)
        # A granted command is looked at when the next turn comes, at the same instant.
        self.bench.turn(*self.plant.everybody())
        self._check()

    @rule(modalities=SOME)
    def unmask(self, modalities: set[Modality]) -> None:
        grant = self.bench.grant(*modalities)
        self.grants.append(grant)
        id_ = f"unmask {grant.counter}"
        self.bench.ask("unmask", *modalities, grant=grant, id_=id_)
        if self.bench.switch is None:
            return self.pass_time(20_000)
        # On a full disk the grant cannot be used up, so it opens nothing.
        expected = self.agreed and not self.full and not any(self.wishes[m].hard for m in modalities)
        if expected:
            for m in modalities:
                self.wishes[m] = Wish(live=True)
        self.pass_time(20_000)
        answer = next(a for a in self.bench.answers() if a.id == id_)
        assert answer.ok == expected, answer
        if expected:
            self.pass_time(SECOND)
            alive = {m for m in modalities if self.plant.gates[m].alive}
            assert alive <= self.plant.open(), "what was unmasked does open"
        return None

    # -- impostors -----------------------------------------------------------------------------------------------

    def _unmask_with(self, grant: Grant) -> None:
        self.bench.broker.servers.get("switch", []).append(  # type: ignore[union-attr]
            [
                b"thief",
                encode(Command(id=os.urandom(4).hex(), action="unmask", modalities=grant.modalities, grant=grant)),
            ]
        )
        self.pass_time(20_000)

    @precondition(lambda self: self.grants)
    @rule(data=st.data())
    def replay_a_grant(self, data: st.DataObject) -> None:
        self._unmask_with(data.draw(st.sampled_from(self.grants)))

    @precondition(lambda self: self.bench.switch is not None)
    @rule(modalities=SOME, by=st.sampled_from(["stranger", "changed", "old epoch"]), bit=st.integers(0, 7))
    def forge_a_grant(self, modalities: set[Modality], by: str, bit: int) -> None:
        if by == "stranger":
            self._unmask_with(self.bench.grant(*modalities, identity=self.stranger))
            return
        grant = self.bench.grant(*modalities, ahead=0 if by == "changed" else -1)
        if by == "changed":
            flipped = bytes([bytes.fromhex(grant.signature)[0] ^ 1 << bit]) + bytes.fromhex(grant.signature)[1:]
            self._unmask_with(msgspec.structs.replace(grant, signature=flipped.hex()))
        elif all(self.bench.switch.epochs()[m] > grant.mask_epoch for m in modalities):  # type: ignore[union-attr]
            self._unmask_with(grant)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), modality=ONE, change=st.sampled_from(["none", "bit", "holder", "longer"]))
    def replay_a_lease(self, data: st.DataObject, modality: Modality, change: str) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        if change == "bit":
            raw = bytearray(bytes.fromhex(lease.signature))
            bit = data.draw(st.integers(0, 511))
            raw[bit // 8] ^= 1 << bit % 8
            lease = msgspec.structs.replace(lease, signature=raw.hex(), counter=lease.counter + 10**12)
        elif change == "holder":
            lease = msgspec.structs.replace(lease, holder=f"gate.{modality}/{self.plant.gates[modality].bus.boot}")
        elif change == "longer":
            lease = msgspec.structs.replace(lease, expires_us=lease.expires_us + 10**9, counter=lease.counter + 10**12)
        self.plant.gates[modality].inject(lease)
        self.pass_time(20_000)

    @precondition(lambda self: self.bench.switch is not None)
    @rule(modality=ONE)
    def flood(self, modality: Modality) -> None:
        """1,000 commands at once, most of them to unmask."""
        forged = self.bench.grant(modality, identity=self.stranger)
        frames = [
            encode(
                Command(
                    id=f"f{n}-{forged.counter}",
                    action="status" if n % 3 else "unmask",
                    modalities=(modality,),
                    grant=forged,
                )
            )
            for n in range(1000)
        ]
        self.bench.broker.servers["switch"].extend([b"flood", frame] for frame in frames)
        self.bench.ask("mask", modality)
        self.wishes[modality].timed, self.wishes[modality].masked = None, True
        self._masked(modality)
        self.pass_time(100_000)
        assert modality not in self.plant.open() or not self.knows_everybody(), "a mask comes through a flood"
        self.pass_time(3 * SECOND)
        self.bench.answers()

    # -- faults --------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.bench.switch is not None)
    @rule(away_us=st.sampled_from([20_000, 3 * SECOND]))
    def kill_the_switch(self, away_us: int) -> None:
        self.bench.kill_switch()
        self._restarted()
        self.pass_time(away_us)

    def _restarted(self) -> None:
        """A grant does not outlive the switch."""
        self._masked(*MODALITIES)
        for wish in self.wishes.values():
            if wish.timed:
                wish.timed = (*wish.timed[:2], False)

    @precondition(lambda self: self.bench.switch is None)
    @rule()
    def start_the_switch(self) -> None:
        self._start_switch()
        self.pass_time(20_000)

    def _start_switch(self) -> None:
        self.bench.start_switch()
        self.started_us = self.clock.now_us()
        assert self.bench.switch is not None
        for m, asked in self.bench.switch.policy.asked.items():
            wish, before = self.wishes[m], self.wishes[m].hard
            wish.masked = asked.mask is not None
            wish.hard = asked.mask is not None and (asked.mask.gate == "hard" or asked.mask.local)
            assert wish.hard or not before, f"{m} was hard, and the switch forgot it"
            wish.timed = wish.timed if asked.mask is not None and asked.mask.until else None

    @rule(modality=ONE)
    def kill_a_gate(self, modality: Modality) -> None:
        self.plant.gates[modality].kill()
        self.pass_time(20_000)

    @rule(modality=ONE)
    def start_a_gate(self, modality: Modality) -> None:
        if not self.plant.gates[modality].alive:
            self.opened[modality] = 0
            self.plant.gates[modality].start()
        self.pass_time(20_000)

    @rule()
    def kill_the_supervisor(self) -> None:
        """All its children die with it."""
        for gate in self.plant.gates.values():
            gate.kill()
        if self.bench.switch is not None:
            self.bench.kill_switch()
        self._restarted()
        assert self.plant.open() == set()
        self._start_switch()
        for gate in self.plant.gates.values():
            gate.start()
        self.opened = dict.fromkeys(MODALITIES, 0)
        self.pass_time(20_000)

    @rule(full=st.booleans())
    def disk(self, full: bool) -> None:
        self.full = full
        self.pass_time(20_000)

    @precondition(lambda self: self.bench.switch is None)
    @rule(data=st.data())
    def damage_the_state(self, data: st.DataObject) -> None:
        path = self.place / STATE
        content = path.read_bytes() if path.exists() else b""
        if not content:
            return
        at = data.draw(st.integers(0, len(content) - 1))
        cut = data.draw(st.booleans())
        path.write_bytes(content[:at] if cut else content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])

    @rule(agreed=st.booleans())
    def consent(self, agreed: bool) -> None:
        text = (self.place / DEPLOYMENT).read_text()
        (self.place / DEPLOYMENT).write_text(
            text.replace('"nowhere"', '"home"') if agreed else text.replace('"home"', '"nowhere"')
        )
        if not agreed:
            self._masked(*MODALITIES)
        was, self.agreed = self.agreed, agreed
        if agreed and not was and self.bench.switch is not None:  # grants were held back, not withdrawn
            for m, asked in self.bench.switch.policy.asked.items():
                wish, held = self.wishes[m], asked.holding is not None
                wish.live = held and asked.mask is None
                wish.timed = (*wish.timed[:2], held) if wish.timed else None
        self.pass_time(SECOND)

    @rule(seconds=st.sampled_from([-(10**6), -3600, -60, 60, 3600, 10**6]))
    def set_the_clock(self, seconds: int) -> None:
        self.clock.epoch_us += seconds * SECOND
        if seconds < 0 and any(w.timed for w in self.wishes.values()):
            self._masked(*MODALITIES)
            for wish in self.wishes.values():
                wish.masked |= wish.timed is not None and wish.timed[2]
                wish.timed = None if wish.masked else wish.timed
        self.pass_time(20_000)

    @rule(seconds=st.sampled_from([1, 3, 100_000]))
    def suspend(self, seconds: int) -> None:
        self.clock.suspend(seconds * SECOND)
        self.clock.epoch_us += seconds * SECOND
        self.pass_time(20_000)

    @rule(us=st.sampled_from([20_000, SECOND, 3 * SECOND]))
    def wait(self, us: int) -> None:
        self.pass_time(us)


Faults.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
TestFaults: Any = Faults.TestCase
