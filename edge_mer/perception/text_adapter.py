"""Words between the bus and their encoder: opens the encoder, and turns raw messages into its segments."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from edge_mer.contract.errors import ModelError
from edge_mer.contract.messages import Message, RawText
from edge_mer.perception.dialogue import DialogueEncoder
from edge_mer.perception.encoder import TextSegment, Word
from edge_mer.perception.text import SentencePiece, TextEncoder
from edge_mer.perception.wordpiece import WordPiece
from edge_mer.runtime.backend import Backend, Graph


def open_encoder(backend: Backend, models: Path, yunet: Path | None = None) -> TextEncoder | DialogueEncoder:
    """Raises ModelError when a file is missing or damaged."""
    return open_text(backend.load(models / "text.onnx"), models)


def open_text(graph: Graph, models: Path) -> TextEncoder | DialogueEncoder:
    """The encoder that the metadata of ``graph`` names, with its tokenizer from ``models``. Raises ModelError."""
    named = graph.metadata.get("tokenizer")
    if named is None:
        return TextEncoder(graph, SentencePiece(models / "text.spm"))
    path = models / str(named["file"])
    if not path.is_file() or sha256(path.read_bytes()).hexdigest() != named["sha256"]:
        raise ModelError(f"{path}: absent or not the vocabulary of the text encoder; run: edge-mer models check")
    return DialogueEncoder(graph, WordPiece.read(path))


def block(message: Message[RawText]) -> TextSegment:
    """Words that are not recognised to their end are left out: the recogniser may take them back."""
    body = message.body
    words = () if body.provisional else tuple(Word(w.text, w.start_us, w.end_us, w.approx) for w in body.words)
    return TextSegment(body.segment, words, body.final)
