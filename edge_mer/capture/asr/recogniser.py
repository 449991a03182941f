"""The interface of speech recognisers, and the table of those there are. They run in a child process (asr_child)."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Protocol

from msgspec import Struct

from edge_mer.config import Config
from edge_mer.contract.clock import SystemClock
from edge_mer.contract.errors import ConfigError
from edge_mer.contract.messages import WordTime
from edge_mer.privacy.consent.consent_file import agreed


class Recogniser(Protocol):
    """One segment at a time: ``begin``, ``feed`` as often as sound comes, ``end``. Word times count from its start."""

    def begin(self) -> None: ...

    def feed(self, pcm: bytes) -> None:
        """int16 mono at 16 kHz."""
        ...

    def partial(self) -> tuple[WordTime, ...] | None:
        """What has been understood so far; None when this recogniser only knows at the end."""
        ...

    def end(self) -> tuple[WordTime, ...]: ...


class Choice(Struct, frozen=True):
    """Which recogniser, and its model (Whisper: path, or name of a pulled one) or address (Wyoming: host:port)."""

    engine: str
    argument: str | None = None


# Loaded by name, so that nobody imports the packages of another.
_MODULES = {
    "pocketsphinx": "edge_mer.capture.asr.pocketsphinx",
    "faster-whisper": "edge_mer.capture.asr.faster_whisper",
    "whisper": "edge_mer.capture.asr.whisper",
    "wyoming": "edge_mer.capture.asr.wyoming",
}


def choose(config: Config) -> Choice:
    """Raises ConfigError when the choice lacks its model, its address or the householder's consent."""
    if config.text.source == "wyoming":
        return Choice("wyoming", _consented_address(config))
    if config.text.engine == "whisper" and not config.text.model:
        raise ConfigError("text.model is not set: name a Whisper model: a local path, or a hub id that was pulled")
    return Choice(config.text.engine, config.text.model)


def _consented_address(config: Config) -> str:
    if "wyoming" not in agreed(config, SystemClock().wall_us()):
        raise ConfigError(
            "text.source is wyoming, which sends the microphone's sound to another server: that needs consent of its "
            'own: edge-mer run --consent wyoming; or set text.source to "asr"'
        )
    host, _, port = (config.text.wyoming or "").rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"text.wyoming must be host:port of a Wyoming server, got {config.text.wyoming!r}")
    return f"{host}:{port}"


def load(choice: Choice) -> Recogniser:
    """Raises MissingExtra or ModelError."""
    make: Callable[[str | None], Recogniser] = import_module(_MODULES[choice.engine]).load
    return make(choice.argument)
