"""A streaming transducer: loading errors are typed, pieces become words with times, words come while they are spoken.

No weights can be had without a network, so that no test here recognises speech: sherpa-onnx itself reads the files that
it must refuse, and its recogniser is replaced where words are needed.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mer.capture.asr.recogniser import Choice, choose, load
from edge_mer.capture.asr.sherpa import KIND, PARTS, SherpaTransducer, files_of, words_of
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import ConfigError, ModelError

PIECE = np.zeros(8_000, np.int16).tobytes()


class Fake:
    """As sherpa-onnx's OnlineRecognizer: one more token for each half second, decoded when it is asked to."""

    said = (" HEL", "LO", " WOR", "LD")

    def create_stream(self) -> Fake:
        self.waiting = self.decoded = 0
        self.finished = False
        return self

    def accept_waveform(self, rate: int, samples: Any) -> None:
        assert rate == 16_000
        assert samples.dtype == np.float32
        self.waiting += len(samples) >= 8_000

    def input_finished(self) -> None:
        self.finished = True

    def is_ready(self, stream: Fake) -> bool:
        return stream.decoded < min(stream.waiting, len(self.said))

    def decode_stream(self, stream: Fake) -> None:
        stream.decoded += 1

    def tokens(self, stream: Fake) -> list[str]:
        return list(self.said[: stream.decoded])

    def timestamps(self, stream: Fake) -> list[float]:
        return [0.5 * i for i in range(stream.decoded)]

    def ys_probs(self, stream: Fake) -> list[float]:
        return [math.log(0.5)] * stream.decoded


def test_words_come_while_they_are_spoken_and_a_new_segment_begins_empty() -> None:
    recogniser = SherpaTransducer(Fake())
    for _ in range(2):
        recogniser.begin()
        assert recogniser.partial() == ()
        recogniser.feed(PIECE)
        recogniser.feed(PIECE)
        partial = recogniser.partial()
        assert partial is not None
        assert [(w.text, w.start_us, w.end_us) for w in partial] == [("hello", 0, SECOND)]
        recogniser.feed(PIECE)
        assert [w.text for w in recogniser.end()] == ["hello", "world"]
        assert recogniser.confidence == pytest.approx(0.5)


def test_pieces_become_words_within_the_segment() -> None:
    words = words_of(["\u2581Good", "bye", " Anna"], [0.1, 0.3, 2.5], SECOND)
    assert [(w.text, w.start_us, w.end_us) for w in words] == [("Goodbye", 100_000, SECOND), ("Anna", SECOND, SECOND)]
    assert words_of([], [], SECOND) == ()


def model(folder: Path, content: bytes = KIND) -> Path:
    for part in PARTS:
        (folder / f"{part}-epoch-99.onnx").write_bytes(content)
    (folder / "tokens.txt").write_text("<blk> 0\n<unk> 1\n")
    return folder


def test_int8_files_are_preferred(tmp_path: Path) -> None:
    (model(tmp_path) / "encoder-epoch-99.int8.onnx").write_bytes(KIND)
    found = files_of(tmp_path)
    assert Path(found["encoder"]).name == "encoder-epoch-99.int8.onnx"
    assert Path(found["joiner"]).name == "joiner-epoch-99.onnx"


def test_a_folder_that_lacks_a_file_is_refused_by_its_name(tmp_path: Path) -> None:
    (model(tmp_path) / "tokens.txt").unlink()
    (tmp_path / "joiner-epoch-99.onnx").unlink()
    with pytest.raises(ModelError, match="has no joiner, tokens; expected a folder"):
        load(Choice("sherpa-onnx", str(tmp_path)))


def test_a_graph_without_its_kind_is_refused_before_the_library_ends_the_process(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not name its model_type"):
        load(Choice("sherpa-onnx", str(model(tmp_path, b"graph"))))


def test_files_that_are_no_graphs_are_refused_by_the_library(tmp_path: Path) -> None:
    pytest.importorskip("sherpa_onnx")
    with pytest.raises(ModelError, match="is no streaming transducer"):
        load(Choice("sherpa-onnx", str(model(tmp_path))))


def test_a_choice_without_a_model_says_what_to_name() -> None:
    config = Config.model_validate({"text": {"engine": "sherpa-onnx"}})
    with pytest.raises(ConfigError, match=r"text\.model is not set: name the folder of a streaming transducer"):
        choose(config)
