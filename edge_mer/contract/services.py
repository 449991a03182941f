"""The services table: one row per topic. Sockets, limits, recording, lineage and public topics follow from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from edge_mer.contract import house
from edge_mer.contract import messages as m
from edge_mer.contract.modalities import KB, MB, MODALITIES, TABLE, Modality

Policy = Literal["latest", "reliable"]
Logged = Literal["default", "consent", "never"]


@dataclass(frozen=True, slots=True)
class Service:
    """``rate_hz`` is the highest rate in normal operation; ``max_bytes`` bounds one message.

    ``parents`` are the topics that this one is derived from: masking follows them. ``logged="consent"`` rows are
    recorded only with a user's consent; ``public`` rows may leave the host through the hub. ``on_request`` rows are
    published only while they have a reader, so a recorder must not read them. A row that is ``split_from`` another is
    on no socket of the host: the gateway sends the messages of that topic that are not current under it. Of a row that
    is ``current_only`` it sends no others.
    """

    topic: str
    body: type[m.Body]
    _: KW_ONLY
    rate_hz: float
    max_bytes: int
    version: int = 1
    policy: Policy = "latest"
    modality: Modality | None = None
    parents: tuple[str, ...] = ()
    logged: Logged = "default"
    public: bool = False
    biometric: bool = False
    on_request: bool = False
    split_from: str | None = None
    current_only: bool = False

    @property
    def schema(self) -> str:
        return m.schema_name(self.topic, self.version)

    @property
    def high_water_mark(self) -> int:
        """Messages that cover a stall of 10 s at 1.5 times the rate: a full queue would keep the oldest messages."""
        return max(32, round(self.rate_hz * 15))


def _of_sensor(modality: Modality) -> Iterator[Service]:
    row, name = TABLE[modality], modality
    yield Service(
        f"raw/{name}",
        row.raw,
        rate_hz=row.raw_rate_hz,
        max_bytes=row.raw_bytes,
        modality=name,
        parents=tuple(f"raw/{parent}" for parent in row.made_from),
        logged="consent",
        biometric=True,
    )
    yield Service(f"state/{name}", m.SensorState, rate_hz=2, max_bytes=8 * KB, modality=name, public=True)
    yield Service(
        f"feature/{name}",
        m.Feature,
        rate_hz=row.feature_rate_hz,
        max_bytes=row.feature_bytes,
        modality=name,
        parents=(f"raw/{name}",),
        biometric=True,
    )


_ROWS = (
    # All raw topics, then all states, then all features.
    *(row for kind in zip(*map(_of_sensor, MODALITIES), strict=True) for row in kind),
    Service(
        "emotion",
        m.Estimate,
        rate_hz=10,
        max_bytes=32 * KB,
        parents=tuple(f"feature/{name}" for name in MODALITIES),
        public=True,
        biometric=True,
    ),
    Service(
        "person",
        m.Estimate,
        rate_hz=40,
        max_bytes=32 * KB,
        parents=tuple(f"feature/{name}" for name in MODALITIES),
        public=True,
        biometric=True,
        current_only=True,
    ),
    Service(
        "people",
        m.People,
        rate_hz=2,
        max_bytes=16 * KB,
        parents=tuple(f"feature/{name}" for name in MODALITIES),
        public=True,
        biometric=True,
    ),
    Service(
        "revision",
        m.Estimate,
        rate_hz=8,
        max_bytes=32 * KB,
        parents=("emotion",),
        logged="never",
        public=True,
        biometric=True,
        split_from="emotion",
    ),
    Service(
        "explain",
        m.Explain,
        rate_hz=2,
        max_bytes=16 * KB,
        parents=("emotion",),
        logged="never",
        public=True,
        biometric=True,
        on_request=True,
    ),
    Service(
        "event",
        m.EventChange,
        rate_hz=2,
        max_bytes=8 * KB,
        policy="reliable",
        parents=("emotion",),
        public=True,
        biometric=True,
    ),
    Service("journal", m.Journal, rate_hz=2, max_bytes=1 * MB, policy="reliable"),
    Service("privacy", m.Privacy, rate_hz=2, max_bytes=16 * KB, public=True),
    Service("receipt", m.Receipt, rate_hz=1, max_bytes=16 * KB, policy="reliable", public=True),
    Service("health", m.HealthReport, rate_hz=1, max_bytes=64 * KB, public=True),
    Service("clock", m.ClockReport, rate_hz=1, max_bytes=4 * KB, public=True),
    Service(
        "voice",
        house.Voice,
        rate_hz=2,
        max_bytes=4 * KB,
        modality="audio",
        parents=("raw/audio",),
        public=True,
        biometric=True,
    ),
    Service("house", house.House, rate_hz=4, max_bytes=64 * KB, logged="never", public=True, biometric=True),
    Service("binding", house.Binding, rate_hz=4, max_bytes=256 * KB, policy="reliable"),
    Service("heartbeat", m.HubHeartbeat, rate_hz=1, max_bytes=4 * KB, logged="never", public=True),
)

SERVICES: dict[str, Service] = {row.topic: row for row in _ROWS}


def _prefixes(topics: list[str]) -> list[tuple[str, str]]:
    return [(a, b) for a in topics for b in topics if a != b and b.startswith(a)]


if clash := _prefixes(list(SERVICES)):
    raise AssertionError(f"ZMQ matches prefixes, so no topic may begin another: {clash}")


def derived_from(topic: str) -> frozenset[str]:
    """All topics below ``topic`` in the lineage: a mask of ``topic`` must purge them."""
    below: set[str] = set()
    frontier = {topic}
    while frontier:
        frontier = {s.topic for s in _ROWS if frontier & set(s.parents)} - below
        below |= frontier
    return frozenset(below)


def masked_with(modality: Modality, transcribed: bool) -> frozenset[Modality]:
    """The modalities that a mask of ``modality`` closes: words from the microphone with it, typed ones not."""
    below = derived_from(f"raw/{modality}")
    made = {x for x in MODALITIES if f"raw/{x}" in below and (transcribed or not TABLE[x].stands_alone)}
    return frozenset({modality} | made)
