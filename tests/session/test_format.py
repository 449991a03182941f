"""How messages are stored in the file."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.contract import messages
from edge_mer.contract.clock import FakeClock
from edge_mer.contract.errors import BadMessage, SessionError
from edge_mer.contract.messages import ClockReport, Envelope, Message, RawVideo, SensorState
from edge_mer.contract.services import SERVICES
from edge_mer.session import format
from tests.session.stage import frames_of

BODIES = {
    "raw/video": RawVideo(frame=1, width=2, height=3, mask_epoch=4),
    "state/text": SensorState(
        modality="text", gate="live", health="ok", reason='a "word"\n', device="ü", mask_epoch=1, rate_hz=0.5, dropped=0
    ),
    "clock": ClockReport(boot_id="b", offset_us=-5, uncertainty_us=1),
}


def sent(topic: str, payload: list[Any]) -> Message[Any]:
    bus = MemoryBus(MemoryBroker(), FakeClock())
    return bus.publisher(topic, "test").send(BODIES[topic], payload, origin_us=1)


arrays = st.one_of(
    st.binary(max_size=50).map(lambda b: np.frombuffer(b, np.uint8)),
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=9).map(
        lambda x: np.array(x, np.float32)
    ),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=9).map(lambda x: np.array([x, x], np.int64)),
)


@given(st.sampled_from(sorted(BODIES)), st.lists(arrays, max_size=4))
def test_wire_frames_round_trip_byte_for_byte(topic: str, payload: list[Any]) -> None:
    message = sent(topic, payload)
    again = format.unpack(topic, *format.pack(message))
    assert frames_of(again) == frames_of(message)
    assert again.ref == message.ref
    assert messages.result_bytes(again) == messages.result_bytes(message)


def test_a_message_without_payload_is_plain_json() -> None:
    encoding, data = format.pack(sent("clock", []))
    assert encoding == "json"
    assert json.loads(data)["offset_us"] == -5


@given(st.sampled_from(sorted(SERVICES)), st.sampled_from(["json", "edge_mer.frames", "cdr"]), st.binary(max_size=200))
def test_garbage_is_a_bad_message_and_nothing_else(topic: str, encoding: str, data: bytes) -> None:
    with pytest.raises(BadMessage):
        format.unpack(topic, encoding, data)


@given(st.sampled_from(["raw/video", "clock"]), st.integers(0, 400), st.integers(0, 255))
def test_a_flipped_byte_gives_a_message_or_a_bad_message(topic: str, place: int, value: int) -> None:
    encoding, data = format.pack(sent(topic, [np.arange(9, dtype=np.uint8)] if topic == "raw/video" else []))
    changed = bytearray(data)
    changed[place % len(data)] = value
    with contextlib.suppress(BadMessage):
        assert format.unpack(topic, encoding, bytes(changed)).topic == topic


@pytest.mark.parametrize("row", SERVICES.values(), ids=lambda row: row.topic)
def test_the_schema_in_the_file_names_every_field_of_the_header_that_is_never_null(row: Any) -> None:
    schema = json.loads(format.header_schema(row.schema, row.body))
    fields = {f.name for kind in (Envelope, row.body) for f in msgspec.structs.fields(kind)}
    assert schema["type"] == "object"
    left_out = fields - set(schema["properties"])
    whole = {**msgspec.json.schema(Envelope)["$defs"]["Envelope"], **msgspec.json.schema(row.body)["$defs"]}
    described = whole["properties"] | whole[row.body.__name__]["properties"]
    assert set(schema["properties"]) <= fields
    assert all({"type": "null"} in described[name].get("anyOf", []) for name in left_out)
    assert set(schema["required"]) <= fields
    assert '"#/$defs/Envelope"' not in json.dumps(schema)


def test_metadata_records_round_trip_and_damage_is_named() -> None:
    trailer = format.Trailer(
        closed_us=1,
        entries=2,
        results=3,
        digest="d",
        journal="j",
        unverifiable="why",
        models={"a": "b"},
        config="c",
        runtime="r",
        threads={},
        messages={"clock": 1},
        counters={},
    )
    metadata = format.to_metadata(trailer)
    assert format.from_metadata(format.Trailer, metadata) == trailer
    with pytest.raises(SessionError, match=r"trailer record.*entries"):
        format.from_metadata(format.Trailer, metadata | {"entries": '"two"'})
    with pytest.raises(SessionError, match="trailer"):
        format.from_metadata(format.Trailer, metadata | {"entries": "{"})
