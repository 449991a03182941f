"""Non-blocking commands: resent, matched by id, and failed with a clear message after a timeout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.client.pending_commands import MOST_PENDING, NO_ANSWER, NO_KEYS, TOO_MANY, PendingCommands
from edge_mer.client.signer import Signer
from edge_mer.client.transports import BusTransport
from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.control import Answer, Command
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import PrivacyError
from edge_mer.contract.messages import PrivacyState
from edge_mer.privacy.keys.identity import new_identity
from tests.switch_bench import SwitchBench


class Connection:
    """A program and a fake switch: ``sent`` yields the commands that arrived, ``answers`` are those received."""

    def __init__(self, signer: Signer | None = None) -> None:
        self.clock, broker = FakeClock(), MemoryBroker()
        self._server = MemoryBus(broker, self.clock).server("switch")
        transport = BusTransport(MemoryBus(broker, self.clock))
        self.commands = PendingCommands(transport, self.clock, "test", None if signer is None else lambda: signer)
        self.answers: list[Answer] = []
        self._peer = b""

    def command(self, action: str = "mask") -> None:
        self.commands.command(action, ("audio",), self.answers.append)

    def sent(self) -> Iterator[Command]:
        while (received := self._server.receive()) is not None:
            self._peer, command = received
            assert isinstance(command, Command)
            yield command

    def answer(self, command: Command, text: str = "", **states: PrivacyState) -> None:
        self._server.send(self._peer, Answer(id=command.id, ok=not text, text=text, modalities=states))  # type: ignore[arg-type]

    def pass_time(self, us: int) -> None:
        self.clock.advance(us)
        self.commands.turn()


def test_unanswered_command_is_resent_unchanged() -> None:
    connection = Connection()
    connection.command()
    connection.pass_time(SECOND // 2)
    first, again = connection.sent()
    assert first == again
    connection.answer(again)
    connection.answer(first)
    connection.pass_time(SECOND)
    connection.pass_time(3 * SECOND)
    assert [a.id for a in connection.answers] == [first.id]
    assert not list(connection.sent()), "an answered command is not resent"


def test_silent_switch_is_reported_once() -> None:
    connection = Connection()
    connection.command()
    for _ in range(10):
        connection.pass_time(SECOND)
    assert [(a.ok, a.text) for a in connection.answers] == [(False, NO_ANSWER)]


def test_oldest_of_too_many_commands_fails() -> None:
    connection = Connection()
    for _ in range(MOST_PENDING + 2):
        connection.command()
    assert [a.text for a in connection.answers] == [TOO_MANY] * 2


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, SECOND)), max_size=40))
def test_every_command_gets_exactly_its_own_answer(answered: list[tuple[int, int]]) -> None:
    connection = Connection()
    got: dict[int, list[Answer]] = {n: [] for n in range(10)}
    for n in range(10):
        connection.commands.command("mask", (MODALITIES[n % 3],), got[n].append)
    commands = list(connection.sent())
    for n, us in answered:  # in any order, several times, late
        connection.answer(commands[n], text=f"answer to {n}")
        connection.pass_time(us)
    connection.pass_time(connection.commands.patience_us)
    for n, answers in got.items():
        assert len(answers) == 1
        assert answers[0].text in (f"answer to {n}", NO_ANSWER)


def state(mask_epoch: int) -> PrivacyState:
    return PrivacyState("masked", "masked", 0, mask_epoch, None, None)


@given(st.dictionaries(st.sampled_from(MODALITIES), st.integers(0, 10**9)))
def test_grant_names_the_newest_mask_epoch(epochs: dict[Modality, int]) -> None:
    seen: list[int] = []

    class FakeIdentity:
        def grant(self, host: str, modalities: object, mask_epoch: int, wall_us: int) -> None:
            seen.append(mask_epoch)

    Signer(FakeIdentity(), "host", FakeClock()).grant(("audio",), {m: state(e) for m, e in epochs.items()})  # type: ignore[arg-type]
    assert seen == [max(epochs.values(), default=0)]


def test_unmask_queries_the_status_and_signs_it(tmp_path: Path) -> None:
    connection = Connection()
    connection = Connection(Signer(new_identity(tmp_path, "console"), "host", connection.clock))
    connection.commands.unmask(("audio",), connection.answers.append)
    (status,) = connection.sent()
    connection.answer(status, audio=state(3), video=state(8))
    connection.commands.turn()
    (unmask,) = connection.sent()
    assert (status.action, unmask.action) == ("status", "unmask")
    assert unmask.grant is not None
    assert (unmask.grant.mask_epoch, unmask.grant.modalities) == (8, ("audio",))


def test_unmask_without_keys_fails_with_a_message() -> None:
    connection = Connection()
    connection.commands.unmask(("audio",), connection.answers.append)
    connection.answer(next(connection.sent()))
    connection.commands.turn()
    assert [a.text for a in connection.answers] == [NO_KEYS]


def test_unreadable_keys_give_an_answer_not_an_exception(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)

    def damaged() -> Signer:
        raise PrivacyError("console.key is damaged")

    answers: list[Answer] = []
    commands = PendingCommands(BusTransport(bench.bus()), bench.clock, "test", damaged)
    commands.unmask(("audio",), answers.append)
    bench.turn(type("Loop", (), {"turn": staticmethod(commands.turn)}))
    assert [(a.ok, a.text) for a in answers] == [(False, "console.key is damaged")]


@pytest.mark.parametrize(("resume", "state_then"), [(True, "masked"), (False, "live")])
def test_resume_keeps_masks_that_users_set(tmp_path: Path, resume: bool, state_then: str) -> None:
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
