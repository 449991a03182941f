"""Boxes of people in a session, as Foxglove draws them over its pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations
from mcap.reader import make_reader

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.contract.clock import FakeClock
from edge_mer.contract.errors import BadMessage
from edge_mer.contract.messages import Message, People
from edge_mer.contract.people import PersonInView
from edge_mer.session import boxes, format
from edge_mer.session.reader import Session
from tests.session.studio import HEIGHT, WIDTH, Studio
from tests.session.test_foxglove import readable

# Fields of later versions that a viewer does without.
OPTIONAL = {"metadata"}
ANA = PersonInView("p1", 5, (0.25, 0.5, 0.1, 0.2), "speaking", "atv", focus=True)
BEN = PersonInView("p2", 7, (0.7, 0.1, 0.1, 0.2), "unknown", "none", focus=False, masked=True)


def view(*people: PersonInView) -> Message[Any]:
    body = People(people=people, voice="p1", biometric=True, mask_epoch=3)
    return MemoryBus(MemoryBroker(), FakeClock()).publisher("people", "fusion").send(body, origin_us=1_500_000)


@pytest.mark.parametrize("people", [(), (ANA,), (ANA, BEN)])
def test_the_message_comes_back_as_it_was_on_the_wire(people: tuple[PersonInView, ...]) -> None:
    message = view(*people)
    encoding, data = format.pack(message, 10, (640, 360))
    again = format.unpack("people", encoding, data)
    assert (again.header, again.body) == (message.header, message.body)
    assert format.envelope("people", encoding, data) == message.envelope


def test_boxes_are_in_pixels_of_the_picture_and_the_focus_is_thicker() -> None:
    drawn = json.loads(boxes.pack(view(ANA, BEN), 1_000_000, (640, 360)))
    ana, ben = drawn["points"]
    assert [(p["x"], p["y"]) for p in ana["points"]] == [
        pytest.approx(corner) for corner in ((160, 180), (224, 180), (224, 252), (160, 252))
    ]
    assert ana["timestamp"] == {"sec": 2, "nsec": 500_000_000}
    assert ana["thickness"] > ben["thickness"]
    assert [t["text"] for t in drawn["texts"]] == ["p1: speaking, atv", "p2: masked"]


def test_the_schema_has_every_field_that_foxglove_published_and_its_reader_takes_it() -> None:
    schema = json.loads(boxes.schema())
    readable(schema)
    for name in ("circles", "points", "texts"):
        nested = ImageAnnotations.DESCRIPTOR.fields_by_name[name].message_type
        published = set(nested.fields_by_name) - OPTIONAL
        assert published <= set(schema["properties"][name]["items"]["properties"])


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff"])
def test_damaged_annotations_are_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        format.unpack("people", format.JSON, data)


def test_a_recording_draws_boxes_in_the_size_of_its_pictures(tmp_path: Path) -> None:
    studio = Studio(tmp_path / "a.mcap")
    studio.run(3)
    path = studio.finish()
    views = [m.body for m in Session(path).messages("people")]
    with path.open("rb") as file:
        stored = [(s, json.loads(m.data)) for s, _, m in make_reader(file).iter_messages(topics=["people"])]
    assert len(views) == len(stored)
    seen = [(view.people[0], drawn["points"][0]) for view, (_, drawn) in zip(views, stored, strict=True) if view.people]
    assert seen
    for person, frame in seen:
        assert frame["points"][0] == {"x": person.box[0] * WIDTH, "y": person.box[1] * HEIGHT}
    assert {schema.name for schema, _ in stored if schema is not None} == {boxes.NAME}
