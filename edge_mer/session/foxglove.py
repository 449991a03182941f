"""Schemas in the form that Foxglove reads, and raw media as recorded before ``edge_mer.session.media_protobuf``: its
schemas ``RawAudio`` and ``CompressedImage`` as JSON.

The field ``edge_mer`` holds the header frame as it was on the wire, so that the message can be restored. Schemas as
published in https://github.com/foxglove/foxglove-sdk/tree/main/schemas/jsonschema. Foxglove reads only a subset of
JSON Schema (no ``$ref``, no ``anyOf``, every property with one type): ``plain`` converts our schemas to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from edge_mer.contract.errors import BadMessage
from edge_mer.contract.messages import Message
from edge_mer.contract.modalities import TABLE

TIME: Final = {
    "type": "object",
    "title": "time",
    "properties": {
        "sec": {"type": "integer", "minimum": 0},
        "nsec": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
    },
}
_BYTES: Final = {"type": "string", "contentEncoding": "base64"}
HEADER: Final = {"type": "object", "properties": {}, "description": "the header of the message on the edge_mer bus"}
_FIELDS: Final[Mapping[str, dict[str, Any]]] = {
    "foxglove.RawAudio": {
        "timestamp": TIME,
        "data": _BYTES,
        "format": {"type": "string"},
        "sample_rate": {"type": "integer", "minimum": 0},
        "number_of_channels": {"type": "integer", "minimum": 0},
        "edge_mer": HEADER,
    },
    "foxglove.CompressedImage": {
        "timestamp": TIME,
        "frame_id": {"type": "string"},
        "data": _BYTES,
        "format": {"type": "string"},
        "edge_mer": HEADER,
    },
}
SCHEMA_OF: Final[Mapping[str, str]] = {f"raw/{m}": row.foxglove for m, row in TABLE.items() if row.foxglove}
_DTYPE: Final[Mapping[str, str]] = {f"raw/{m}": row.dtype for m, row in TABLE.items() if row.dtype}


class _Header(Struct):
    edge_mer: Raw


class _Media(_Header):
    data: bytes


def schema(name: str) -> bytes:
    fields = _FIELDS[name]
    return msgspec.json.encode({"title": name, "type": "object", "properties": fields, "required": list(fields)})


def fits(message: Message[Any]) -> bool:
    """Whether Foxglove can represent the message; all others are stored in the ``edge_mer.frames`` encoding."""
    dtype = _DTYPE.get(message.topic)
    specs = message.envelope.payload
    is_object = message.header[:1] == b"{" and message.header[-1:] == b"}"
    return dtype is not None and len(specs) == 1 and (specs[0].dtype, len(specs[0].shape)) == (dtype, 1) and is_object


def header(data: bytes) -> bytes:
    """Only the header frame. Raises BadMessage."""
    return bytes(_decode(data, _Header).edge_mer)


def frames(data: bytes) -> list[bytes]:
    """Header and payload frame as they were on the wire. Raises BadMessage."""
    media = _decode(data, _Media)
    return [bytes(media.edge_mer), media.data]


def _decode(data: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"media: {error}") from error


def plain(schema: Any, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON Schema in the subset that Foxglove reads, which accepts whatever ``schema`` accepts.

    Fields that may be null or of several types have no form there, and are left out.
    """
    if "$ref" in schema:
        return plain(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "enum" in schema and "type" not in schema:
        return {"type": "string", **schema}
    found = {k: v for k, v in schema.items() if k not in ("$defs", "prefixItems")}
    if schema.get("type") == "object":
        fields = schema.get("properties", {}).items()
        found["properties"] = {k: plain(v, definitions) for k, v in fields if _has_one_type(v)}
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            found["additionalProperties"] = plain(more, definitions) if _has_one_type(more) else True
    if schema.get("type") == "array":
        items = schema.get("items") or next(iter(schema.get("prefixItems", ())), None)
        if isinstance(items, dict):
            found["items"] = plain(items, definitions) if _has_one_type(items) else {"type": "object", "properties": {}}
    return found


def _has_one_type(schema: Mapping[str, Any]) -> bool:
    return "anyOf" not in schema and not isinstance(schema.get("type"), list)
