"""What ``edge-mer demo`` shows: the scenes, then a mask and a crash that the estimate outlives. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from edge_mer.capture.playback.timeline import LEAD_US
from edge_mer.contract.clock import SECOND
from edge_mer.contract.messages import Estimate, Message, SensorState
from edge_mer.demo.director import Director, Step
from edge_mer.demo.scenes import Scene, Scenes

FACE_ENCODER: Final = "perception.video"
FINALE: Final = (
    Step("the microphone and the words are masked", "v", mask=("audio", "text")),
    Step("kill -9 of the face encoder", "v", kill=FACE_ENCODER, back=True, patience_s=12),
)
Verdict = Literal["agreed", "withheld", "wrong", "not seen"]


@dataclass
class SceneResult:
    """First estimates of one scene in which a face was seen: by label, and by reason where the label was withheld."""

    scene: Scene
    labels: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def windows(self) -> int:
        return self.labels.total() + self.reasons.total()

    @property
    def verdict(self) -> Verdict:
        """``agreed``: most windows have a label, and most labels are the intended one."""
        if not self.windows:
            return "not seen"
        right = self.labels[self.scene.intended]
        if 2 * right > self.labels.total():
            return "agreed" if 2 * self.labels.total() > self.windows else "withheld"
        return "wrong" if self.labels else "withheld"


@dataclass
class Showcase:
    """Follows the clip that ``edge-mer demo`` plays, and then has ``director`` run its steps, once there is one.

    ``newest`` is the newest first estimate; ``began_us`` the time of the clip's first instant, once it plays.
    """

    scenes: Scenes
    director: Director | None = None
    results: list[SceneResult] = field(init=False)
    newest: Message[Estimate] | None = None
    began_us: int | None = None
    _seen_us: int = 0

    def __post_init__(self) -> None:
        self.results = [SceneResult(scene) for scene in self.scenes.scenes]

    @property
    def done(self) -> bool:
        return self.director is not None and self.director.done

    @property
    def failed(self) -> list[str]:
        """What did not go as planned; labels that disagree are no failure of the demo."""
        unseen = [f"scene {i}: no face was seen" for i, r in enumerate(self.results, 1) if r.verdict == "not seen"]
        return unseen + (self.director.failed if self.director is not None else [])

    def turn(self, messages: Iterable[Message[Any]], now_us: int) -> None:
        for message in messages:
            if isinstance(message.body, SensorState):
                self._begin(message)
            elif message.topic == "emotion" and message.envelope.origin_us > self._seen_us:
                self._seen_us = message.envelope.origin_us
                self.newest = message
                self._count(message)
        if self.director is not None and self.position_s(now_us) > self.scenes.duration_s:
            self.director.turn(messages, now_us)

    def position_s(self, at_us: int) -> float:
        """Seconds since the clip began, over all laps; negative before."""
        return -1.0 if self.began_us is None else (at_us - self.began_us) / SECOND

    def _begin(self, message: Message[SensorState]) -> None:
        """The clip begins a fixed time after its first gate opened."""
        if self.began_us is None and message.body.gate == "live":
            self.began_us = message.envelope.created_us + LEAD_US

    def _count(self, message: Message[Estimate]) -> None:
        """Windows of the first lap count for the scene in which they end."""
        position = self.position_s(message.envelope.origin_us)
        if "v" not in message.body.combination or not 0 <= position < self.scenes.duration_s:
            return
        scene = self.scenes.at(position)
        result = next(r for r in self.results if r.scene is scene)
        if message.body.label is not None:
            result.labels[message.body.label] += 1
        else:
            result.reasons[message.body.abstain or ""] += 1
