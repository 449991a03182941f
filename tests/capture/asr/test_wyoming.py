"""Any bytes of a Wyoming server are an event within bounds, or are refused."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.capture.asr.wyoming import MOST_BYTES, receive

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4)


@pytest.mark.parametrize("name", ["data_length", "payload_length"])
@pytest.mark.parametrize("length", [-1, -(2**70), MOST_BYTES + 1, 2**70, 1.5, "9", [1], float("inf")])
def test_a_length_out_of_bounds_is_refused(name: str, length: Any) -> None:
    line = json.dumps({"type": "transcript", name: length, "data": {}}).encode() + b"\n"
    with pytest.raises(ValueError, match=name):
        receive(io.BytesIO(line + b"x" * 100))


@given(
    header=st.dictionaries(st.sampled_from(["type", "data", "data_length", "payload_length"]), JSON), rest=st.binary()
)
def test_any_header_is_an_event_or_a_value_error(header: dict[str, Any], rest: bytes) -> None:
    try:
        kind, data = receive(io.BytesIO(json.dumps(header).encode() + b"\n" + rest))
    except ValueError:
        return
    assert isinstance(kind, str)
    assert isinstance(data, dict)
