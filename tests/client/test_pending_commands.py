"""Commands of programs with a loop of their own: sent again, matched by id, given up with a plain text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.client.pending_commands import CROWDED, MOST_PENDING, NO_ANSWER, NO_KEYS, PendingCommands
from edge_mer.client.signer import Signer
from edge_mer.client.transports import BusTransport
from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.control import Answer, Command
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import PrivacyError
from edge_mer.contract.messages import PrivacyState
from edge_mer.privacy.keys.identity import new_identity
from tests.switch_bench import SwitchBench


class Line:
    """A program and what stands for its switch; ``asked`` is what arrived there, ``answers`` what came back."""

    def __init__(self, signer: Signer | None = None) -> None:
        self.clock, broker = FakeClock(), MemoryBroker()
        self._server = MemoryBus(broker, self.clock).server("switch")
        transport = BusTransport(MemoryBus(broker, self.clock))
        self.commands = PendingCommands(transport, self.clock, "test", None if signer is None else lambda: signer)
        self.answers: list[Answer] = []
        self._peer = b""

    def ask(self, action: str = "mask") -> None:
        self.commands.command(action, ("audio",), self.answers.append)

    def asked(self) -> Iterator[Command]:
        while (received := self._server.receive()) is not None:
            self._peer, command = received
            assert isinstance(command, Command)
            yield command

    def answer(self, command: Command, text: str = "", **states: PrivacyState) -> None:
        self._server.send(self._peer, Answer(id=command.id, ok=not text, text=text, modalities=states))  # type: ignore[arg-type]

    def pass_time(self, us: int) -> None:
        self.clock.advance(us)
        self.commands.turn()


def test_a_command_without_an_answer_is_sent_again_as_the_same_one() -> None:
    line = Line()
    line.ask()
    line.pass_time(SECOND // 2)
    first, again = line.asked()
    assert first == again
    line.answer(again)
    line.answer(first)
    line.pass_time(SECOND)
    line.pass_time(3 * SECOND)
    assert [a.id for a in line.answers] == [first.id]
    assert not list(line.asked()), "what was answered is not sent again"


def test_a_silent_switch_is_reported_in_plain_words_once() -> None:
    line = Line()
    line.ask()
    for _ in range(10):
        line.pass_time(SECOND)
    assert [(a.ok, a.text) for a in line.answers] == [(False, NO_ANSWER)]


def test_of_too_many_the_oldest_is_given_up() -> None:
    line = Line()
    for _ in range(MOST_PENDING + 2):
        line.ask()
    assert [a.text for a in line.answers] == [CROWDED] * 2


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, SECOND)), max_size=40))
def test_every_command_gets_one_answer_and_its_own_whatever_comes(answered: list[tuple[int, int]]) -> None:
    line = Line()
    got: dict[int, list[Answer]] = {n: [] for n in range(10)}
    for n in range(10):
        line.commands.command("mask", (MODALITIES[n % 3],), got[n].append)
    sent = list(line.asked())
    for n, us in answered:  # in any order, several times, late
        line.answer(sent[n], text=f"answer to {n}")
        line.pass_time(us)
    line.pass_time(line.commands.patience_us)
    for n, answers in got.items():
        assert len(answers) == 1
        assert answers[0].text in (f"answer to {n}", NO_ANSWER)


def state(mask_epoch: int) -> PrivacyState:
    return PrivacyState("masked", "masked", 0, mask_epoch, None, None)


@given(st.dictionaries(st.sampled_from(MODALITIES), st.integers(0, 10**9)))
def test_a_grant_names_the_newest_mask_that_was_seen(epochs: dict[Modality, int]) -> None:
    seen: list[int] = []

    class Pen:
        def grant(self, host: str, modalities: object, mask_epoch: int, wall_us: int) -> None:
            seen.append(mask_epoch)

    Signer(Pen(), "host", FakeClock()).grant(("audio",), {m: state(e) for m, e in epochs.items()})  # type: ignore[arg-type]
    assert seen == [max(epochs.values(), default=0)]


def test_unmasking_looks_first_and_signs_what_it_saw(tmp_path: Path) -> None:
    line = Line()
    line = Line(Signer(new_identity(tmp_path, "console"), "host", line.clock))
    line.commands.unmask(("audio",), line.answers.append)
    (status,) = line.asked()
    line.answer(status, audio=state(3), video=state(8))
    line.commands.turn()
    (unmask,) = line.asked()
    assert (status.action, unmask.action) == ("status", "unmask")
    assert unmask.grant is not None
    assert (unmask.grant.mask_epoch, unmask.grant.modalities) == (8, ("audio",))


def test_without_keys_that_is_the_answer() -> None:
    line = Line()
    line.commands.unmask(("audio",), line.answers.append)
    line.answer(next(line.asked()))
    line.commands.turn()
    assert [a.text for a in line.answers] == [NO_KEYS]


def test_keys_that_cannot_be_read_never_end_the_program(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)

    def damaged() -> Signer:
        raise PrivacyError("console.key is damaged")

    answers: list[Answer] = []
    commands = PendingCommands(BusTransport(bench.bus()), bench.clock, "test", damaged)
    commands.unmask(("audio",), answers.append)
    bench.turn(type("Loop", (), {"turn": staticmethod(commands.turn)}))
    assert [(a.ok, a.text) for a in answers] == [(False, "console.key is damaged")]


@pytest.mark.parametrize(("resume", "state_then"), [(True, "masked"), (False, "live")])
def test_resume_leaves_a_mask_that_a_person_set(tmp_path: Path, resume: bool, state_then: str) -> None:
    bench = SwitchBench(tmp_path)
    bench.ask("mask", "audio")
    bench.turn()
    signer = Signer(bench.console, bench.host_public.public_bytes_raw().hex(), bench.clock)
    commands = PendingCommands(BusTransport(bench.bus()), bench.clock, "test", lambda: signer)
    answers: list[Answer] = []
    commands.unmask(("audio",), answers.append, resume=resume)
    bench.turn(type("Loop", (), {"turn": staticmethod(commands.turn)}))
    assert answers[0].ok
    assert answers[0].modalities["audio"].requested == state_then
