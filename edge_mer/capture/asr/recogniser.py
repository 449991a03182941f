"""The interface of speech recognisers, and the choice of one. They run in a child process (child.py)."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Protocol

from msgspec import Struct

from edge_mer.config import Config
from edge_mer.contract.clock import SystemClock
from edge_mer.contract.errors import ConfigError
from edge_mer.contract.messages import WordTime
from edge_mer.contract.recognisers import RECOGNISERS, RecogniserRow
from edge_mer.privacy.consent.consent_file import agreed


class Recogniser(Protocol):
    """One segment at a time: ``begin``, ``feed`` for each chunk of audio, ``end``. Word times count from its start.

    It may have ``confidence``: after ``end``, how sure it is of the words, 0 to 1; None where it cannot tell. And
    ``alternatives``: after ``end``, what else may have been spoken (n-best), the likeliest first.
    """

    def begin(self) -> None: ...

    def feed(self, pcm: bytes) -> None:
        """int16 mono at 16 kHz."""
        ...

    def partial(self) -> tuple[WordTime, ...] | None:
        """Words recognised so far; None when this recogniser has results only at the end."""
        ...

    def end(self) -> tuple[WordTime, ...]: ...


class Choice(Struct, frozen=True):
    """A recogniser by its name in RECOGNISERS, and the arguments of its ``load``: a model or an address, and the
    language where it takes one."""

    engine: str
    argument: str | None = None
    language: str | None = None


def choose(config: Config) -> Choice:
    """Raises ConfigError when the choice lacks its model, its address or a user's consent."""
    row = config.text.recogniser
    if row is None or not row.from_microphone:
        raise ConfigError(f"text.source is {config.text.source}: no recogniser of the microphone's audio runs with it")
    _check_consent(row, config)
    argument = row.checked(getattr(config.text, row.argument) if row.argument else None)
    if config.text.language is not None and not row.takes_language and config.text.language not in row.languages:
        raise ConfigError(
            f"text.language is {config.text.language}, and {row.name} knows {', '.join(row.languages)} alone; "
            f"choose another text.engine"
        )
    return Choice(row.name, argument, config.text.language if row.takes_language else None)


def _check_consent(row: RecogniserRow, config: Config) -> None:
    if row.scope is not None and row.scope not in agreed(config, SystemClock().wall_us()):
        raise ConfigError(
            f"text.source is {row.source}, which sends the microphone's audio to another server: that needs a "
            f'separate consent: edge-mer run --consent {row.scope}; or set text.source to "asr"'
        )


def load(choice: Choice) -> Recogniser:
    """Raises MissingExtra or ModelError. Imported by name, so that a recogniser needs only its own packages."""
    row = RECOGNISERS[choice.engine]
    make: Callable[..., Recogniser] = import_module(row.module).load
    return make(choice.argument, choice.language) if row.takes_language else make(choice.argument)
