"""Who takes part: the gates that hold devices, and the lineage children that hold what was derived from them."""

from __future__ import annotations

from dataclasses import dataclass

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Modality

MOST_MEMBERS = 64
# A child that ended without a word stops registering; a gate is never forgotten so, for its device may be open.
FORGET_CHILD_US = 10 * SECOND


@dataclass
class Member:
    """A gate or a child, as it last spoke."""

    peer: bytes
    boot: str
    modalities: tuple[Modality, ...]
    heard_us: int


class Registrations:
    def __init__(self) -> None:
        self.gates: dict[tuple[str, Modality], Member] = {}
        self.children: dict[str, Member] = {}

    def gates_of(self, modality: Modality) -> dict[str, Member]:
        return {name: member for (name, m), member in self.gates.items() if m == modality}

    def children_of(self, modality: Modality) -> dict[str, Member]:
        return {name: child for name, child in self.children.items() if modality in child.modalities}

    def crowded(self, known: bool, child: bool) -> bool:
        return not known and len(self.children if child else self.gates) >= MOST_MEMBERS

    def left(self, name: str, boot: str) -> tuple[list[Modality], bool]:
        """A process is gone: the modalities that it had gates of, and whether it was a child."""
        gone = [m for (n, m), gate in self.gates.items() if n == name and gate.boot == boot]
        for modality in gone:
            del self.gates[name, modality]
        child = self.children.get(name)
        was_child = child is not None and child.boot == boot
        if was_child:
            del self.children[name]
        return gone, was_child

    def forget_silent_children(self, now_us: int) -> list[str]:
        silent = [name for name, child in self.children.items() if now_us - child.heard_us > FORGET_CHILD_US]
        for name in silent:
            del self.children[name]
        return silent
