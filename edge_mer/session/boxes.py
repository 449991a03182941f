"""Topic ``people`` as Foxglove's ``ImageAnnotations``, which its viewers draw over the pictures of a session.

Each person has a frame, thick for the focus, and a text: who, whether they speak, and what their estimate used. The
field ``edge_mer`` holds the header frame as it was on the wire, so that the message can be restored. Schema as
published in https://github.com/foxglove/foxglove-sdk/tree/main/schemas/jsonschema.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from edge_mer.contract.messages import Message, People
from edge_mer.contract.people import PersonInView
from edge_mer.session.foxglove import HEADER, TIME, header

TOPIC, NAME = "people", "foxglove.ImageAnnotations"
LINE_LOOP: Final = 2
THIN, THICK, FONT = 2.0, 4.0, 16.0
Color = dict[str, float]
SPEAKING: Final[dict[str, Color]] = {
    "speaking": {"r": 0.2, "g": 0.9, "b": 0.3, "a": 1.0},
    "silent": {"r": 0.6, "g": 0.6, "b": 0.6, "a": 1.0},
    "unknown": {"r": 0.9, "g": 0.8, "b": 0.2, "a": 1.0},
}
BEHIND: Final[Color] = {"r": 0.0, "g": 0.0, "b": 0.0, "a": 0.6}
CLEAR: Final[Color] = {"r": 0.0, "g": 0.0, "b": 0.0, "a": 0.0}


def pack(message: Message[People], wall_offset_us: int, picture: tuple[int, int]) -> bytes:
    """``wall_offset_us``: what to add to the host's monotonic time to get wall time; ``picture``: width and height, in
    pixels, of the pictures that are recorded beside."""
    seconds, us = divmod(max(0, message.envelope.origin_us + wall_offset_us), 1_000_000)
    time = {"sec": seconds, "nsec": us * 1000}
    people = message.body.people
    return msgspec.json.encode(
        {
            "circles": [],
            "points": [_frame(p, time, picture) for p in people],
            "texts": [_text(p, time, picture) for p in people],
            "edge_mer": Raw(message.header),
        }
    )


def frames(data: bytes) -> list[bytes]:
    """The header frame as it was on the wire. Raises BadMessage."""
    return [header(data)]


def schema() -> bytes:
    fields = {"circles": _CIRCLES, "points": _POINTS, "texts": _TEXTS, "edge_mer": HEADER}
    return msgspec.json.encode({"title": NAME, "type": "object", "properties": fields, "required": list(fields)})


def _frame(person: PersonInView, time: dict[str, int], picture: tuple[int, int]) -> dict[str, Any]:
    left, top, width, height = person.box
    corners = ((left, top), (left + width, top), (left + width, top + height), (left, top + height))
    return {
        "timestamp": time,
        "type": LINE_LOOP,
        "points": [_point(x, y, picture) for x, y in corners],
        "outline_color": SPEAKING[person.speaking],
        "outline_colors": [],
        "fill_color": CLEAR,
        "thickness": THICK if person.focus else THIN,
    }


def _text(person: PersonInView, time: dict[str, int], picture: tuple[int, int]) -> dict[str, Any]:
    what = "masked" if person.masked else f"{person.speaking}, {person.combination}"
    return {
        "timestamp": time,
        "position": _point(person.box[0], person.box[1], picture),
        "text": f"{person.person}: {what}",
        "font_size": FONT,
        "text_color": SPEAKING[person.speaking],
        "background_color": BEHIND,
    }


def _point(x: float, y: float, picture: tuple[int, int]) -> dict[str, float]:
    return {"x": x * picture[0], "y": y * picture[1]}


def _object(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields}


def _array(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": _object(**fields)}


_NUMBER: Final = {"type": "number"}
_POINT: Final = _object(x=_NUMBER, y=_NUMBER)
_COLOR: Final = _object(r=_NUMBER, g=_NUMBER, b=_NUMBER, a=_NUMBER)
_CIRCLES: Final = _array(
    {
        "timestamp": TIME,
        "position": _POINT,
        "diameter": _NUMBER,
        "thickness": _NUMBER,
        "fill_color": _COLOR,
        "outline_color": _COLOR,
    }
)
_POINTS: Final = _array(
    {
        "timestamp": TIME,
        "type": {"type": "integer", "minimum": 0},
        "points": {"type": "array", "items": _POINT},
        "outline_color": _COLOR,
        "outline_colors": {"type": "array", "items": _COLOR},
        "fill_color": _COLOR,
        "thickness": _NUMBER,
    }
)
_TEXTS: Final = _array(
    {
        "timestamp": TIME,
        "position": _POINT,
        "text": {"type": "string"},
        "font_size": _NUMBER,
        "text_color": _COLOR,
        "background_color": _COLOR,
    }
)
