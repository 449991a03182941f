"""The demo's director advances when it observed the awaited combination, and reports missing ones."""

from __future__ import annotations

import signal
from typing import Any

from edge_mer.client import PendingCommands
from edge_mer.client.signer import Signer
from edge_mer.client.snapshot import Snapshot
from edge_mer.client.transports import BusTransport
from edge_mer.contract.control import Answer, Command, Grant
from edge_mer.contract.domain import Combination
from edge_mer.demo.chaos import SCRIPT, WANTED, missing, summary
from edge_mer.demo.director import STAY_US, Director, Step
from tests.client.scene import Scene

GRANT = Grant(key="k", host="h", counter=1, mask_epoch=1, modalities=())


class FakeSigner(Signer):
    """Signs every grant with the same constant."""

    def grant(self, modalities: object, seen: object) -> Grant:
        return GRANT


class Stage(Scene):
    def __init__(self, script: tuple[Step, ...] = SCRIPT) -> None:
        super().__init__()
        self.switch = self._source.server("switch")
        self.killed: list[tuple[int, int]] = []
        self.commands: list[tuple[str, tuple[str, ...]]] = []
        self.snapshot = Snapshot(self.clock.now_us())
        switch = PendingCommands(
            BusTransport(self.bus), self.clock, "the demo", lambda: FakeSigner(None, "h", self.clock)
        )  # type: ignore[arg-type]
        self.director = Director(self.clock, self.snapshot, switch, script, kill=lambda *args: self.killed.append(args))

    def turn(self, *messages: Any, after_us: int = 100_000) -> None:
        self.clock.advance(after_us)
        for message in messages:
            self.snapshot.fold(message)
        self.director.turn(messages, self.clock.now_us())
        self.answer()

    def observe(self, combination: Combination) -> None:
        self.clock.advance(100_000)
        self.turn(self.estimate(combination))
        self.turn(after_us=STAY_US)

    def answer(self) -> None:
        """Answers like a switch that executes every command."""
        while (received := self.switch.receive()) is not None:
            peer, command = received
            assert isinstance(command, Command)
            assert (command.grant is not None) == (command.action == "unmask")
            self.commands.append((command.action, command.modalities))
            self.switch.send(peer, Answer(id=command.id, ok=True, text="", modalities={}, receipts=(1, 2)))


def test_script_awaits_every_combination_and_none() -> None:
    assert {step.until for step in SCRIPT} == WANTED


def test_script_masks_unmasks_and_kills() -> None:
    assert any(s.mask for s in SCRIPT)
    assert any(s.unmask for s in SCRIPT)
    assert {s.kill for s in SCRIPT} >= {"perception.audio", "file", "fusion"}


def test_complete_run_observes_every_combination() -> None:
    stage = Stage()
    stage.turn(stage.health(fusion=("running", 1), file=("running", 2), perception_audio=("running", 3)))
    pid = 100
    for step in SCRIPT:
        if step.back:
            pid += 1
            stage.turn(stage.health(fusion=("running", pid), file=("running", pid)))
        stage.observe(step.until)
    assert stage.director.done
    assert missing(stage.director) == []
    assert stage.director.failed == []
    assert [number for _, number in stage.killed] == [signal.SIGKILL] * 3


def test_step_acts_after_the_previous_one_was_reached() -> None:
    stage = Stage((Step("start", "atv"), Step("mask", "at", mask=("video",))))
    stage.turn()
    assert stage.commands == []
    stage.observe("atv")
    assert stage.commands == [("mask", ("video",))]


def test_estimate_from_before_the_action_does_not_count() -> None:
    stage = Stage((Step("start", "atv"),))
    old = stage.clock.now_us() - 1
    stage.turn()
    stage.turn(stage.estimate("atv", origin_us=old))
    stage.turn(after_us=STAY_US)
    assert not stage.director.done


def test_step_that_times_out_is_named() -> None:
    stage = Stage((Step("the camera is masked", "at", patience_s=5), Step("next", "a")))
    stage.turn()
    stage.turn(after_us=6_000_000)
    assert stage.director.failed == ["the camera is masked: at was not seen within 5 s"]
    stage.observe("a")
    assert stage.director.done
    assert "not yet seen: at" in "\n".join(summary(stage.director))


def test_step_waits_until_the_killed_process_runs_again() -> None:
    stage = Stage((Step("kill", "atv", kill="fusion", back=True),))
    stage.snapshot.fold(stage.health(fusion=("running", 7)))
    stage.turn()
    assert stage.killed == [(7, signal.SIGKILL)]
    stage.observe("atv")
    assert not stage.director.done
    stage.snapshot.fold(stage.health(fusion=("running", 8)))
    stage.observe("atv")
    assert stage.director.done
