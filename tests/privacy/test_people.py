"""Masks of single persons: never fewer are masked than were asked for, until a grant says otherwise."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_mer.cli.receipts import in_words
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Answer, Command
from edge_mer.contract.people import MaskedPeople
from edge_mer.privacy.consent.consent_file import FILE as DEPLOYMENT
from edge_mer.privacy.keys.identity import new_identity
from edge_mer.privacy.keys.keyring import PairedKey
from edge_mer.privacy.purge_client import PurgeClient
from edge_mer.privacy.switch.people_mask import MOST_PERSONS
from edge_mer.privacy.switch.receipts import verify_all
from edge_mer.privacy.switch.requester import ROOT
from edge_mer.privacy.switch.state import FILE as STATE
from edge_mer.privacy.switch.state import VERSION, WITHOUT_PEOPLE, read_state
from tests.switch_bench import EVERYBODY, SwitchBench, write_deployment


class Follower:
    """The process that follows faces: it knows ``seen``, and applies the masks that it is sent."""

    def __init__(self, bench: SwitchBench, life: str, *seen: str, name: str = "perception.video") -> None:
        self.life, self.seen, self.silent = life, seen, False
        self.bus = bench.bus(life)
        self.client = PurgeClient(self.bus, name, ("video",), persons=True)

    def turn(self) -> None:
        if self.silent:
            return
        for purge in self.client.orders():
            self.client.done(purge)
        if (order := self.client.order()) is not None:
            self.client.confirm(order, self.seen if self.client._name == "perception.video" else None)

    def masks(self, person: str) -> bool:
        order = self.client.masked
        if order is None:
            return True
        return order.everybody or bool(order.persons and order.boot != self.life) or person in order.persons


@pytest.fixture
def bench(tmp_path: Path) -> SwitchBench:
    return SwitchBench(tmp_path)


def _people(bench: SwitchBench) -> MaskedPeople:
    assert bench.switch is not None
    people = bench.switch.answer("", True, "").people
    assert people is not None
    return people


def _asked(bench: SwitchBench, action: str, *persons: str, workers: tuple[Follower, ...] = ()) -> Answer:
    bench.ask(action, persons=persons)
    bench.run(1_200_000, *workers)
    [answer] = bench.answers()
    return answer


def test_a_mask_is_confirmed_by_whoever_makes_tokens_or_records_and_has_a_receipt(bench: SwitchBench) -> None:
    faces, recorder = Follower(bench, "life", "p1", "p2"), Follower(bench, "file", name="recorder")
    bench.turn(faces, recorder)
    bench.ask("mask", persons=("p2",))
    recorder.silent = True
    bench.turn(faces, recorder)
    assert faces.masks("p2")
    assert not faces.masks("p1")
    assert not bench.answers(), "the recorder has not confirmed"
    recorder.silent = False
    bench.run(100_000, faces, recorder)
    [answer] = bench.answers()
    assert answer.ok
    assert answer.people is not None
    assert answer.people.persons == ("p2",)
    *_, receipt = verify_all(bench.directory, bench.host_public)
    assert receipt.number == answer.receipts[0]
    assert (receipt.persons, receipt.purged, receipt.gate) == (("p2",), ("perception.video", "recorder"), "live")
    assert not receipt.handle_closed
    assert "the camera stays open" in in_words(receipt)
    assert bench.switch is not None
    assert bench.switch.states()["video"].requested == "live"


def test_without_a_mask_of_persons_nothing_on_the_wire_or_the_disk_is_new(bench: SwitchBench) -> None:
    bench.turn(Follower(bench, "life", "p1"))
    assert bench.switch is not None
    assert bench.switch.answer("", True, "").people is None
    assert read_state(bench.directory / STATE, bench.host_public).version == WITHOUT_PEOPLE


def test_an_older_switch_refuses_a_state_with_a_mask_of_persons(bench: SwitchBench) -> None:
    faces = Follower(bench, "life", "p1")
    bench.turn(faces)
    _asked(bench, "mask", "p1", workers=(faces,))
    assert read_state(bench.directory / STATE, bench.host_public).version == VERSION


def test_anybody_masks_and_only_a_grant_unmasks(bench: SwitchBench) -> None:
    faces = Follower(bench, "life", "p1", "p2")
    bench.turn(faces)
    assert _asked(bench, "mask", "p1", "p2", workers=(faces,)).ok
    assert bench.switch is not None
    bench.person.send(Command(id="bare", action="unmask", persons=("p1",)))
    bench.turn(faces)
    [answer] = bench.answers()
    assert not answer.ok
    assert "needs a grant" in answer.text
    assert faces.masks("p1")
    assert _asked(bench, "unmask", "p1", workers=(faces,)).ok
    assert not faces.masks("p1")
    assert faces.masks("p2")


def test_a_used_grant_and_one_from_before_another_mask_open_nothing(bench: SwitchBench) -> None:
    faces = Follower(bench, "life", "p1", "p2")
    bench.turn(faces)
    _asked(bench, "mask", "p1", workers=(faces,))
    early = bench.grant_persons("p1")
    used = bench.grant_persons("p1")
    bench.ask("unmask", persons=("p1",), grant=used)
    bench.run(SECOND, faces)
    assert bench.answers()[0].ok
    _asked(bench, "mask", "p1", workers=(faces,))
    for grant in (used, early):
        bench.ask("unmask", persons=("p1",), grant=grant)
        bench.turn(faces)
        assert not bench.answers()[0].ok
    assert faces.masks("p1")


def test_a_grant_for_one_person_is_for_no_other_and_for_no_modality(bench: SwitchBench) -> None:
    faces = Follower(bench, "life", "p1", "p2")
    bench.turn(faces)
    _asked(bench, "mask", "p1", "p2", workers=(faces,))
    bench.ask("unmask", persons=("p2",), grant=bench.grant_persons("p1"))
    bench.ask("unmask", "video", grant=bench.grant_persons("p2"))
    bench.ask("unmask", persons=("p2",), grant=bench.grant("video"))
    bench.turn(faces)
    assert not any(a.ok for a in bench.answers())
    assert faces.masks("p1")
    assert faces.masks("p2")


def test_a_hub_unmasks_persons_only_where_it_may_open_the_camera(bench: SwitchBench) -> None:
    hub = new_identity(bench.directory, "hub")
    assert bench.switch is not None
    bench.switch.keyring.add(PairedKey("hub", "hub", hub.signing, None, "today"))
    faces = Follower(bench, "life", "p1")
    bench.turn(faces)
    _asked(bench, "mask", "p1", workers=(faces,))
    bench.ask("unmask", persons=("p1",), grant=bench.grant_persons("p1", identity=hub))
    bench.turn(faces)
    assert "may not unmask video" in bench.answers()[0].text
    assert faces.masks("p1")
    may = msgspec.structs.replace(EVERYBODY.hub, may_unmask=("video",))
    write_deployment(bench.directory / DEPLOYMENT, msgspec.structs.replace(EVERYBODY, hub=may))
    bench.ask("unmask", persons=("p1",), grant=bench.grant_persons("p1", identity=hub))
    bench.turn(faces)
    assert bench.answers()[0].ok
    assert not faces.masks("p1")


def test_a_number_that_nobody_has_is_masked_and_the_answer_says_that_nobody_was(bench: SwitchBench) -> None:
    faces = Follower(bench, "life", "p1")
    bench.turn(faces)
    answer = _asked(bench, "mask", "p7", workers=(faces,))
    assert not answer.ok
    assert "p7 is not in view" in answer.text
    assert faces.masks("p7")
    assert not faces.masks("p1")


def test_p2_of_a_life_that_ended_masks_everybody_until_all_are_unmasked(bench: SwitchBench) -> None:
    yesterday = Follower(bench, "yesterday", "p1", "p2")
    bench.turn(yesterday)
    _asked(bench, "mask", "p2", workers=(yesterday,))
    yesterday.client.leave()
    today = Follower(bench, "today", "p1", "p2")
    bench.run(SECOND, today)
    assert today.masks("p1")
    assert _people(bench).everybody
    assert "faces are followed anew" in (_people(bench).reason or "")
    answer = _asked(bench, "unmask", "p2", workers=(today,))
    assert not answer.ok
    assert "unmask person all" in answer.text
    assert today.masks("p1")
    assert _asked(bench, "unmask", "all", workers=(today,)).ok
    assert not today.masks("p1")
    assert not today.masks("p2")


def test_numbers_that_began_anew_within_a_life_mask_everybody(bench: SwitchBench) -> None:
    faces = Follower(bench, "life", "p1", "p2")
    bench.turn(faces)
    _asked(bench, "mask", "p2", workers=(faces,))
    faces.client.renumbered()
    bench.run(SECOND, faces)
    assert _people(bench).everybody
    assert faces.masks("p1")
    assert _asked(bench, "unmask", "all", workers=(faces,)).ok
    bench.run(SECOND, faces)
    assert not _people(bench).holds


def test_a_mask_while_no_process_follows_faces_is_of_everybody(bench: SwitchBench) -> None:
    answer = _asked(bench, "mask", "p2")
    assert answer.ok
    assert _people(bench).everybody
    faces = Follower(bench, "life", "p1")
    bench.run(SECOND, faces)
    assert faces.masks("p1")


@pytest.mark.parametrize("loss", ["restart", "cut", "missing", "older"])
def test_after_a_restart_or_loss_of_the_state_everybody_is_masked(bench: SwitchBench, loss: str) -> None:
    faces = Follower(bench, "life", "p1", "p2")
    bench.turn(faces)
    state = bench.directory / STATE
    before = state.read_bytes()
    _asked(bench, "mask", "p2", workers=(faces,))
    bench.kill_switch()
    if loss == "cut":
        state.write_bytes(state.read_bytes()[:-9])
    elif loss == "missing":
        state.unlink()
    elif loss == "older":
        state.write_bytes(before)
    bench.start_switch()
    bench.run(SECOND, faces)
    assert _people(bench).everybody
    assert faces.masks("p1")
    answer = _asked(bench, "unmask", "all", workers=(faces,))
    assert answer.ok == (loss == "restart")
    if loss != "restart":
        assert "sudo edge-mer unmask person all" in answer.text
        assert faces.masks("p1")
        answers: list[Answer] = []
        assert bench.switch is not None
        bench.switch._commands.receive(answers.append, ROOT, Command(id="root", action="unmask", persons=("all",)))
        bench.turn(faces)
        assert answers[0].ok
        assert not faces.masks("p1")


def test_a_mask_that_the_switch_forgot_is_known_to_the_process_that_carries_it_out(bench: SwitchBench) -> None:
    faces = Follower(bench, "life", "p1", "p2")
    bench.turn(faces)
    _asked(bench, "mask", "p2", workers=(faces,))
    bench.kill_switch()
    shutil.rmtree(bench.directory)
    bench.directory.mkdir(mode=0o700)
    write_deployment(bench.directory / DEPLOYMENT, EVERYBODY)
    bench.start_switch()
    bench.run(SECOND, faces)
    assert _people(bench).everybody
    assert faces.masks("p1")


def test_what_cannot_be_saved_is_not_unmasked(bench: SwitchBench, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = Follower(bench, "life", "p1")
    bench.turn(faces)
    _asked(bench, "mask", "p1", workers=(faces,))

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert not _asked(bench, "unmask", "p1", workers=(faces,)).ok
    assert faces.masks("p1")
    answer = _asked(bench, "mask", "all", workers=(faces,))
    assert not answer.ok
    assert "a restart would forget" in answer.text
    assert faces.masks("p1")


def test_a_flood_of_numbers_is_bounded_and_never_masks_less(bench: SwitchBench) -> None:
    faces = Follower(bench, "life", "p1")
    bench.turn(faces)
    for n in range(1, 3 * MOST_PERSONS):
        bench.ask("mask", persons=(f"p{n}",))
    bench.run(SECOND // 5, faces)
    assert _people(bench).everybody
    assert faces.masks("p1")
    assert len(list(verify_all(bench.directory, bench.host_public))) < 2 * MOST_PERSONS


@pytest.mark.parametrize("name", ["Anna", "p0", "p", "voice", "p1;p2", "p" + 12 * "1", ""])
def test_what_is_no_number_of_a_person_is_refused(bench: SwitchBench, name: str) -> None:
    answer = _asked(bench, "mask", name)
    assert not answer.ok
    assert "is no person in view" in answer.text


def test_a_mask_of_persons_proves_no_closed_camera(bench: SwitchBench) -> None:
    bench.person.send(Command(id="c", action="mask", persons=("p1",), challenge="random"))
    bench.turn()
    [answer] = bench.answers()
    assert not answer.ok
    assert answer.holds is None


class Masks(RuleBasedStateMachine):
    """The model knows who was asked to be masked in which life, and that only a grant or root lifts it."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="em"))
        self.bench = SwitchBench(self.place)
        self.lives = 0
        self.asked: set[str] = set()
        self.all = False
        self.states: list[bytes] = []
        self.start()

    def teardown(self) -> None:
        shutil.rmtree(self.place)

    def start(self) -> None:
        self.lives += 1
        self.faces = Follower(self.bench, f"life{self.lives}", *(f"p{n}" for n in range(1, 5)))
        self.settle()

    def settle(self) -> None:
        self.bench.run(800_000, self.faces, step_us=100_000)

    @invariant()
    def never_fewer(self) -> None:
        if self.bench.switch is not None:
            for person in ("p1", "p2", "p3", "p4", "p9"):
                assert self.faces.masks(person) or not (self.all or person in self.asked), person

    @rule(persons=st.sets(st.sampled_from(["p1", "p2", "p3", "p4", "all"]), min_size=1, max_size=3))
    def mask(self, persons: set[str]) -> None:
        self.bench.ask("mask", persons=tuple(persons))
        self.settle()
        self.all |= "all" in persons
        self.asked |= persons - {"all"}
        self.states.append((self.place / STATE).read_bytes())

    @rule(persons=st.sets(st.sampled_from(["p1", "p2", "p3", "all"]), min_size=1, max_size=2), signed=st.booleans())
    def unmask(self, persons: set[str], signed: bool) -> None:
        self.bench.answers()
        names = tuple(persons)
        if signed:
            self.bench.ask("unmask", persons=names)
        else:
            self.bench.person.send(Command(id=os.urandom(4).hex(), action="unmask", persons=names))
        self.settle()
        [answer] = self.bench.answers()
        if answer.ok:
            assert signed
            self.asked -= self.asked if "all" in persons else persons
            self.all &= "all" not in persons

    @rule()
    def faces_start_anew(self) -> None:
        self.faces.client.leave()
        self.all |= bool(self.asked)
        self.start()

    @rule()
    def numbers_begin_anew(self) -> None:
        if self.asked:
            self.faces.client.renumbered()
            self.all = True
        self.settle()

    @rule(loss=st.sampled_from(["none", "cut", "missing", "older"]))
    def switch_starts_anew(self, loss: str) -> None:
        self.bench.kill_switch()
        state = self.place / STATE
        if loss == "cut":
            state.write_bytes(state.read_bytes()[:70])
        elif loss == "missing":
            state.unlink()
        elif loss == "older" and self.states:
            state.write_bytes(self.states[0])
        self.all |= bool(self.asked)
        self.bench.start_switch()
        self.settle()
        self.bench.answers()

    @rule()
    def root_unmasks(self) -> None:
        assert self.bench.switch is not None
        command = Command(id=os.urandom(4).hex(), action="unmask", persons=("all",))
        self.bench.switch._commands.receive(lambda answer: None, ROOT, command)
        self.asked, self.all = set(), False
        self.settle()
        assert not self.faces.masks("p9")


TestMasks = Masks.TestCase
TestMasks.settings = settings(
    max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
