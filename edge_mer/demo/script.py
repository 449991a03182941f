"""The script of ``edge-mer demo``, as data, and the director that plays it by what is seen, not by the clock."""

from __future__ import annotations

import os
import signal
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, get_args

from edge_mer.bus import Bus
from edge_mer.client.snapshot import Snapshot
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Answer, Command
from edge_mer.contract.domain import Combination, Modality
from edge_mer.contract.messages import Estimate, Message, PrivacyState


@dataclass(frozen=True, slots=True)
class Step:
    """Do one thing, then wait until an estimate of a later window has the combination ``until``.

    ``back``: wait also until the killed process runs again.
    """

    say: str
    until: Combination
    mask: tuple[Modality, ...] = ()
    unmask: tuple[Modality, ...] = ()
    kill: str | None = None
    back: bool = False
    patience_s: float = 8


SCRIPT: tuple[Step, ...] = (
    Step("all three sensors play", "atv", patience_s=12),
    Step("the camera is masked", "at", mask=("video",)),
    Step("the words are masked too", "a", mask=("text",)),
    Step("the camera may open again", "av", unmask=("video",)),
    Step("kill -9 of the audio encoder", "v", kill="perception.audio"),
    Step("the supervisor brings it back", "av"),
    Step("the microphone is masked, the words may come again", "tv", mask=("audio",), unmask=("text",)),
    Step("the camera is masked", "t", mask=("video",)),
    Step("everything is masked", "none", mask=("text",)),
    Step("all sensors may open again", "atv", unmask=("audio", "video", "text")),
    Step("kill -9 of the capture process", "atv", kill="file", back=True),
    Step("kill -9 of the fusion node", "atv", kill="fusion", back=True),
)
WANTED = frozenset(get_args(Combination))
LIMIT_S = 55.0
STAY_US = 3 * SECOND // 2  # so that a person can see what a step did


class Signer(Protocol):
    """Signs what needs leave: client.local_switch.LocalSwitch."""

    def granted(self, command: Command, seen: Mapping[Modality, PrivacyState]) -> Command: ...


@dataclass
class Director:
    """Plays a script on a running instance. ``seen`` maps every combination to when it was first seen (us)."""

    bus: Bus
    picture: Snapshot
    console: Signer
    script: tuple[Step, ...] = SCRIPT
    kill: Callable[[int, int], object] = os.kill
    stay_us: int = STAY_US
    seen: dict[Combination, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    _number: int = -1
    _acted_us: int = 0
    _reached_us: int | None = None
    _killed_pid: int | None = None

    def __post_init__(self) -> None:
        self._switch = self.bus.client("switch")

    @property
    def done(self) -> bool:
        return self._number >= len(self.script)

    @property
    def missing(self) -> list[str]:
        return sorted(WANTED - set(self.seen))

    def turn(self, messages: Iterable[Message[Any]]) -> None:
        """Look at what came, and go on when the awaited combination is there or patience has ended."""
        while isinstance(answer := self._switch.receive(), Answer):
            if not answer.ok:
                self.failed.append(answer.text)
        for message in messages:
            if isinstance(message.body, Estimate):
                self.seen.setdefault(message.body.combination, message.envelope.created_us)
                if self._reached_us is None and self._is_awaited(message):
                    self._reached_us = message.envelope.created_us
        if not self.done:
            self._advance(self.bus.clock.now_us())

    def _advance(self, now: int) -> None:
        if self._number < 0:
            self._next(now)
            return
        step = self.script[self._number]
        if self._reached_us is not None:
            if now - self._reached_us >= self.stay_us:
                self._next(now)
        elif now - self._acted_us > step.patience_s * SECOND:
            self.failed.append(f"{step.say}: {step.until} was not seen within {step.patience_s:.0f} s")
            self._next(now)

    def _is_awaited(self, message: Message[Estimate]) -> bool:
        if not 0 <= self._number < len(self.script):
            return False
        step = self.script[self._number]
        later = message.envelope.origin_us > self._acted_us
        return later and message.body.combination == step.until and (not step.back or self._is_back(step.kill))

    def _is_back(self, name: str | None) -> bool:
        worker = self.picture.health.workers.get(name or "") if self.picture.health else None
        return worker is not None and worker.state == "running" and worker.pid != self._killed_pid

    def _next(self, now: int) -> None:
        self._number += 1
        self._acted_us, self._reached_us = now, None
        if self.done:
            return
        step = self.script[self._number]
        self.picture.note(now, f"step {self._number + 1} of {len(self.script)}: {step.say}; awaiting {step.until}")
        self._command("mask", step.mask)
        self._command("unmask", step.unmask)
        if step.kill is not None:
            self._kill(step.kill)

    def _command(self, action: str, modalities: tuple[Modality, ...]) -> None:
        if not modalities:
            return
        command = Command(
            id=f"demo-{self._number}-{action}", action=action, modalities=modalities, requester="the demo"
        )
        seen = self.picture.privacy.modalities if self.picture.privacy is not None else {}
        self._switch.send(self.console.granted(command, seen) if action == "unmask" else command)

    def _kill(self, name: str) -> None:
        worker = self.picture.health.workers.get(name) if self.picture.health else None
        if worker is None or worker.pid is None:
            self.failed.append(f"{name} does not run, so it cannot be killed")
            return
        self._killed_pid = worker.pid
        self.kill(worker.pid, signal.SIGKILL)

    def summary(self) -> list[str]:
        """What was seen, for people."""
        order = sorted(self.seen.items(), key=lambda item: item[1])
        began = self.picture.started_us
        seen = "seen: " + ", ".join(f"{c} at {(at - began) / 1e6:.1f} s" for c, at in order)
        lines = textwrap.wrap(seen, 78, subsequent_indent="      ")
        lines.append(f"restarts of killed processes: {self.picture.restarts}")
        lines += [f"not as planned: {text}" for text in self.failed]
        if self.missing:
            return [*lines, f"missing: {', '.join(self.missing)}"]
        return [*lines, "all seven combinations and none were seen; next: edge-mer doctor, then edge-mer run"]
