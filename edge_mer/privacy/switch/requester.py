"""Who speaks to the switch, as far as the way it came proves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edge_mer.contract.control import Answer

LONGEST_NAME = 80

# host: the host's own sockets, which only its user can enter; remote: the door, for a key that CURVE proved; root:
# uid 0 by SO_PEERCRED.
Origin = Literal["host", "remote", "root"]
Reply = Callable[[Answer], object]


@dataclass(frozen=True, slots=True)
class Requester:
    """``key`` is the CURVE public key of a remote requester, ``name`` what it was paired as."""

    origin: Origin
    key: str = ""
    name: str = ""

    def called(self, requester: str) -> str:
        """How receipts and states name it: over TCP as paired, on the host as it says itself."""
        name = "".join(c for c in (self.name or requester) if c.isprintable())[:LONGEST_NAME]
        return name or "somebody"


HOST, ROOT = Requester("host"), Requester("root", name="root on this host")
