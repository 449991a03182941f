"""THE table: one row per topic. Sockets, limits, recording, lineage and the public plane all follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_mer.contract import messages as m
from edge_mer.contract.domain import MODALITIES, Modality

Policy = Literal["latest", "reliable"]
Logged = Literal["default", "consent", "never"]


@dataclass(frozen=True, slots=True)
class Service:
    """``rate_hz`` is the most that normal work sends; ``max_bytes`` bounds one message.

    ``parents`` are the topics that this one is derived from: masking follows them. ``logged="consent"`` rows are
    recorded only when the householder said so; ``public`` rows may leave the host through the hub. ``on_request`` rows
    are made only while somebody reads them, so a recorder must not.
    """

    topic: str
    body: type[m.Body]
    version: int
    rate_hz: float
    policy: Policy
    max_bytes: int
    modality: Modality | None = None
    parents: tuple[str, ...] = ()
    logged: Logged = "default"
    public: bool = False
    biometric: bool = False
    on_request: bool = False

    @property
    def schema(self) -> str:
        return m.schema_name(self.topic, self.version)

    @property
    def high_water_mark(self) -> int:
        """Messages that cover a stall of 10 s at 1.5 times the rate: a smaller mark would keep the oldest."""
        return max(32, round(self.rate_hz * 15))


KB, MB = 1_000, 1_000_000

_ROWS = (
    Service("raw/audio", m.RawAudio, 1, 31.25, "latest", 64 * KB, "audio", (), "consent", False, True),
    Service("raw/video", m.RawVideo, 1, 15, "latest", 2 * MB, "video", (), "consent", False, True),
    Service("raw/text", m.RawText, 1, 10, "latest", 256 * KB, "text", ("raw/audio",), "consent", False, True),
    Service("state/audio", m.SensorState, 1, 2, "latest", 8 * KB, "audio", (), "default", True),
    Service("state/video", m.SensorState, 1, 2, "latest", 8 * KB, "video", (), "default", True),
    Service("state/text", m.SensorState, 1, 2, "latest", 8 * KB, "text", (), "default", True),
    Service("feature/audio", m.Feature, 1, 8, "latest", 256 * KB, "audio", ("raw/audio",), "default", False, True),
    Service("feature/video", m.Feature, 1, 5, "latest", 256 * KB, "video", ("raw/video",), "default", False, True),
    Service("feature/text", m.Feature, 1, 10, "latest", 1 * MB, "text", ("raw/text",), "default", False, True),
    Service(
        "emotion",
        m.Estimate,
        1,
        10,
        "latest",
        32 * KB,
        None,
        ("feature/audio", "feature/video", "feature/text"),
        "default",
        True,
        True,
    ),
    Service("explain", m.Explain, 1, 2, "latest", 16 * KB, None, ("emotion",), "never", True, True, True),
    Service("journal", m.Journal, 1, 2, "reliable", 1 * MB),
    Service("privacy", m.Privacy, 1, 2, "latest", 16 * KB, None, (), "default", True),
    Service("receipt", m.Receipt, 1, 1, "reliable", 16 * KB, None, (), "default", True),
    Service("health", m.HealthReport, 1, 1, "latest", 64 * KB, None, (), "default", True),
    Service("clock", m.ClockReport, 1, 1, "latest", 4 * KB, None, (), "default", True),
    Service("heartbeat", m.HubHeartbeat, 1, 1, "latest", 4 * KB, None, (), "never", True),
)

SERVICES: dict[str, Service] = {row.topic: row for row in _ROWS}


def _prefixes(topics: list[str]) -> list[tuple[str, str]]:
    return [(a, b) for a in topics for b in topics if a != b and b.startswith(a)]


if clash := _prefixes(list(SERVICES)):
    raise AssertionError(f"ZMQ matches prefixes, so no topic may begin another: {clash}")


def derived_from(topic: str) -> frozenset[str]:
    """All topics below ``topic`` in the lineage: what a mask of it must purge."""
    below: set[str] = set()
    frontier = {topic}
    while frontier:
        frontier = {s.topic for s in _ROWS if frontier & set(s.parents)} - below
        below |= frontier
    return frozenset(below)


def masked_with(modality: Modality, transcribed: bool) -> frozenset[Modality]:
    """The modalities that a mask of ``modality`` closes: words made from the microphone go with it, typed ones stay."""
    below = derived_from(f"raw/{modality}") if transcribed else frozenset()
    return frozenset({modality} | {x for x in MODALITIES if f"raw/{x}" in below})
