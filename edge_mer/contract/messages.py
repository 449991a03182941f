"""Typed messages, one per row of the services table.

Field names follow ISO/IEC 30150 and EmotionML where those have one. ``edge_mer.contract.wire`` encodes them as frames.

Every body field is a *result* (exact under replay) unless it is marked ``Delivery``; ``result_bytes`` is the
canonical form in which exact replay and non-interference compare results (.github/ARCHITECTURE.md). A field marked
``ADDED`` is no part of a result while it is null, so that sessions from before it keep their bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Generic, Literal, TypeVar, get_type_hints

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from numpy.typing import NDArray

from edge_mer.contract.domain import Combination, Emotion, EventLabel, Gate, Health, Modality
from edge_mer.contract.people import MaskedPeople, SeenPerson, VoiceCurve
from edge_mer.contract.people import People as People
from edge_mer.contract.raw import Body as Body
from edge_mer.contract.raw import RawAudio as RawAudio
from edge_mer.contract.raw import RawText as RawText
from edge_mer.contract.raw import RawVideo as RawVideo
from edge_mer.contract.raw import WordTime as WordTime

DELIVERY = Meta(extra={"part": "delivery"})
ADDED = Meta(extra={"part": "added"})


class ArraySpec(Struct, frozen=True):
    """dtype and shape of one payload frame; coded frames (JPEG) are ``uint8`` of their length."""

    dtype: str
    shape: tuple[int, ...]


class Envelope(Struct, kw_only=True, frozen=True):
    """Who made the message, when the physical event began, and when the message was made (monotonic, us).

    ``boot`` names one life of the source process; ``seq`` counts its messages on this topic from 0. Messages that leave
    the host also have ``room``, its setting ``run.room``, and ``time``: ``origin_us`` in UTC (RFC 3339), by topic
    ``clock``; without ``time`` as long as no ``clock`` has come.
    """

    schema: str
    source: str
    boot: str
    seq: int
    origin_us: int
    created_us: int
    payload: tuple[ArraySpec, ...] = ()
    room: str | UnsetType = UNSET
    time: str | UnsetType = UNSET


class SensorState(Body, frozen=True):
    """``state/<m>``: what the gate does and what the sensor is measured to do, two different things.

    ``health``: its values may become more; a reader takes one that it does not know for a sensor that is not usable.
    """

    modality: Modality
    gate: Gate
    health: Health
    reason: str | None
    device: str
    mask_epoch: int
    rate_hz: float
    dropped: int


class SeqRange(Struct, frozen=True):
    """Sequence numbers ``first`` to ``last``, both included."""

    first: int
    last: int


class Feature(Body, frozen=True):
    """Tokens of one modality. Payload: values f4 [n, dim], start_us i8 [n], end_us i8 [n], valid u1 [n].

    ``raw_first..raw_last`` is the sequence range of ``raw_boot`` that the tokens came from, without ``raw_skipped``:
    what was lost, late or unusable. ``began``: the encoder started anew with ``raw_first``. So a recording of the raw
    messages is enough to encode again. ``context`` and ``cut`` as in edge_mer.perception.encoder.Tokens.
    ``watermark_us``: everything before it has been encoded. ``reason``: why the newest token is not valid, where the
    encoder knows ("no face", "unbound": two faces and no telling whose).

    ``people`` (camera): everybody who is followed, each with a row of the payload or none; null where the encoder
    follows one face. ``voice`` (microphone): loudness of the voice since the feature before.
    """

    modality: Modality
    encoder: str
    model: str
    raw_source: str
    raw_boot: str
    raw_first: int
    raw_last: int
    context: int
    cut: bool
    final: bool
    watermark_us: int
    biometric: bool
    mask_epoch: int
    raw_created_us: Annotated[int, DELIVERY]
    reason: str | None = None
    raw_skipped: tuple[SeqRange, ...] = ()
    began: bool = False
    people: Annotated[tuple[SeenPerson, ...] | None, ADDED] = None
    voice: Annotated[VoiceCurve | None, ADDED] = None


class Presence(Struct, frozen=True):
    """Whether a modality takes part in an estimate, why (not), and with how many valid tokens."""

    state: str
    reason: str | None
    tokens: int


class Latency(Struct, frozen=True):
    """Milliseconds per stage, for the newest evidence in the window; ``total`` from its event to the message."""

    capture: float
    encode: float
    wait: float
    fuse: float
    publish: float
    total: float


class Estimate(Body, frozen=True):
    """``emotion``: the expressed emotion over one window. ``label`` is null when ``abstain`` names a reason: "unbound"
    (two faces), "unknown language", "warming up", "too few tokens", "no modality present", "out of distribution", "set
    too large", "low confidence"; what it concerns follows in brackets.

    ``prediction_set``, likeliest first, and ``sentiment_interval`` hold the truth with probability ``coverage``, on
    single windows of people and rooms like those of the fit; null where that was not measured.

    ``valence`` and ``arousal``, in [-1, 1] with 0 neutral, are what is expressed on the dimensions of
    edge_mer.fusion.affect; null with a reason for combinations where nothing measured supports them, and without one
    in sessions from before these fields.

    ``person``: whom it is of ("p3", "voice" for a voice off screen), null where nobody is told apart. ``focus``: true
    on exactly one estimate of a tick: of who speaks, else of the largest face; a client that reads only these needs to
    know nothing of people.
    """

    combination: Combination
    probabilities: dict[Emotion, float] | None
    label: Emotion | None
    abstain: str | None
    confidence: float | None
    calibrated: bool
    sentiment: float | None
    sentiment_reason: str | None
    presence: dict[Modality, Presence]
    revision: int
    final: bool
    biometric: bool
    mask_epoch: int
    model: str
    runtime: Annotated[str, DELIVERY]
    latency_ms: Annotated[Latency, DELIVERY]
    prediction_set: tuple[Emotion, ...] | None = None
    sentiment_interval: tuple[float, float] | None = None
    coverage: float | None = None
    valence: Annotated[float | None, ADDED] = None
    valence_reason: Annotated[str | None, ADDED] = None
    arousal: Annotated[float | None, ADDED] = None
    arousal_reason: Annotated[str | None, ADDED] = None
    person: Annotated[str | None, ADDED] = None
    focus: Annotated[bool | None, ADDED] = None

    @property
    def is_current(self) -> bool:
        """The first publication of its window; revisions and the final repetition are of windows in the past."""
        return not self.revision and not self.final


class Explain(Body, frozen=True):
    """``explain``: exact Shapley contribution of each present modality to the top label and to sentiment.

    ``mask_epoch`` is that of the estimate which it explains.
    """

    combination: Combination
    label: Emotion | None
    contributions: dict[Modality, float]
    sentiment_contributions: dict[Modality, float] | None
    mask_epoch: int


class EventChange(Body, frozen=True):
    """``event``: an expression of ``label`` ("positive" and "negative": a sentiment extreme) began or ended; both name
    the same ``event``.

    ``begin_us``: where its evidence began; ``end_us``: where the event ended, null at its beginning. ``combinations``
    are those that the evidence came from. ``evidence`` and ``threshold`` are natural logarithms of a likelihood ratio
    against "nobody expresses it", at the end the most that was reached. At this setting at most one event in
    ``hours_per_wrong`` is wrong, as measured; ``proven_hours``: what the sequential test guarantees by itself, if
    windows without common time are independent. ``reason``: why it ended. ``person``: as in Estimate.
    """

    event: str
    phase: Literal["begin", "end"]
    label: EventLabel
    begin_us: int
    end_us: int | None
    combinations: tuple[Combination, ...]
    evidence: float
    threshold: float
    hours_per_wrong: float
    proven_hours: float
    reason: str | None
    biometric: bool
    mask_epoch: int
    model: str
    person: Annotated[str | None, ADDED] = None


class InputRef(Struct, frozen=True, tag="message"):
    """A message that was folded: together the four fields name it uniquely."""

    topic: str
    source: str
    boot: str
    seq: int


class PurgeRef(Struct, frozen=True, tag="purge"):
    """A purge order that was folded at this place in the order."""

    modality: Modality
    mask_epoch: int


class CorrectionRef(Struct, frozen=True, tag="correction"):
    """From this place in the order on these factors of thresholds hold, by ``label/combination``; all others are 1."""

    factors: dict[str, float]


class Journal(Body, frozen=True):
    """What one tick folded, in order. ``chain`` hashes the entry before it, so swapped entries are found.

    ``results``: digests of estimates, then of events. ``entry`` 0 opens a life of the node: ``opening`` holds the
    fold's configuration and model, as JSON. It is repeated now and then, for a recorder that joins later.
    """

    entry: int
    tick_us: int
    inputs: tuple[InputRef | PurgeRef | CorrectionRef, ...]
    watermarks: dict[Modality, int]
    drops: dict[str, int]
    results: tuple[str, ...]
    chain: str
    opening: str | None = None


class PrivacyState(Struct, frozen=True):
    """What was asked of one modality and what holds, measured; ``last_seq`` is the last raw message before it.

    ``unconfirmed``: why a mask has no receipt after a second, as which process has not confirmed it. ``until_us``: wall
    time (since 1970) at which it opens by itself, when its timed mask ends; null when it does not.
    """

    requested: Gate
    effective: Gate
    since_us: int
    mask_epoch: int
    last_seq: int | None
    reason: str | None
    unconfirmed: tuple[str, ...] = ()
    until_us: int | None = None


class Privacy(Body, frozen=True):
    """``privacy``: command and state are different things. ``mask_epoch`` grows with every change.

    ``people``: who is masked alone; null as long as nobody ever was.
    """

    mask_epoch: int
    modalities: dict[Modality, PrivacyState]
    people: Annotated[MaskedPeople | None, ADDED] = None


class Receipt(Body, frozen=True):
    """``receipt``: proof that a mask took effect, also one line of ``receipts.jsonl`` in the privacy state directory.

    ``requested_us`` to ``purged_us`` are monotonic; ``wall_offset_us`` makes them wall time. ``checks`` says for each
    gate how its closing was measured. ``previous`` is the sha256 of the line before; ``signature`` (Ed25519, hex) is
    by the host key. ``in_room``: the setting ``run.room`` of then; older receipts have none.

    ``persons``: of a mask of single persons, all who are masked by it ("all": everybody in view). Then ``gate`` is that
    of the camera, which this mask did not close, ``closed_us`` when the last process had confirmed, ``purged`` which.
    """

    number: int
    modality: Modality
    gate: Gate
    mask_epoch: int
    requester: str
    requested_us: int
    closed_us: int
    purged_us: int
    wall_offset_us: int
    boot_id: str
    last_seq: int | None
    purged: tuple[str, ...]
    handle_closed: bool
    checks: tuple[str, ...]
    previous: str
    signature: str
    in_room: str | UnsetType = UNSET
    persons: tuple[str, ...] | UnsetType = UNSET


class WorkerHealth(Struct, frozen=True):
    """One worker as the supervisor sees it."""

    state: str
    pid: int | None
    restarts: int
    age_us: int | None
    reason: str | None
    cpu: float
    rss: int
    counters: dict[str, int]
    notes: tuple[str, ...] = ()


class HealthReport(Body, frozen=True):
    """``health``: every worker, once a second."""

    workers: dict[str, WorkerHealth]


class ClockReport(Body, frozen=True):
    """``clock``: the only place where monotonic time meets wall time; add ``offset_us`` to get wall time."""

    boot_id: str
    offset_us: int
    uncertainty_us: int


class HubHeartbeat(Body, frozen=True):
    """``heartbeat``: the hub is alive, and these are the topics that it carries. The next one comes in ``next_us``."""

    topics: tuple[str, ...]
    next_us: int


B = TypeVar("B", bound=Body)


class Message(Struct, Generic[B], frozen=True, eq=False):
    """One message as a reader gets it. ``header`` is the JSON of the wire; payload arrays are read-only views."""

    topic: str
    envelope: Envelope
    body: B
    payload: tuple[NDArray[Any], ...]
    header: bytes

    @property
    def ref(self) -> InputRef:
        e = self.envelope
        return InputRef(self.topic, e.source, e.boot, e.seq)


@cache
def schema_name(topic: str, version: int) -> str:
    """``raw/audio`` in version 1 is ``edge_mer.raw.audio/1``."""
    return f"edge_mer.{topic.replace('/', '.')}/{version}"


@cache
def delivery_fields(body: type[Body]) -> frozenset[str]:
    """Names of the fields that may differ between a run and its replay."""
    return _marked(body, DELIVERY)


@cache
def added_fields(body: type[Body]) -> frozenset[str]:
    """Names of the fields that are no part of a result while they are null."""
    return _marked(body, ADDED)


def _marked(body: type[Body], mark: Meta) -> frozenset[str]:
    hints = get_type_hints(body, include_extras=True)
    return frozenset(n for n, hint in hints.items() if mark in getattr(hint, "__metadata__", ()))


def result(origin_us: int, body: Body) -> dict[str, Any]:
    """The result fields: ``origin_us`` and every body field that is not marked delivery, nor added and null."""
    fields = msgspec.to_builtins(body)
    skip = delivery_fields(type(body)) | {name for name in added_fields(type(body)) if fields[name] is None}
    return {"origin_us": origin_us, **{k: v for k, v in fields.items() if k not in skip}}


def canonical(origin_us: int, body: Body, payload: Sequence[NDArray[Any]] = ()) -> bytes:
    """Canonical bytes of a result: sorted JSON, then the payload bytes."""
    header = msgspec.json.encode(result(origin_us, body), order="sorted")
    return b"\n".join([header, *(a.tobytes() for a in payload)])


def result_bytes(message: Message[Any]) -> bytes:
    """``canonical`` of a message as read from the bus or from a recording."""
    return canonical(message.envelope.origin_us, message.body, message.payload)


def digest(data: bytes) -> str:
    """sha256, first 32 hex digits."""
    return hashlib.sha256(data).hexdigest()[:32]
