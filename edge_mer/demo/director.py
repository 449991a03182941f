"""Steps that mask, unmask and kill, and the director that advances them by observed estimates, not by time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from edge_mer.client import PendingCommands
from edge_mer.client.snapshot import Snapshot
from edge_mer.contract.clock import SECOND, Clock
from edge_mer.contract.control import Answer
from edge_mer.contract.domain import Combination, Modality
from edge_mer.contract.messages import Estimate, Message


@dataclass(frozen=True, slots=True)
class Step:
    """One action, then a wait until an estimate of a later window has the combination ``until``.

    ``back``: also wait until the killed process runs again.
    """

    title: str
    until: Combination
    mask: tuple[Modality, ...] = ()
    unmask: tuple[Modality, ...] = ()
    kill: str | None = None
    back: bool = False
    patience_s: float = 8


STAY_US = 3 * SECOND // 2  # so that a user can see the effect of a step


@dataclass
class Director:
    """Runs a script on an instance. ``seen`` maps every combination to the time it was first seen (us).

    ``reached``: the steps that came true, each with the time that it took (us). ``receipts`` prove the masks;
    ``proven_us``: the time from the last mask to its proof.
    """

    clock: Clock
    snapshot: Snapshot
    switch: PendingCommands
    script: tuple[Step, ...]
    kill: Callable[[int, int], object] = os.kill
    stay_us: int = STAY_US
    seen: dict[Combination, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    reached: list[tuple[Step, int]] = field(default_factory=list)
    receipts: tuple[int, ...] = ()
    proven_us: int = 0
    _number: int = -1
    _acted_us: int = 0
    _reached_us: int | None = None
    _killed_pid: int | None = None

    @property
    def done(self) -> bool:
        return self._number >= len(self.script)

    def turn(self, messages: Iterable[Message[Any]], now_us: int) -> None:
        """Process messages, and advance when the awaited combination was seen or the step timed out."""
        self.switch.turn()
        for message in messages:
            if message.topic == "emotion":
                self.seen.setdefault(message.body.combination, message.envelope.created_us)
                if self._reached_us is None and self._is_awaited(message):
                    self._reached_us = message.envelope.created_us
                    self.reached.append((self.script[self._number], self._reached_us - self._acted_us))
        if not self.done:
            self._advance(now_us)

    def _advance(self, now: int) -> None:
        if self._number < 0:
            self._next(now)
            return
        step = self.script[self._number]
        if self._reached_us is not None:
            if now - self._reached_us >= self.stay_us:
                self._next(now)
        elif now - self._acted_us > step.patience_s * SECOND:
            self.failed.append(f"{step.title}: {step.until} was not seen within {step.patience_s:.0f} s")
            self._next(now)

    def _is_awaited(self, message: Message[Estimate]) -> bool:
        if not 0 <= self._number < len(self.script):
            return False
        step = self.script[self._number]
        later = message.envelope.origin_us > self._acted_us
        return later and message.body.combination == step.until and (not step.back or self._is_back(step.kill))

    def _is_back(self, name: str | None) -> bool:
        worker = self.snapshot.health.workers.get(name or "") if self.snapshot.health else None
        return worker is not None and worker.state == "running" and worker.pid != self._killed_pid

    def _next(self, now: int) -> None:
        self._number += 1
        self._acted_us, self._reached_us = now, None
        if self.done:
            return
        step = self.script[self._number]
        self.snapshot.note(now, f"step {self._number + 1} of {len(self.script)}: {step.title}; awaiting {step.until}")
        self._send_commands(step)
        if step.kill is not None:
            self._kill(step.kill)

    def _send_commands(self, step: Step) -> None:
        if step.mask:
            self.switch.command("mask", step.mask, self._masked)
        if step.unmask:
            self.switch.unmask(step.unmask, self._answered)

    def _answered(self, answer: Answer) -> None:
        if not answer.ok:
            self.failed.append(answer.text)

    def _masked(self, answer: Answer) -> None:
        self._answered(answer)
        self.receipts, self.proven_us = answer.receipts, self.clock.now_us() - self._acted_us

    def _kill(self, name: str) -> None:
        worker = self.snapshot.health.workers.get(name) if self.snapshot.health else None
        if worker is None or worker.pid is None:
            self.failed.append(f"{name} cannot be killed: it does not run")
            return
        self._killed_pid = worker.pid
        self.kill(worker.pid, signal.SIGKILL)
