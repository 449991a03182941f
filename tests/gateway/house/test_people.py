"""Rooms in which several people are told apart."""

from __future__ import annotations

from typing import Any

import msgspec

from edge_mer.contract.house import RoomInput
from edge_mer.contract.messages import Estimate, Message
from edge_mer.gateway.house.binding import RoomEstimate
from edge_mer.gateway.house.journal import folded
from edge_mer.gateway.house.room_view import RoomView
from tests.fusion.scene import START, Scene, message


def estimated(topic: str, **fields: Any) -> Message[Estimate]:
    estimate = msgspec.structs.replace(Scene().settle("audio").estimate, **fields)
    return message(topic, estimate, origin_us=START)


def test_the_voice_off_screen_labels_an_utterance() -> None:
    spoken = estimated("person", person="voice", focus=False)
    given = RoomInput("kitchen", spoken.ref, 0, 0)
    assert isinstance(folded(given, spoken), RoomEstimate)


def test_a_room_shows_its_focus_alone() -> None:
    view = RoomView()
    focus = estimated("emotion", person="p1", focus=True)
    for sent in (focus, estimated("person", person="p2", focus=False)):
        view.fold(sent, START)
    assert view.estimate == focus.body
