"""Only words that are recognised to their end reach the text encoder."""

from __future__ import annotations

from edge_mer.contract.messages import Envelope, Message, RawText
from edge_mer.contract.raw import WordTime
from edge_mer.perception.text_adapter import block


def segment(provisional: bool) -> Message[RawText]:
    words = (WordTime("hello", 1, 2),)
    body = RawText(
        segment=3, words=words, final=not provisional, parent=None, engine="e", mask_epoch=0, provisional=provisional
    )
    envelope = Envelope(schema="edge_mer.raw.text/1", source="t", boot="b", seq=0, origin_us=1, created_us=2)
    return Message("raw/text", envelope, body, (), b"")


def test_provisional_words_are_left_out_and_final_ones_are_not() -> None:
    assert block(segment(provisional=True)).words == ()
    assert [w.text for w in block(segment(provisional=False)).words] == ["hello"]
