"""External text reaches a terminal without control characters."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.messages import SensorState
from edge_mer.contract.plain_text import visible, visible_lines
from edge_mer.contract.visible_fields import visible_fields

BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def controls(text: str) -> list[str]:
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cs") or unicodedata.bidirectional(c) in BIDI]


@given(st.text(st.characters(codec=None)))
def test_control_characters_are_removed(text: str) -> None:
    assert controls(visible(text)) == []
    assert set(controls(visible_lines(text))) <= {"\n", "\t"}
    visible(text).encode()  # lone surrogates are escaped too


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_printable_text_is_unchanged(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;PWNED\x07", "\\u001b]0;PWNED\\u0007"),
        ("\x9b31mred", "\\u009b31mred"),
        ("\u202eevil", "\\u202eevil"),
        ("a\nb", "a\\u000ab"),
        ("\udcff", "\\udcff"),
    ],
)
def test_control_characters_are_written_as_their_code(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_every_string_of_a_message_is_escaped() -> None:
    state = SensorState(
        modality=MODALITIES[0],
        gate="live",
        health="ok",
        reason="\x1b[2J",
        device="mic\x07",
        mask_epoch=1,
        rate_hz=1.0,
        dropped=0,
    )
    assert visible_fields(state).reason == "\\u001b[2J"
    assert visible_fields(state).device == "mic\\u0007"
    assert visible_fields(state).mask_epoch == 1
