"""Words between the bus and their encoder: opens the encoder, and turns raw messages into its segments."""

from __future__ import annotations

from pathlib import Path

from edge_mer.contract.messages import Message, RawText
from edge_mer.perception.encoder import TextSegment, Word
from edge_mer.perception.text import SentencePiece, TextEncoder
from edge_mer.runtime.backend import Backend


def open_encoder(backend: Backend, models: Path, yunet: Path | None = None) -> TextEncoder:
    """Raises ModelError when a file is missing or damaged."""
    return TextEncoder(backend.load(models / "text.onnx"), SentencePiece(models / "text.spm"))


def block(message: Message[RawText]) -> TextSegment:
    words = tuple(Word(w.text, w.start_us, w.end_us, w.approx) for w in message.body.words)
    return TextSegment(message.body.segment, words, message.body.final)
