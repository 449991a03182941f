"""The language of the speech reaches the recognisers that take one; others refuse what they do not know."""

from __future__ import annotations

import json
import socket
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_mer.capture.asr import wyoming
from edge_mer.capture.asr.child import MOST_ALTERNATIVES, alternatives_of, confidence_of
from edge_mer.capture.asr.faster_whisper import FasterWhisper
from edge_mer.capture.asr.recogniser import Choice, choose
from edge_mer.config import Config
from edge_mer.contract.errors import ConfigError
from tests.capture.asr.test_whisper import Said


class Model:
    """faster-whisper's model: records the options of ``transcribe``."""

    def __init__(self, multilingual: bool) -> None:
        self.model = SimpleNamespace(is_multilingual=multilingual)
        self.options: dict[str, Any] = {}

    def transcribe(self, samples: Any, **options: Any) -> tuple[list[Said], None]:
        self.options = options
        return [Said("Guten Tag.", avg_logprob=-0.1), Said("Ja.", avg_logprob=-0.5)], None


@pytest.mark.parametrize(
    ("multilingual", "language", "asked"), [(True, "de", "de"), (True, None, None), (False, None, "en")]
)
def test_whisper_is_told_the_language_and_tells_how_sure_it_is(
    multilingual: bool, language: str | None, asked: str | None
) -> None:
    model = Model(multilingual)
    recogniser = FasterWhisper(model, language)
    recogniser.begin()
    recogniser.feed(np.zeros(16_000, np.int16).tobytes())
    assert [w.text for w in recogniser.end()] == ["Guten", "Tag.", "Ja."]
    assert model.options["language"] == asked
    assert recogniser.confidence == pytest.approx(np.exp(-0.5))


def test_a_wyoming_server_is_asked_for_the_language() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        lines: list[bytes] = []

        def answer() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as stream:
                lines.append(stream.readline())

        thread = threading.Thread(target=answer)
        thread.start()
        wyoming.load(f"127.0.0.1:{server.getsockname()[1]}", "fr").begin()
        thread.join(10)
    assert json.loads(lines[0])["data"] == {"language": "fr"}


def test_the_choice_carries_the_language_to_recognisers_that_take_one() -> None:
    def text(**keys: str) -> Config:
        return Config.model_validate({"text": keys})

    assert choose(text(engine="faster-whisper", language="de")) == Choice("faster-whisper", None, "de")
    assert choose(text(engine="pocketsphinx", language="en")) == Choice("pocketsphinx", None, None)
    with pytest.raises(ConfigError, match=r"text\.language is de, and pocketsphinx knows en alone"):
        choose(text(engine="pocketsphinx", language="de"))


@pytest.mark.parametrize(("value", "read"), [(0.5, 0.5), (None, None), (1.5, None), (float("nan"), None)])
def test_a_confidence_that_is_no_probability_is_none(value: float | None, read: float | None) -> None:
    recogniser: Any = SimpleNamespace(confidence=value)
    assert confidence_of(recogniser) == read
    plain: Any = SimpleNamespace()
    assert confidence_of(plain) is None


def test_a_recogniser_gives_few_alternatives_or_none() -> None:
    recogniser: Any = SimpleNamespace(alternatives=[f"guess {i}" for i in range(9)])
    assert alternatives_of(recogniser) == tuple(f"guess {i}" for i in range(MOST_ALTERNATIVES))
    plain: Any = SimpleNamespace()
    assert alternatives_of(plain) == ()
