"""JSON Schema of the topics, generated from the services table."""

from __future__ import annotations

from typing import Any

import msgspec

from edge_mer.contract.messages import Envelope, delivery_fields
from edge_mer.contract.services import SERVICES

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def topic_schema(topic: str) -> dict[str, Any]:
    """Schema of the header frame of one topic; ``$comment`` describes the other frames."""
    row = SERVICES[topic]
    (envelope, body), parts = msgspec.json.schema_components([Envelope, row.body], ref_template="#/$defs/{name}")
    envelope, body = parts[Envelope.__name__], parts.pop(row.body.__name__)
    parts.pop(Envelope.__name__)
    properties = {**envelope["properties"], **body["properties"]}
    properties["schema"] = {"const": row.schema}
    delivery = {"boot", "seq", "created_us", *delivery_fields(row.body)}
    for name in delivery & set(properties):
        properties[name] = {**properties[name], "x-part": "delivery"}
    return {
        "$schema": DRAFT,
        "$id": row.schema,
        "title": topic,
        "description": (row.body.__doc__ or "").strip(),
        "$comment": (
            "ZeroMQ multipart: topic | this JSON object | payload frames as named in 'payload'. "
            "Times are integer microseconds of the host's monotonic clock; topic clock gives the offset to wall time. "
            "Fields marked x-part delivery may differ between a run and its replay; all others are results."
        ),
        "type": "object",
        "properties": properties,
        "required": [*envelope["required"], *body.get("required", [])],
        "$defs": parts,
    }
