"""Who takes part: the gates that hold devices, and the data holders that hold what was derived from them.

A member stays until it confirms that it leaves, or until the supervisor or the kernel proves that its process ended.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from edge_mer.contract.control import ProcessId
from edge_mer.contract.domain import Modality
from edge_mer.host.process_handle import ProcessHandle

MOST_MEMBERS = 64
FILE = "members"

# Name and boot: two lives of one worker are two members.
Key = tuple[str, str]


@dataclass
class Member:
    """A gate of one modality, or a data holder. ``peer`` is None until it has spoken to this life of the switch, and
    ``process`` where the kernel cannot tell whether it still runs. ``persons``: it carries out masks of persons."""

    key: Key
    gate: bool
    modalities: tuple[Modality, ...]
    id: ProcessId | None
    process: ProcessHandle | None = None
    peer: bytes | None = None
    persons: bool = False

    @property
    def place(self) -> tuple[Key, Modality | None]:
        return self.key, self.modalities[0] if self.gate else None

    @property
    def why(self) -> str:
        """What is known of one that does not confirm."""
        if self.process is None:
            return " (the kernel does not show whether it still runs)"
        return f" (process {self.process.pid} is stopped)" if self.process.stopped else f" (process {self.process.pid})"


class Record(Struct, frozen=True):
    """A member, as the next life of the switch needs it."""

    name: str
    boot: str
    gate: bool
    modalities: tuple[Modality, ...]
    process: ProcessId
    persons: bool = False


class Records(Struct, frozen=True):
    boot_id: str
    members: tuple[Record, ...]


class Registrations:
    """``path``: the file in the state directory that outlives the switch. ``fault``: why it cannot be written."""

    def __init__(self, path: Path | None, boot_id: str) -> None:
        self.fault = ""
        self._path, self._boot_id = path, boot_id
        self._members: dict[tuple[Key, Modality | None], Member] = {}

    def gates_of(self, modality: Modality) -> list[Member]:
        return [m for m in self._members.values() if m.gate and modality in m.modalities]

    def holders_of(self, modality: Modality) -> list[Member]:
        return [m for m in self._members.values() if not m.gate and modality in m.modalities]

    def of_persons(self) -> list[Member]:
        return [m for m in self._members.values() if m.persons]

    def of(self, key: Key) -> list[Member]:
        return [m for m in self._members.values() if m.key == key]

    def find(self, member: Member) -> Member | None:
        return self._members.get(member.place)

    def add(self, member: Member) -> bool:
        """False when there are too many."""
        if sum(m.gate == member.gate for m in self._members.values()) >= MOST_MEMBERS:
            return False
        self._members[member.place] = member
        self._save()
        return True

    def remove(self, key: Key) -> bool:
        """Whether it took part."""
        found = self.of(key)
        for member in found:
            del self._members[member.place]
            if member.process is not None:
                member.process.close()
        if found:
            self._save()
        return bool(found)

    def ended(self) -> set[Key]:
        """Members whose end the kernel shows."""
        return {m.key for m in self._members.values() if m.process is not None and m.process.ended}

    @property
    def fds(self) -> tuple[int, ...]:
        """Readable when a member ends."""
        return tuple(m.process.fd for m in self._members.values() if m.process is not None and m.process.fd >= 0)

    def recall(self) -> list[Member]:
        """Who took part in the last life of the switch, in this boot of the host."""
        try:
            found = msgspec.json.decode(self._path.read_bytes() if self._path is not None else b"", type=Records)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return []
        known = found.members if found.boot_id == self._boot_id else ()
        return [Member((r.name, r.boot), r.gate, r.modalities, r.process, persons=r.persons) for r in known]

    def _save(self) -> None:
        if self._path is None:
            return
        known = [m for m in self._members.values() if m.id is not None]
        members = tuple(Record(*m.key, m.gate, m.modalities, m.id, m.persons) for m in known if m.id is not None)
        try:
            draft = self._path.with_name(f"{self._path.name}.new")  # not synced: it counts within this boot alone
            draft.write_bytes(msgspec.json.encode(Records(self._boot_id, members)))
            os.replace(draft, self._path)
            self.fault = ""
        except OSError as error:
            self.fault = f"{self._path} cannot be written, so a restarted switch may miss a data holder: {error}"
