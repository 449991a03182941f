"""Messages of the reliable plane: commands, leases, purges, heartbeats. Acknowledged, never published.

Each endpoint is a ROUTER that its owner binds: ``switch`` and ``door`` (privacy), ``supervisor`` (processes), and one
per reliable topic.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

from edge_mer.contract.domain import Gate, Modality
from edge_mer.contract.errors import BadMessage
from edge_mer.contract.messages import PrivacyState, Receipt
from edge_mer.contract.people import MaskedPeople


class Control(Struct, kw_only=True, frozen=True, tag_field="kind", tag=str.lower):
    """Base of all control messages; ``kind`` on the wire is the lower-case class name."""


class ProcessId(Struct, frozen=True):
    """A process of this host: ``started`` (clock ticks since boot, /proc/PID/stat) tells it from a later one of the
    same number; ``namespace`` names the pid and time namespaces in which both count."""

    pid: int
    started: int
    namespace: str


class Register(Control, frozen=True):
    """A capture gate (``gate=True``) or another data holder registers the modalities whose data it holds.

    ``mask_epoch``: the newest that it knows; a switch that has lost its state counts on from there. ``process``: by
    which the kernel proves its end; without it, only its own confirmation or the supervisor's counts.

    ``persons``: it carries out masks of single persons, so it is sent ``MaskPersons``; ``person_epoch``: of the newest
    that it knows. ``renumbered``: since then the numbers of persons began anew, so it masks everybody.
    """

    name: str
    boot: str
    modalities: tuple[Modality, ...]
    gate: bool
    mask_epoch: int = 0
    process: ProcessId | None = None
    persons: bool = False
    person_epoch: int = 0
    renumbered: bool = False


class LeaseRequest(Control, frozen=True):
    """A gate requests to open, or to stay open. ``last_seq`` is the last raw message that it published; ``process`` as
    in ``Register``."""

    modality: Modality
    name: str
    boot: str
    last_seq: int | None
    process: ProcessId | None = None


class Lease(Control, frozen=True):
    """Permission to keep one device open until ``expires_us`` (CLOCK_BOOTTIME), signed by the switch's host key.

    Bound to the host boot id and to the mask epoch; ``counter`` grows, so that an old lease cannot be replayed.
    ``signature``: see privacy.keys.signing.
    """

    modality: Modality
    holder: str
    boot_id: str
    mask_epoch: int
    counter: int
    issued_us: int
    expires_us: int
    signature: str = ""


class Refused(Control, frozen=True):
    """No lease: the modality is masked. The gate closes, or stays closed, at ``mask_epoch``."""

    modality: Modality
    gate: Gate
    mask_epoch: int
    reason: str


class Close(Control, frozen=True):
    """The switch orders a gate to close now. Repeated until ``Closed`` answers it."""

    modality: Modality
    gate: Gate
    mask_epoch: int
    reason: str


class Closed(Control, frozen=True):
    """The device handle is closed, and ``check`` says how that was measured; ``last_seq`` was the last message."""

    modality: Modality
    name: str
    boot: str
    mask_epoch: int
    closed_us: int
    last_seq: int | None
    handle_closed: bool
    check: str = ""


class Purge(Control, frozen=True):
    """The switch orders a data holder to delete its data of a modality from before ``mask_epoch``."""

    modality: Modality
    mask_epoch: int


class Purged(Control, frozen=True):
    modality: Modality
    name: str
    boot: str
    mask_epoch: int


class MaskPersons(Control, frozen=True):
    """The switch says who is masked alone from now on: ``persons`` of the life ``boot`` of the process that follows
    faces, or ``everybody``; nobody else. Repeated until ``PersonsMasked`` answers it; an older one is void."""

    mask_epoch: int
    boot: str
    persons: tuple[str, ...]
    everybody: bool


class PersonsMasked(Control, frozen=True):
    """No token of these persons is made, and no picture recorded, from now on. ``in_view``: whom the process that
    follows faces knows; null from one that follows none."""

    name: str
    boot: str
    mask_epoch: int
    in_view: tuple[str, ...] | None = None


class Grant(Control, frozen=True):
    """Permission to unmask ``modalities`` of ``host``, signed by the paired key ``key`` (public keys, hex).
    Or, without modalities, ``persons``: the field is no part of what is signed where it is left out.

    ``counter`` grows with every grant of that key. ``mask_epoch`` is the newest that the signer knew: a later
    mask voids the grant, so a delayed grant opens nothing. ``signature``: see privacy.keys.signing.
    """

    key: str
    host: str
    counter: int
    mask_epoch: int
    modalities: tuple[Modality, ...]
    signature: str = ""
    persons: tuple[str, ...] | UnsetType = UNSET


class Command(Control, frozen=True):
    """A request of a user or hub: ``mask``, ``unmask`` or ``resume`` (with a ``grant``), or ``status``.

    ``resume`` is the request of ``edge-mer run``: as unmask, but masks that a user requested stay. ``for_s``: seconds
    until a mask ends by itself; 0 means until an unmask. ``counter`` grows with every command of one sender over TCP;
    on the host's own sockets it is not checked. ``challenge``: of a mask, random text that ``Answer.holds`` then signs.
    ``persons``, in place of modalities: persons in view, as "p2", or "all".
    """

    id: str
    action: str
    modalities: tuple[Modality, ...] = ()
    requester: str = "local"
    grant: Grant | None = None
    hard: bool = False
    for_s: int = 0
    counter: int = 0
    challenge: str = ""
    persons: tuple[str, ...] = ()


class Pair(Control, frozen=True):
    """A phone or hub sends its public keys (Ed25519 hex, CURVE Z85) and the proof that it knows the one-time code.

    ``proof``: HMAC-SHA256 hex, see privacy.keys.pairing.
    """

    id: str
    name: str
    signing: str
    curve: str
    proof: str


class Relayed(Control, frozen=True):
    """The door passes on what arrived over TCP; ``key``: the CURVE public key (Z85) that its sender proved.

    Only the switch's endpoint ``door`` takes it. The answer has the id of this message, not of the one within.
    """

    id: str
    key: str
    message: Command | Pair


class HeldMask(Struct, frozen=True):
    """The mask of one modality that holds, and the number of the receipt that proves it."""

    gate: Gate
    mask_epoch: int
    receipt: int


class Holds(Control, frozen=True):
    """The switch states which masks hold while it answers ``challenge``, signed by its host key as receipts are.

    A receipt proves that a mask took effect once; this, that it has not been lifted since.
    """

    challenge: str
    boot_id: str
    modalities: dict[Modality, HeldMask]
    signature: str = ""


class Answer(Control, frozen=True):
    """The result of a command: ``ok`` only when it took effect; ``text`` says what did not.

    ``receipts`` are the numbers of the receipts that prove a mask. To a mask with a challenge, ``proofs`` are these
    receipts themselves, and ``holds`` that they are in force now. ``people``: null as long as nobody was ever masked
    alone.
    """

    id: str
    ok: bool
    text: str
    modalities: dict[Modality, PrivacyState]
    receipts: tuple[int, ...] = ()
    proofs: tuple[Receipt, ...] = ()
    holds: Holds | None = None
    people: MaskedPeople | None = None


class Heartbeat(Control, frozen=True):
    """A worker is alive: one turn of its loop ended. ``counters`` are its drops, gaps and overflows.

    ``notes``: information for the user, as which runtime it uses and why no faster one.
    """

    name: str
    boot: str
    pid: int
    created_us: int
    counters: dict[str, int]
    notes: tuple[str, ...] = ()


class Exited(Control, frozen=True):
    """The supervisor reports to the switch that a process has ended: its device handles are closed."""

    name: str
    boot: str


class Subscribe(Control, frozen=True):
    """A reliable reader has all messages up to ``after`` of instance ``boot`` (-1: none yet) and requests the rest.

    Sent on every receipt and twice a second: subscription, acknowledgement and keep-alive in one.
    """

    boot: str
    after: int


AnyControl: TypeAlias = (
    Register
    | LeaseRequest
    | Lease
    | Refused
    | Close
    | Closed
    | Purge
    | Purged
    | MaskPersons
    | PersonsMasked
    | Grant
    | Command
    | Pair
    | Relayed
    | Answer
    | Heartbeat
    | Exited
    | Subscribe
)

MAX_BYTES = 64_000
_DECODER = msgspec.json.Decoder(AnyControl)


def encode(message: AnyControl) -> bytes:
    return msgspec.json.encode(message)


def decode(frame: bytes) -> AnyControl:
    """Raises BadMessage for anything that is not one of the control messages."""
    if len(frame) > MAX_BYTES:
        raise BadMessage(f"control: {len(frame)} bytes, at most {MAX_BYTES} allowed")
    try:
        message: AnyControl = _DECODER.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"control: {error}") from error
    return message
