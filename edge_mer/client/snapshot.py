"""The current state of an instance for display, folded from the topics. No I/O."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec

from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.messages import Estimate, HealthReport, Message, People, Privacy, SensorState
from edge_mer.contract.visible_fields import visible_fields

TOPICS = ("emotion", "person", "people", *(f"state/{m}" for m in MODALITIES), "privacy", "health")
WORDS = {
    "none": "nothing",
    "restarting": "is restarting",
    "failed": "has failed",
    "running": "runs",
    "starting": "starts",
    "stopped": "has stopped",
}
MOST_EVENTS = 50
RECORDER = "recorder"


@dataclass
class Snapshot:
    """``events`` are (time in us, text), newest last. ``started_us`` and ``latest_us``: of the observation.

    ``off``: modalities that the configuration leaves out. ``recording_stopped``: why a recording ended early; None
    while it runs, or without one. ``people``: who is in view; ``persons``: the newest estimate of each by their number.
    """

    started_us: int
    estimate: Message[Estimate] | None = None
    sensors: dict[Modality, SensorState] = field(default_factory=dict)
    privacy: Privacy | None = None
    health: HealthReport | None = None
    events: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=MOST_EVENTS))
    noted: int = 0
    recording_stopped: str | None = None
    latest_us: int = 0
    off: frozenset[Modality] = frozenset()
    people: Message[People] | None = None
    persons: dict[str, Message[Estimate]] = field(default_factory=dict)

    def note(self, at_us: int, text: str) -> None:
        self.noted += 1
        self.events.append((at_us, text))

    @property
    def restarts(self) -> int:
        return sum(w.restarts for w in self.health.workers.values()) if self.health else 0

    def fold(self, message: Message[Any]) -> None:
        if not isinstance(message.body, Estimate | SensorState | Privacy | HealthReport | People):
            return
        body, at = visible_fields(message.body), message.envelope.created_us
        if isinstance(body, Estimate):
            shown: Message[Estimate] = msgspec.structs.replace(message, body=body)
            if body.person is not None and body.is_current:
                self.persons[body.person] = shown
            if message.topic == "emotion":
                self._estimate(shown, at)
        elif isinstance(body, People):
            self.people = msgspec.structs.replace(message, body=body)
            there = {p.person for p in body.people} | {body.voice}
            self.persons = {name: estimate for name, estimate in self.persons.items() if name in there}
        elif isinstance(body, SensorState):
            self._sensor(body, at)
        elif isinstance(body, Privacy):
            self._privacy(body, at)
        elif isinstance(body, HealthReport):
            self._health(body, at)

    def _estimate(self, message: Message[Estimate], at: int) -> None:
        """Keep the newest window only; late revisions of older windows are ignored."""
        was = self.estimate
        if was is not None and message.envelope.origin_us < was.envelope.origin_us:
            return
        if was is not None and was.body.combination != message.body.combination:
            self.note(at, f"combination {was.body.combination} -> {message.body.combination}")
        self.estimate = message

    def _sensor(self, body: SensorState, at: int) -> None:
        was = self.sensors.get(body.modality)
        if was is not None and (was.gate, was.health) != (body.gate, body.health):
            reason = f": {body.reason}" if body.reason else ""
            self.note(at, f"{body.modality}: gate {body.gate}, sensor {body.health}{reason}")
        self.sensors[body.modality] = body

    def _privacy(self, body: Privacy, at: int) -> None:
        for m in MODALITIES:
            was = self.privacy.modalities.get(m) if self.privacy else None
            now = body.modalities.get(m)
            if was is not None and now is not None and was.requested != now.requested:
                self.note(at, f"{m} requested: {now.requested}" + (f" ({now.reason})" if now.reason else ""))
        before = self.privacy.people if self.privacy is not None else None
        if before is not None and body.people is not None and before.mask_epoch != body.people.mask_epoch:
            who = "everybody in view" if body.people.everybody else ", ".join(body.people.persons) or "nobody"
            self.note(at, f"persons masked: {who}" + (f" ({body.people.reason})" if body.people.reason else ""))
        self.privacy = body

    def _health(self, body: HealthReport, at: int) -> None:
        for name, worker in body.workers.items():
            was = self.health.workers.get(name) if self.health else None
            if name == RECORDER and worker.counters.get("stopped") and not self.recording_stopped:
                self.recording_stopped = "; ".join(worker.notes) or "recording stopped"
                self.note(at, self.recording_stopped)
            if was is None or was.state == worker.state or worker.state == "starting":
                continue
            back = worker.state == "running"
            if back and worker.restarts == 0:
                continue
            reason = f": {worker.reason}" if worker.reason and not back else ""
            self.note(at, f"{name} {'is back' if back else WORDS.get(worker.state, worker.state)}{reason}")
        self.health = body
