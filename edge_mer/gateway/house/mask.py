"""The mask of the house: asked of every room, repeated until each has proven it, or until it is withdrawn.

It opens nothing: there is no command that unmasks. ``withdraw`` only ends the repetition.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from edge_mer.contract.clock import SECOND
from edge_mer.contract.house import HouseMask
from edge_mer.gateway.house.proof import JointReceipt, RoomProof, fault_of
from edge_mer.host.files import write_atomic

STATE = "house.json"
# Between two attempts at one room; a room that is slow may still answer an earlier one.
AGAIN_US = SECOND
KEPT_CHALLENGES = 8
# A flood of commands becomes so many rounds. After ROUND_US a round whose proof is not complete may be begun anew.
LEAST_ROUND_US, ROUND_US = SECOND // 10, 2 * SECOND
SILENT, UNREACHABLE = "it does not answer", "it cannot be reached"
REMOVED = "it is no longer in house.rooms; withdraw this mask"
DAMAGED = "the house, whose state was damaged"


class Order(Struct, frozen=True, forbid_unknown_fields=True):
    """One mask of the house, as it is saved. ``for_s`` 0: without end; else it ends at ``until_us`` (wall time)."""

    id: str
    requester: str
    asked_us: int
    for_s: int
    until_us: int
    rooms: tuple[str, ...]
    state: Literal["pending", "proven", "withdrawn"] = "pending"
    receipt: int | None = None


@dataclass
class RoomMask:
    """One room of the order. ``sent``: the latest challenges, and when."""

    proof: RoomProof | None = None
    reason: str = SILENT
    due_us: int = 0
    sent: deque[tuple[str, int]] = field(default_factory=lambda: deque(maxlen=KEPT_CHALLENGES))


class Masks:
    """``hosts``: the key of each configured room. ``joint`` writes a joint receipt and returns its number.

    Call ``attempts`` for what is to be sent now, and ``answered`` with each proof.
    """

    def __init__(
        self, path: Path, hosts: Mapping[str, str], wall_us: int, joint: Callable[[JointReceipt], int | None]
    ) -> None:
        self._path, self._hosts, self._joint = path, hosts, joint
        self.fault = ""
        self.order: Order | None = self._load(wall_us)
        self.round = self.proven_round = 0
        self.proven_receipt: int | None = None
        self._rooms: dict[str, RoomMask] = {}
        self._round_us = 0
        self._end_us: int | None = None
        self._next = ""
        self._unsaved = False
        if self.order is not None and self.order.state == "pending":
            self._start(self.order.rooms, 0)
            self._unsaved = True

    # -- commands --------------------------------------------------------------------------------------------------

    def mask(self, requester: str, for_s: int, now_us: int, wall_us: int) -> int:
        """Mask the house; returns the round that proves it: once ``proven_round`` has reached it, it is proven.

        While a mask is pending, a further one joins it: it ends at the later of both ends, if at all. A round that the
        rooms are about to answer is not begun anew, so that a flood of commands delays no proof.
        """
        old, until_us = self.order, wall_us + for_s * SECOND if for_s else 0
        if old is None or old.state != "pending":
            self._begin(requester, for_s, until_us, tuple(self._hosts), now_us, wall_us)
            return self.round
        for_s, until_us = max((for_s, until_us), (old.for_s, old.until_us)) if for_s and old.for_s else (0, 0)
        if now_us - self._round_us >= ROUND_US:
            self._begin(requester, for_s, until_us, old.rooms, now_us, wall_us)
            return self.round
        self.order = msgspec.structs.replace(old, for_s=for_s, until_us=until_us)
        self._unsaved |= self.order != old
        self._end_us, self._next = None, requester
        return self.round + 1

    def withdraw(self, wall_us: int) -> str:
        """End the repetition. Returns why there is nothing to withdraw, else an empty text."""
        if self.order is None or self.order.state != "pending":
            return "no mask of the house is pending"
        self._next = ""
        self._finish("withdrawn", wall_us)
        return ""

    # -- rooms -----------------------------------------------------------------------------------------------------

    def attempts(self, now_us: int, wall_us: int) -> Iterable[tuple[str, str, int]]:
        """(room, challenge, seconds) of each mask that is to be sent now."""
        if self._next and now_us - self._round_us >= ROUND_US:
            self._begin_next(now_us, wall_us)
        order = self.order
        if order is None or order.state != "pending":
            return
        if order.for_s and self._end_us is None:
            self._end_us = now_us + _left_s(order, wall_us) * SECOND
        if self._end_us is not None and now_us >= self._end_us:
            self._finish("withdrawn", wall_us)
            return
        for name, room in self._rooms.items():
            if room.proof is None and now_us >= room.due_us and name in self._hosts:
                room.due_us = now_us + AGAIN_US
                challenge = secrets.token_hex(16)
                room.sent.append((challenge, now_us))
                yield name, challenge, _left_s(order, wall_us)

    def save(self) -> None:
        """After the attempts were sent: first close, then save."""
        if self._unsaved:
            self._save()

    def answered(self, name: str, proof: RoomProof, now_us: int, wall_us: int) -> None:
        room = self._rooms.get(name)
        if room is None or self.order is None or self.order.state != "pending":
            return
        fresh = frozenset(c for c, at in room.sent if at >= self._round_us)
        fault = fault_of(proof, fresh, self._hosts[name])
        if fault is not None:
            room.reason = fault
            return
        room.proof = proof
        if all(r.proof is not None for r in self._rooms.values()) and self._finish("proven", wall_us):
            self.proven_round, self.proven_receipt = self.round, self.order.receipt
            if self._next:
                self._begin_next(now_us, wall_us)

    def failed(self, name: str, reason: str) -> None:
        """A room answered that it did not mask, or cannot be reached."""
        if (room := self._rooms.get(name)) is not None:
            room.reason = reason

    def unsent(self, name: str, now_us: int) -> None:
        """There is no connection to the room: it is asked again soon, since that costs nothing."""
        self.failed(name, UNREACHABLE)
        self._rooms[name].due_us = now_us + LEAST_ROUND_US

    @property
    def missing(self) -> dict[str, str]:
        """Each room without proof, and why."""
        return {n: r.reason for n, r in self._rooms.items() if r.proof is None}

    @property
    def shown(self) -> HouseMask | None:
        order = self.order
        if order is None:
            return None
        missing = {} if order.state == "proven" else self.missing
        proven = tuple(n for n in order.rooms if order.state == "proven" or (n in self._rooms and n not in missing))
        until = order.until_us or None
        return HouseMask(order.id, order.state, order.requester, order.asked_us, until, proven, missing, order.receipt)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _begin_next(self, now_us: int, wall_us: int) -> None:
        assert self.order is not None
        order, requester, self._next = self.order, self._next, ""
        self._begin(requester, order.for_s, order.until_us, order.rooms, now_us, wall_us)

    def _begin(
        self, requester: str, for_s: int, until_us: int, rooms: tuple[str, ...], now_us: int, wall_us: int
    ) -> None:
        rooms = tuple(dict.fromkeys((*rooms, *self._hosts)))
        self.order = Order(secrets.token_hex(8), requester, wall_us, for_s, until_us, rooms)
        self.round += 1
        self._round_us, self._end_us, self._unsaved = now_us, None, True
        self._start(rooms, now_us)

    def _start(self, rooms: tuple[str, ...], now_us: int) -> None:
        old, self._rooms = self._rooms, {}
        for name in rooms:
            room = self._rooms[name] = RoomMask(reason=SILENT if name in self._hosts else REMOVED)
            if name in old and old[name].sent:
                room.sent = old[name].sent
                room.due_us = max(now_us, room.sent[-1][1] + LEAST_ROUND_US)

    def _finish(self, state: Literal["proven", "withdrawn"], wall_us: int) -> bool:
        """Write the joint receipt and the state. False where a mask cannot be proven for lack of the receipt."""
        assert self.order is not None
        order = self.order
        draft = JointReceipt(
            number=0,
            id=order.id,
            requester=order.requester,
            asked_us=order.asked_us,
            until_us=order.until_us,
            written_us=wall_us,
            rooms={n: r.proof for n, r in self._rooms.items() if r.proof is not None},
            missing=self.missing,
            previous="",
        )
        number = self._joint(draft)
        if state == "proven" and number is None:
            for room in self._rooms.values():  # it cannot be written: not proven, and tried again
                room.proof, room.reason = None, "the joint receipt cannot be written"
            return False
        self.order = msgspec.structs.replace(order, state=state, receipt=number)
        self._save()
        return True

    def _save(self) -> None:
        self._unsaved, self.fault = False, ""
        try:
            write_atomic(self._path, msgspec.json.encode(self.order))
        except OSError as error:
            self.fault = f"{self._path} cannot be written ({error.strerror}): a restart forgets this mask of the house"

    def _load(self, wall_us: int) -> Order | None:
        """The saved mask. A damaged file may have held one: then every room is masked, until that is withdrawn."""
        rooms = tuple(self._hosts)
        try:
            order = msgspec.json.decode(self._path.read_bytes(), type=Order | None)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return Order(secrets.token_hex(8), DAMAGED, wall_us, 0, 0, rooms)
        if order is None or order.state != "pending":
            return order
        return msgspec.structs.replace(order, rooms=tuple(dict.fromkeys((*order.rooms, *rooms))))


def _left_s(order: Order, wall_us: int) -> int:
    """Seconds until a timed mask ends, rounded down so that a repetition never prolongs it; 0 without end.

    At least 1, and never more than was asked, whatever the wall clock says now.
    """
    return 0 if not order.for_s else min(order.for_s, max(1, (order.until_us - wall_us) // SECOND))
