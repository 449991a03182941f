"""Raw media as Foxglove's own messages, and schemas in the subset of JSON Schema that Foxglove reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.RawAudio_pb2 import RawAudio as RawAudioProto
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from hypothesis import given
from hypothesis import strategies as st
from mcap.reader import make_reader

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.contract import wire
from edge_mer.contract.clock import FakeClock
from edge_mer.contract.errors import BadMessage
from edge_mer.contract.messages import (
    Body,
    Envelope,
    HealthReport,
    Message,
    Privacy,
    PrivacyState,
    RawAudio,
    RawVideo,
    WorkerHealth,
)
from edge_mer.contract.services import SERVICES
from edge_mer.session import format, foxglove, media_protobuf
from edge_mer.session.reader import Session
from tests.gateway.stage import sample
from tests.session.golden import GOLDEN
from tests.session.stage import frames_of
from tests.session.studio import Studio

RECORDED_JSON = Path(__file__).parent / "recorded_json"
PROTO = {"foxglove.RawAudio": RawAudioProto, "foxglove.CompressedImage": CompressedImage}
# Published schemas of github.com/foxglove/foxglove-sdk, schemas/jsonschema (read 2026-11): name -> (type, encoding).
TIME = {"sec": ("integer", None), "nsec": ("integer", None)}
PUBLISHED = {
    "foxglove.RawAudio": {
        "timestamp": TIME,
        "data": ("string", "base64"),
        "format": ("string", None),
        "sample_rate": ("integer", None),
        "number_of_channels": ("integer", None),
    },
    "foxglove.CompressedImage": {
        "timestamp": TIME,
        "frame_id": ("string", None),
        "data": ("string", "base64"),
        "format": ("string", None),
    },
}


def readable(schema: dict[str, Any], place: str = "") -> None:
    """Check the rules of Foxglove's parser (foxglove/studio, packages/mcap-support/src/parseJsonSchema.ts)."""
    assert schema.get("type") == "object", f"{place}: type {schema.get('type')}"
    for name, field in schema["properties"].items():
        here = f"{place}.{name}"
        assert "oneOf" not in field, here
        kind = field.get("type")
        assert kind in ("boolean", "string", "number", "integer", "object", "array"), f"{here}: type {kind}"
        if kind == "string":
            assert field.get("contentEncoding") in (None, "base64"), here
        elif kind == "object":
            readable(field, here)
        elif kind == "array":
            item = field["items"]
            assert item.get("type") in ("boolean", "string", "number", "integer", "object"), f"{here}[]: {item}"
            if item["type"] == "object":
                readable(item, here)


@pytest.mark.parametrize("row", SERVICES.values(), ids=lambda row: row.topic)
def test_foxglove_reads_the_schema_of_every_topic(row: Any) -> None:
    readable(json.loads(format.header_schema(row.schema, row.body)))


def embedded(topic: str) -> jsonschema.Draft202012Validator:
    row = SERVICES[topic]
    return jsonschema.Draft202012Validator(json.loads(format.header_schema(row.schema, row.body)))


def test_embedded_schemas_accept_every_message_of_a_recorded_session() -> None:
    messages = list(Session(GOLDEN).messages())
    assert {"emotion", "journal", "raw/text", "feature/audio"} <= {m.topic for m in messages}
    checks = {topic: embedded(topic) for topic in {m.topic for m in messages}}
    for message in messages:
        checks[message.topic].validate(json.loads(message.header))


@pytest.mark.parametrize("topic", SERVICES)
def test_embedded_schema_accepts_a_message_of_every_topic_also_with_nulls(topic: str) -> None:
    silent = PrivacyState("masked", "masked", 0, 1, None, None)
    bodies: dict[str, Body] = {
        "privacy": Privacy(mask_epoch=1, modalities={"audio": silent}),
        "health": HealthReport(workers={"fusion": WorkerHealth("failed", None, 1, None, None, 0.1, 1, {"gap": 1})}),
    }
    row = SERVICES[topic]
    envelope = Envelope(schema=row.schema, source="x", boot="y", seq=0, origin_us=1, created_us=2)
    for body in (bodies.get(topic, sample(row.body)), sample(row.body)):
        embedded(topic).validate(json.loads(wire.encode(topic, envelope, body)[1]))


@pytest.mark.parametrize("name", PUBLISHED)
def test_media_schemas_have_every_field_that_foxglove_published(name: str) -> None:
    schema = json.loads(foxglove.schema(name))
    readable(schema)
    assert schema["title"] == name
    for field, expected in PUBLISHED[name].items():
        found = schema["properties"][field]
        if isinstance(expected, dict):
            assert {k: (v["type"], None) for k, v in found["properties"].items()} == expected
        else:
            assert (found["type"], found.get("contentEncoding")) == expected


def test_the_checker_itself_refuses_what_foxglove_refuses() -> None:
    for bad in ({"$ref": "#/$defs/X"}, {"anyOf": [{"type": "null"}]}, {"type": "array", "items": {"type": "array"}}):
        with pytest.raises(AssertionError):
            readable({"type": "object", "properties": {"x": bad}})


