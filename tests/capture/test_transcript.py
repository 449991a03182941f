"""Recorded and typed words: their source, their times, and the effect of a mask."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from edge_mer.capture.asr.spread_words import spread
from edge_mer.capture.gated_source import GatedSource
from edge_mer.capture.playback.recorded import read_transcript
from edge_mer.capture.transcript import AsrWorker, Idle, assemble
from edge_mer.capture.typed import MOST_BYTES
from edge_mer.config import Config, plays_with_file
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import ConfigError, DeviceError
from edge_mer.privacy.consent.consent_file import home_consent
from tests.switch_bench import BOOT_ID, TODAY, SwitchBench

RECORDED = {
    "schema": "edge_mer.transcript/1",
    "duration_s": 4.0,
    "segments": [
        {"words": [["i", 0.5, 0.75], ["am", 0.75, 1.0], ["glad", 1.0, 1.5]]},
        {"words": [["so", 2.5, 2.75], ["glad", 2.75, 3.0]]},
    ],
}


class Words:
    """A transcript worker on a switch bench, and the messages that it published."""

    def __init__(self, directory: Path, **sections: Any) -> None:
        self.bench = SwitchBench(directory, **sections)
        self.bus = self.bench.bus("transcript-boot")
        self.worker: Any = assemble(
            self.bench.config,
            self.bus,
            lambda device: GatedSource(self.bench.config, self.bus, "transcript", "text", device, boot_id=BOOT_ID),
            directory,
        )
        self.reader = self.bench.bus().reader("raw/text", "state/text")
        self.bench.turn(self.worker)
        self.start = self.bench.clock.now_us()

    def play(self, seconds: float) -> list[Any]:
        self.bench.run(round(seconds * SECOND), self.worker, step_us=10_000)
        return self.reader.drain()

    def published(self, seconds: float) -> list[Any]:
        return [m for m in self.play(seconds) if m.topic == "raw/text"]


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    path = tmp_path / "words.json"
    path.write_text(json.dumps(RECORDED))
    return path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.fixture
def typed(state: Path) -> Words:
    return Words(state, text={"source": "typed"})


def texts(messages: list[Any]) -> list[tuple[str, bool]]:
    return [(" ".join(w.text for w in m.body.words), m.body.final) for m in messages]


class TestRecorded:
    def test_each_word_is_published_at_its_end(self, state, recorded):
        words = Words(state, text={"source": "recorded", "path": str(recorded)})
        messages = words.published(5)
        assert texts(messages) == [("i", False), ("i am", False), ("i am glad", True), ("so", False), ("so glad", True)]
        t0 = messages[0].body.words[0].start_us - 500_000
        ends = [0.75, 1.0, 1.5, 2.75, 3.0]
        for message, end in zip(messages, ends, strict=True):
            assert 0 <= message.envelope.created_us - t0 - end * SECOND <= 10_000
        assert {m.body.parent for m in messages} == {None}
        assert [m.body.segment for m in messages] == [0, 0, 0, 1, 1]
        assert messages[0].envelope.origin_us == t0 + 500_000

    def test_a_loop_repeats_all_words_in_new_segments(self, state, recorded):
        words = Words(state, text={"source": "recorded", "path": str(recorded)}, file={"loop": True})
        messages = words.published(9)
        assert texts(messages)[:5] == texts(messages)[5:10]
        assert [m.body.segment for m in messages[5:10]] == [2, 2, 2, 3, 3]
        assert messages[5].body.words[0].start_us - messages[0].body.words[0].start_us == 4 * SECOND

    def test_words_that_began_under_a_mask_are_not_published(self, state, recorded):
        words = Words(state, text={"source": "recorded", "path": str(recorded)})
        words.bench.ask("mask", "text")
        assert words.published(1.15) == [], "in the middle of 'am'"
        words.bench.ask("unmask", "text")
        assert texts(words.published(4)) == [("glad", True), ("so", False), ("so glad", True)]

    def test_audio_mask_does_not_affect_it(self, state, recorded):
        words = Words(state, text={"source": "recorded", "path": str(recorded)})
        words.bench.ask("mask", "audio")
        assert len(words.published(5)) == 5

    def test_after_the_last_word_text_is_absent(self, state, recorded):
        words = Words(state, text={"source": "recorded", "path": str(recorded)})
        last = [m.body for m in words.play(6) if m.topic == "state/text"][-1]
        assert (last.health, last.reason) == ("absent", "end of the transcript")

    def test_the_file_process_plays_the_transcript_of_its_clip(self, state, recorded):
        text = {"source": "recorded", "path": str(recorded)}
        words = Words(state, text=text, video={"source": "file"})
        assert plays_with_file(words.bench.config, "text")
        assert isinstance(words.worker, Idle)
        assert words.play(2) == []

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            ("no json", "words.json"),
            ("{}", "segments"),
            ('{"duration_s": 1, "segments": [{"words": [["late", 0.5, 1.5]]}]}', "'late'.*not within"),
            ('{"duration_s": 1, "segments": [{"words": [["back", 0.5, 0.2]]}]}', "'back'"),
            ('{"duration_s": 2, "segments": [{"words": [["b", 1, 1.1], ["a", 0, 0.1]]}]}', "'a'.*before"),
            ('{"duration_s": 2, "segments": [], "speaker": "me"}', "speaker"),
            ('{"duration_s": 2, "segments": [], "schema": "other/1"}', "other/1"),
        ],
    )
    def test_an_invalid_transcript_is_refused_with_its_error(self, tmp_path, content, complaint):
        path = tmp_path / "words.json"
        path.write_text(content)
        with pytest.raises(ConfigError, match=complaint):
            read_transcript(str(path))

    def test_a_missing_transcript_is_named(self):
        with pytest.raises(ConfigError, match=r"nowhere\.json"):
            read_transcript("/nowhere.json")
        with pytest.raises(ConfigError, match=r"text\.path"):
            read_transcript(None)


class TestTyped:
    def test_no_word_is_dated_before_the_gate_opened(self, typed, state):
        (state / "typed").open("w").write("what a day\n")
        (first,) = typed.published(0.02)
        assert first.envelope.origin_us >= typed.start

    def test_a_line_becomes_words_spread_over_the_time_before_it(self, typed, state):
        typed.play(1)
        (state / "typed").open("w").write("what a day\n\n  \nreally\n")
        first, second = typed.published(0.02)
        now = first.body.words[-1].end_us
        assert [(w.text, w.start_us - now) for w in first.body.words] == [
            ("what", -900_000),
            ("a", -600_000),
            ("day", -300_000),
        ]
        assert all(w.approx for w in first.body.words)
        assert (first.body.final, first.body.parent, first.body.engine) == (True, None, "typed")
        assert second.body.segment == first.body.segment + 1
        assert second.body.words[0].start_us >= now, "words do not overlap those of the line before"

    def test_an_incomplete_line_waits_for_its_end(self, typed, state):
        writer = (state / "typed").open("wb", buffering=0)
        writer.write(b"good mor")
        assert typed.published(0.1) == []
        writer.write(b"ning\n")
        assert texts(typed.published(0.1)) == [("good morning", True)]

    def test_invalid_lines_are_dropped_and_counted(self, typed, state):
        writer = os.open(state / "typed", os.O_WRONLY)
        os.write(writer, b"\xff\xfe\n")
        os.write(writer, b"x" * (MOST_BYTES + 1) + b"\n")
        os.write(writer, b"y" * (MOST_BYTES + 1))
        typed.play(0.1)
        os.write(writer, b"y\nfine\n")
        assert texts(typed.published(0.1)) == [("fine", True)]
        assert typed.worker.counters["text.bad"] == 1
        assert typed.worker.counters["text.long"] == 2

    def test_the_fifo_is_private_and_removed_while_masked(self, typed, state):
        fifo = state / "typed"
        assert fifo.stat().st_mode & 0o777 == 0o600
        writer = os.open(fifo, os.O_WRONLY)
        typed.bench.ask("mask", "text")
        typed.bench.turn(typed.worker)
        assert not fifo.exists()
        with pytest.raises(BrokenPipeError):
            os.write(writer, b"secret\n")
        typed.bench.ask("unmask", "text")
        assert typed.published(0.5) == []
        assert fifo.exists()

    def test_audio_mask_does_not_affect_it(self, typed, state):
        typed.bench.ask("mask", "audio")
        typed.bench.turn(typed.worker)
        (state / "typed").open("w").write("still here\n")
        assert texts(typed.published(0.1)) == [("still here", True)]

    def test_an_existing_file_is_not_removed(self, state):
        (state / "typed").write_text("another file")
        with pytest.raises(DeviceError, match="typed is no FIFO"):
            Words(state, text={"source": "typed"}).play(0.1)
        assert (state / "typed").read_text() == "another file"


def test_speech_recognition_holds_data_of_the_microphone(state):
    assert isinstance(Words(state, text={"source": "asr"}).worker, AsrWorker)


def test_wyoming_without_consent_does_not_start(state):
    agreed = home_consent("Anna", ("audio", "text"), TODAY)
    with pytest.raises(ConfigError, match="wyoming"):
        Words(state, deployment=agreed, text={"source": "wyoming", "wyoming": "hub:10300"})


@pytest.mark.parametrize(
    ("text", "edges"), [("", []), ("one", [(0, 90)]), ("one two three", [(0, 30), (30, 60), (60, 90)])]
)
def test_words_without_times_are_spread_evenly(text, edges):
    assert [(w.start_us, w.end_us) for w in spread(text, 0, 90)] == edges


def test_by_default_no_transcript_plays_with_the_file():
    assert not plays_with_file(Config(), "text")
