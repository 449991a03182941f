"""Replays a house: its journal (topic ``binding`` of the house's session) and the sessions of its rooms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from edge_mer.contract.errors import SessionError
from edge_mer.contract.house import Binding, HeardVoice
from edge_mer.contract.messages import InputRef, Message
from edge_mer.gateway.house.journal import refold
from edge_mer.session.keys import KeyStore
from edge_mer.session.reader import Session


class HouseReport(Struct, frozen=True):
    """What was folded again, with the same results: ``entries`` of the journal, in so many ``lives`` of the house."""

    lives: int
    entries: int
    voices: tuple[HeardVoice, ...]


def verify_house(house: Path, rooms: Mapping[str, Path], keys: KeyStore | None = None) -> HouseReport:
    """``rooms``: the session of each room, by its name in the house. Raises SessionError for the first difference."""
    sessions = {name: Session(path, keys) for name, path in rooms.items()}

    def lookup(room: str, ref: InputRef) -> Message[Any] | None:
        if room not in sessions:
            raise SessionError(f"{room} took part in the house; name its session: {room}=FILE")
        return sessions[room].lookup(ref)

    lives: dict[str, list[Binding]] = {}
    for message in Session(house, keys).messages("binding"):
        lives.setdefault(message.envelope.boot, []).append(message.body)
    if not lives:
        raise SessionError(f"{house} holds no journal of a house (topic binding)")
    voices = [voice for entries in lives.values() for voice in refold(entries, lookup)]
    return HouseReport(len(lives), sum(map(len, lives.values())), tuple(voices))