def sent(topic: str, payload: list[Any], header_extra: bytes = b"") -> Message[Any]:
    bodies = {
        "raw/audio": RawAudio(rate=16_000, sample_index=0, overflows=0, mask_epoch=1),
        "raw/video": RawVideo(frame=1, width=2, height=3, mask_epoch=4),
    }
    return MemoryBus(MemoryBroker(), FakeClock()).publisher(topic, "test").send(bodies[topic], payload, origin_us=7)


@given(st.lists(st.integers(-(2**15), 2**15 - 1), max_size=600))
def test_audio_round_trips_and_is_what_foxglove_published(samples: list[int]) -> None:
    message = sent("raw/audio", [np.array(samples, np.int16)])
    encoding, data = format.pack(message, wall_offset_us=1_000_000_000)
    seen = RawAudioProto.FromString(data)
    assert encoding == "protobuf"
    assert (seen.timestamp.seconds, seen.timestamp.nanos) == (1000, 7000)
    assert (seen.format, seen.sample_rate, seen.number_of_channels) == ("pcm-s16", 16_000, 1)
    assert np.frombuffer(seen.data, "<i2").tolist() == samples
    assert frames_of(format.unpack("raw/audio", encoding, data)) == frames_of(message)


@given(st.binary(max_size=600))
def test_video_frame_round_trips_byte_for_byte(jpeg: bytes) -> None:
    message = sent("raw/video", [np.frombuffer(jpeg, np.uint8)])
    encoding, data = format.pack(message)
    seen = CompressedImage.FromString(data)
    assert (seen.data, seen.format, seen.frame_id) == (jpeg, "jpeg", "camera")
    assert frames_of(format.unpack("raw/video", encoding, data)) == frames_of(message)
    assert format.envelope("raw/video", encoding, data) == message.envelope


@pytest.mark.parametrize("published", [RawAudioProto, CompressedImage])
def test_embedded_descriptor_has_the_published_fields_and_our_header(published: Any) -> None:
    name = published.DESCRIPTOR.full_name
    files = FileDescriptorSet.FromString(media_protobuf.schema(name))
    pool = DescriptorPool()
    for file in files.file:
        pool.Add(file)
    found = pool.FindMessageTypeByName(name)
    for field in published.DESCRIPTOR.fields:
        ours = found.fields_by_name[field.name]
        assert (ours.number, ours.type) == (field.number, field.type)
    assert {f.name for f in found.fields} - {f.name for f in published.DESCRIPTOR.fields} == {"edge_mer"}


@given(st.binary(max_size=60))
def test_damaged_media_are_refused_and_never_crash(data: bytes) -> None:
    for topic in foxglove.SCHEMA_OF:
        with pytest.raises(BadMessage):
            format.unpack(topic, "protobuf", data)


@given(st.integers(0, 400))
def test_media_cut_short_are_refused(length: int) -> None:
    _, data = format.pack(sent("raw/video", [np.arange(90, dtype=np.uint8)]))
    if length < len(data):
        with pytest.raises(BadMessage):
            format.unpack("raw/video", "protobuf", data[:length])


@pytest.mark.parametrize(("topic", "size"), [("raw/audio", 1024), ("raw/video", 3974)])
def test_media_recorded_as_json_are_still_read(topic: str, size: int) -> None:
    """A message of a session that was recorded before media were protobuf."""
    data = (RECORDED_JSON / f"{topic.replace('/', '_')}.json").read_bytes()
    message = format.unpack(topic, "json", data)
    assert (message.topic, [part.nbytes for part in message.payload]) == (topic, [size])


@pytest.mark.parametrize(
    "payload", [[], [np.zeros(3, np.float32)], [np.zeros(2, np.int16)] * 2, [np.zeros((2, 2), np.int16)]]
)
def test_media_unknown_to_foxglove_is_stored_as_frames(payload: list[Any]) -> None:
    message = sent("raw/audio", payload)
    encoding, data = format.pack(message)
    assert encoding == "edge_mer.frames"
    assert frames_of(format.unpack("raw/audio", encoding, data)) == frames_of(message)


def test_an_open_recording_has_foxglove_channels_in_wall_time(tmp_path: Path) -> None:
    studio = Studio(tmp_path / "a.mcap")
    studio.run(1.5)
    wall_ns = studio.clock.wall_us() * 1000
    with studio.finish().open("rb") as file:
        reader = make_reader(file)
        found = {channel.topic: (schema, channel, message) for schema, channel, message in reader.iter_messages()}
    for topic, name in foxglove.SCHEMA_OF.items():
        schema, channel, message = found[topic]
        assert (schema.name, schema.encoding, channel.message_encoding) == (name, "protobuf", "protobuf")
        stamp = PROTO[name].FromString(message.data).timestamp
        assert abs(stamp.ToNanoseconds() - wall_ns) < 2 * 10**9
        assert abs(message.log_time - wall_ns) < 2 * 10**9
    for schema, channel, _ in found.values():
        if channel.message_encoding == "json":
            readable(json.loads(schema.data))
