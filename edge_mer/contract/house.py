"""Messages of a house of rooms: ``voice`` of a room, ``house`` and ``binding`` of the process ``house``."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from edge_mer.contract.domain import Emotion, Gate, Modality
from edge_mer.contract.messages import InputRef
from edge_mer.contract.raw import Body

# Length of one value of ``voice``.
VOICE_STEP_US = 100_000


class Voice(Body, frozen=True):
    """``voice``: the level of speech in each tenth of a second, in dB below full scale, rounded to 1 dB; null where no
    voice was detected. The first begins at ``origin_us``. Published only with the consent ``house``."""

    levels: tuple[int | None, ...]
    mask_epoch: int


class RoomState(Struct, frozen=True):
    """One room as the house sees it. ``reachable`` false: nothing arrives, ``reason`` says what; its gates are then
    unknown and ``gates`` is empty. A gate is ``live`` unless it is masked and closed. ``sensed``: the modalities in the
    room's newest estimate, ``label`` what it says.

    ``until_us``: wall time at which the room opens by itself. ``uncertainty_us``: of the time of its messages here.
    """

    reachable: bool
    reason: str | None
    gates: dict[Modality, Gate]
    sensed: tuple[Modality, ...]
    label: Emotion | None
    until_us: int | None
    uncertainty_us: int | None


class HouseMask(Struct, frozen=True):
    """The newest mask of the house. It is ``proven`` once every room has proven it; while it is ``pending`` it is
    repeated, and ``missing`` names each room without proof and why. ``withdrawn``: it is no longer repeated; what is
    masked stays masked. ``receipt``: number of the joint receipt. Times are wall time.
    """

    id: str
    state: Literal["pending", "proven", "withdrawn"]
    requester: str
    asked_us: int
    until_us: int | None
    proven: tuple[str, ...]
    missing: dict[str, str]
    receipt: int | None


class HeardVoice(Struct, frozen=True):
    """One utterance, in whatever number of rooms it was heard. ``room``: the nearest, that is the loudest; null when
    ``unbound`` says why there is none. ``levels``: dB in each room that heard it. Times are those of the house's host
    (monotonic), exact to ``uncertainty_us``. ``label``: what the room's estimate of that time says.
    """

    room: str | None
    unbound: str | None
    start_us: int
    end_us: int
    uncertainty_us: int
    levels: dict[str, int]
    label: Emotion | None


class House(Body, frozen=True):
    """``house``: all rooms, the mask of the house, and the latest utterances."""

    rooms: dict[str, RoomState]
    mask: HouseMask | None
    voices: tuple[HeardVoice, ...]


class RoomInput(Struct, frozen=True, tag="message"):
    """A message of a room that was folded, and what turns its times into those of the house."""

    room: str
    ref: InputRef
    offset_us: int
    uncertainty_us: int


class RoomPurge(Struct, frozen=True, tag="purge"):
    """The microphone of a room was masked here in the order."""

    room: str


class Binding(Body, frozen=True):
    """``binding``: the journal of the house. One tick: what was folded, in order, and digests of the utterances.

    ``chain`` hashes the entry before it. The rooms' sessions and these entries give the same utterances again.
    """

    entry: int
    tick_us: int
    inputs: tuple[RoomInput | RoomPurge, ...]
    results: tuple[str, ...]
    chain: str
