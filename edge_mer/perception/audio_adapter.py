"""Sound between the bus and its encoder: opens the encoder, and turns raw messages into its blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_mer.contract.errors import InputError
from edge_mer.contract.messages import Message, RawAudio
from edge_mer.contract.raw import SAMPLE_RATE
from edge_mer.perception.audio import AudioEncoder, open_audio
from edge_mer.perception.encoder import AudioBlock, one_array
from edge_mer.runtime.backend import Backend


def open_encoder(backend: Backend, models: Path, yunet: Path | None = None) -> AudioEncoder:
    """Raises ModelError when a file is missing or damaged."""
    return open_audio(backend, models)


def block(message: Message[RawAudio]) -> AudioBlock:
    """Raises InputError for another rate or form."""
    if message.body.rate != SAMPLE_RATE:
        raise InputError(f"raw/audio: {message.body.rate} Hz, expected {SAMPLE_RATE} Hz")
    samples = one_array(message.topic, message.payload).astype(np.float32) / np.float32(32768)
    return AudioBlock(samples, message.envelope.origin_us)
