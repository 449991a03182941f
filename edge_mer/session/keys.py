"""Keys of recorded sessions, and what is erased together. The keys themselves: edge_mer.privacy.keys.data_keys."""

from __future__ import annotations

from pathlib import Path

from edge_mer.config import Config
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.services import masked_with
from edge_mer.host.files import state_path
from edge_mer.privacy.keys.data_keys import NONCE_BYTES, KeyStore, seal, unseal

__all__ = ["FOLDER", "NONCE_BYTES", "SUFFIX", "KeyStore", "erased_with", "key_store", "seal", "unseal"]

SUFFIX = "+aes256gcm"
FOLDER = "session_keys"


def key_store(config: Config) -> KeyStore:
    """The key store of this configuration."""
    if config.record.keys is not None:
        return KeyStore(Path(config.record.keys).absolute())
    return KeyStore(state_path(config.privacy.state) / FOLDER)


def erased_with(modality: Modality, transcribed: bool) -> tuple[Modality, ...]:
    """The modalities erased with ``modality``: itself, and text if it was transcribed from the microphone."""
    gone = masked_with(modality, transcribed)
    return tuple(m for m in MODALITIES if m in gone)
