"""Messages as received from the topics, for tests of the view and of the demo's director."""

from __future__ import annotations

from typing import Any

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.contract.clock import FakeClock
from edge_mer.contract.domain import EMOTIONS, MODALITIES, Combination, Gate, Health, Modality, modalities_of
from edge_mer.contract.messages import (
    Estimate,
    HealthReport,
    Latency,
    Message,
    People,
    Presence,
    SensorState,
    WorkerHealth,
)
from edge_mer.contract.people import PersonInView


class Scene:
    """Publishers of the topics that the view reads, on one bus with a fake clock."""

    def __init__(self) -> None:
        self.clock, self.broker = FakeClock(), MemoryBroker()
        self.bus = MemoryBus(self.broker, self.clock)
        self._source = MemoryBus(self.broker, self.clock)
        self._publishers: dict[str, Any] = {}

    def send(self, topic: str, body: Any, origin_us: int | None = None) -> Message[Any]:
        if topic not in self._publishers:
            self._publishers[topic] = self._source.publisher(topic, "scene")
        message: Message[Any] = self._publishers[topic].send(body, origin_us=origin_us or self.clock.now_us())
        return message

    def people(self, *people: PersonInView, voice: str | None = None) -> Message[Any]:
        return self.send("people", People(people=people, voice=voice, biometric=True, mask_epoch=1))

    def estimate(
        self,
        combination: Combination,
        final: bool = False,
        origin_us: int | None = None,
        person: str | None = None,
        focus: bool | None = None,
    ) -> Message[Any]:
        """Of ``person``, on the topic of whom is in focus or of the others."""
        used = modalities_of(combination)
        some = combination != "none"
        body = Estimate(
            combination=combination,
            probabilities={e: 1.0 if e == "happy" else 0.0 for e in EMOTIONS} if some else None,
            label="happy" if some else None,
            abstain=None if some else "no modality present",
            confidence=1.0 if some else None,
            calibrated=False,
            sentiment=1.25 if "t" in combination else None,
            sentiment_reason=None if "t" in combination else "no labelled data for this combination",
            presence={
                m: Presence("present" if m in used else "absent", None if m in used else "no words", 3)
                for m in MODALITIES
            },
            revision=0,
            final=final,
            biometric=False,
            mask_epoch=1,
            model="m",
            runtime="r",
            latency_ms=Latency(1, 2, 3, 4, 5, 15),
            person=person,
            focus=focus,
        )
        return self.send("person" if focus is False else "emotion", body, origin_us)

    def sensor(
        self, modality: Modality, gate: Gate = "live", health: Health = "ok", reason: str | None = None
    ) -> Message[Any]:
        return self.send(
            f"state/{modality}",
            SensorState(
                modality=modality,
                gate=gate,
                health=health,
                reason=reason,
                device="demo.mkv",
                mask_epoch=1,
                rate_hz=15.0,
                dropped=0,
            ),
        )

    def health(self, **states: tuple[str, int]) -> Message[Any]:
        """``fusion=("running", 41)``: state and process id."""
        return self.send(
            "health",
            HealthReport(
                workers={
                    name.replace("_", "."): WorkerHealth(
                        state,
                        pid,
                        0 if state == "running" else 1,
                        0,
                        None if state == "running" else "ended by SIGKILL",
                        0.1,
                        10**8,
                        {},
                    )
                    for name, (state, pid) in states.items()
                }
            ),
        )
