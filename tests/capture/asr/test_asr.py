"""Recognition publishes partial, then final words; at most one segment waits; a mask kills the child process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mer.capture.asr.child import BEGIN, END, PIECE, Hypothesis
from edge_mer.capture.asr.segmenter import Segmenter
from edge_mer.capture.asr.source import ENDED_US, AsrTranscript
from edge_mer.capture.gated_source import GatedSource
from edge_mer.capture.transcript import AsrWorker
from edge_mer.contract.clock import SECOND
from edge_mer.contract.messages import RawAudio, WordTime
from edge_mer.privacy.purge_client import PurgeClient
from tests.capture.asr.test_segmenter import Loudness
from tests.switch_bench import BOOT_ID, SwitchBench

WORD = WordTime("hello", 100_000, 300_000)
SPEECH, SILENCE = np.full(512, 30_000, np.int16), np.zeros(512, np.int16)


class FakeChild:
    """Records orders; answers only when the test provides results."""

    wake = 0

    def __init__(self) -> None:
        self.orders: list[tuple[int, int]] = []
        self.alive, self.stubborn, self.full = True, False, False
        self.answers: list[Hypothesis] = []

    def send(self, order: int, segment: int, pcm: bytes = b"") -> bool:
        self.orders.append((order, segment))
        return not self.full

    def receive(self) -> list[Hypothesis]:
        answers, self.answers = self.answers, []
        return answers

    def kill(self) -> None:
        self.alive = self.stubborn

    def segments(self, order: int) -> list[int]:
        return [segment for kind, segment in self.orders if kind == order]


class Listener:
    """A transcript worker with a fake child, and a microphone whose audio the test provides."""

    def __init__(self, directory: Path) -> None:
        self.bench = SwitchBench(directory, text={"source": "asr"})
        self.children: list[FakeChild] = []
        self.left: list[int] = []
        bus = self.bench.bus("transcript-boot")
        self.device = AsrTranscript(bus, "fake", self._start, Segmenter(Loudness()))
        source = GatedSource(self.bench.config, bus, "transcript", "text", self.device, self.left.append, BOOT_ID)
        self.worker = AsrWorker(self.device, source, PurgeClient(bus, "transcript", ("audio",)))
        self.microphone = self.bench.bus("microphone-boot").publisher("raw/audio", "microphone")
        self.reader = self.bench.bus().reader("raw/text", "state/text")
        self.index, self.epoch = 0, 1
        self.bench.turn(self.worker)

    def _start(self) -> FakeChild:
        self.children.append(FakeChild())
        return self.children[-1]

    @property
    def child(self) -> FakeChild:
        return self.children[-1]

    def feed(self, block: np.ndarray, count: int) -> None:
        for _ in range(count):
            body = RawAudio(rate=16_000, sample_index=self.index, overflows=0, mask_epoch=self.epoch)
            self.microphone.send(body, [block], origin_us=self.bench.clock.now_us())
            self.index += 512
            self.bench.clock.advance(32_000)
            self.bench.turn(self.worker)

    def sentence(self) -> None:
        self.feed(SPEECH, 10)
        self.feed(SILENCE, 20)

    def answer(self, segment: int, *words: WordTime, final: bool = True) -> None:
        self.child.answers.append(Hypothesis(segment, words, final))
        self.worker.turn()

    def words(self) -> list[Any]:
        return [m for m in self.reader.drain() if m.topic == "raw/text"]

    def state(self) -> Any:
        self.bench.run(1_100_000, self.worker)
        return [m.body for m in self.reader.drain() if m.topic == "state/text"][-1]


@pytest.fixture
def listener(tmp_path: Path) -> Listener:
    return Listener(tmp_path)


def test_partial_words_become_final_with_the_time_of_the_audio(listener):
    start = listener.bench.clock.now_us()
    listener.sentence()
    assert listener.child.segments(BEGIN) == listener.child.segments(END) == [1]
    listener.answer(1, WORD, final=False)
    listener.answer(1, WORD, WORD)
    partial, final = listener.words()
    assert [len(m.body.words) for m in (partial, final)] == [1, 2]
    assert [m.body.final for m in (partial, final)] == [False, True]
    assert [m.body.provisional for m in (partial, final)] == [True, False]
    assert final.body.words[0].start_us == start + 100_000
    assert final.envelope.origin_us == start
    assert (final.body.parent, final.body.engine) == ("raw/audio", "fake")


def test_the_end_of_the_sound_ends_the_open_segment(listener):
    """A file ends in the middle of a sentence, or the microphone is lost."""
    listener.feed(SPEECH, 10)
    assert listener.child.segments(END) == []
    listener.bench.run(700_000, listener.worker)
    assert listener.child.segments(END) == [1]
    listener.answer(1, WORD)
    assert listener.words()[-1].body.final
    listener.sentence()
    assert listener.child.segments(END) == [1, 2]


def test_withdrawn_words_are_replaced_by_an_empty_segment(listener):
    listener.sentence()
    listener.answer(1, WORD, final=False)
    listener.answer(1)
    assert [m.body.words for m in listener.words()][-1] == ()


def test_the_last_words_of_a_sound_that_ends_are_recognised(listener):
    listener.feed(SPEECH, 10)
    assert listener.child.segments(END) == []
    listener.bench.run(ENDED_US + 100_000, listener.worker)
    assert listener.child.segments(END) == [1]
    listener.answer(1, WORD)
    assert [w.text for w in listener.words()[-1].body.words] == ["hello"]
    listener.sentence()
    assert listener.child.segments(BEGIN) == [1, 2], "sound that goes on begins a new segment"


def test_the_confidence_of_a_recogniser_is_published_and_a_doubted_segment_is_not(listener):
    for number, sure in enumerate((0.9, 0.1, None), 1):
        listener.sentence()
        listener.child.answers.append(Hypothesis(number, (WORD,), True, confidence=sure))
        listener.worker.turn()
    assert [m.body.confidence for m in listener.words()] == [0.9, None]
    assert listener.worker.counters["text.doubted"] == 1


def test_alternatives_are_published_with_their_words_and_dropped_with_them(listener):
    for number, sure in enumerate((0.9, 0.1), 1):
        listener.sentence()
        listener.answer(number, WORD, final=False)
        listener.child.answers.append(Hypothesis(number, (WORD,), True, confidence=sure, alternatives=("height",)))
        listener.worker.turn()
    assert [m.body.alternatives for m in listener.words() if m.body.final] == [("height",), ()]


def test_words_that_were_shown_and_are_doubted_are_taken_back(listener):
    listener.sentence()
    listener.answer(1, WORD, final=False)
    listener.child.answers.append(Hypothesis(1, (WORD,), True, confidence=0.1))
    listener.worker.turn()
    assert [m.body.words for m in listener.words()][-1] == ()


def test_a_blip_that_sounds_like_speech_has_no_words(listener):
    listener.feed(SPEECH, 3)
    listener.feed(SILENCE, 20)
    listener.answer(1, WORD)
    assert listener.words() == []


def test_noise_without_words_is_not_published(listener):
    listener.sentence()
    listener.answer(1)
    assert listener.words() == []


def test_at_most_one_segment_waits_and_later_ones_are_dropped(listener):
    for _ in range(4):
        listener.sentence()
    assert listener.child.segments(BEGIN) == [1, 2], "one is decoded, one waits"
    assert listener.worker.counters["text.dropped"] == 2
    listener.answer(1, WORD)
    listener.sentence()
    assert listener.child.segments(BEGIN) == [1, 2, 3]
    assert set(listener.child.segments(PIECE)) == {1, 2, 3}, "no audio of the dropped ones"


def test_audio_mask_kills_the_child_and_discards_its_results(listener):
    listener.sentence()
    child = listener.child
    child.answers.append(Hypothesis(1, (WORD,), False))
    listener.bench.ask("mask", "audio")
    listener.bench.turn(listener.worker)
    assert not child.alive
    assert listener.words() == []
    child.answers.append(Hypothesis(1, (WORD,), True))
    listener.bench.run(SECOND, listener.worker)
    assert listener.words() == []
    assert listener.bench.answers()[-1].ok


def test_audio_purge_is_confirmed_only_after_the_child_has_ended(listener):
    listener.sentence()
    child = listener.child
    child.stubborn = True
    listener.bench.ask("mask", "audio")
    listener.bench.run(1_200_000, listener.worker)
    answer = listener.bench.answers()[-1]
    assert not answer.ok
    assert "transcript did not confirm the purge" in answer.text
    child.alive = False
    listener.bench.ask("mask", "audio")
    listener.bench.run(500_000, listener.worker)
    assert listener.bench.answers()[-1].ok


def test_audio_from_before_a_mask_is_not_recognised_after_it(listener):
    listener.feed(SPEECH, 2)
    listener.bench.ask("mask", "audio")
    listener.bench.run(SECOND, listener.worker)
    listener.bench.ask("unmask", "audio")
    listener.bench.turn(listener.worker)
    count = len(listener.children)
    listener.sentence()
    assert len(listener.children) == count, "blocks that still carry the old mask epoch"
    listener.epoch = 99
    listener.sentence()
    assert listener.child.segments(BEGIN)


def test_a_mask_between_two_blocks_restarts_the_child(listener):
    listener.feed(SPEECH, 6)
    first = listener.child
    listener.epoch += 1
    listener.sentence()
    assert not first.alive
    assert listener.child is not first
    assert listener.child.segments(BEGIN) == listener.child.segments(END) == [2]


def test_a_gap_in_the_audio_ends_the_segment(listener):
    listener.feed(SPEECH, 6)
    listener.index += 512
    listener.feed(SPEECH, 1)
    assert listener.child.segments(END) == [1]


def test_a_child_that_ends_is_counted_and_restarted_after_a_pause(listener):
    listener.sentence()
    listener.child.alive = False
    listener.worker.turn()
    assert listener.worker.counters["text.died"] == 1
    assert listener.state().health == "failed"
    listener.feed(SPEECH, 1)
    assert len(listener.children) == 1, "not at once: it may end again"
    listener.bench.run(5 * SECOND, listener.worker)
    listener.feed(SPEECH, 1)
    assert len(listener.children) == 2


def test_a_child_that_accepts_no_more_audio_is_killed(listener):
    listener.feed(SPEECH, 6)
    listener.child.full = True
    listener.feed(SPEECH, 1)
    assert not listener.children[0].alive
    assert listener.worker.counters["text.dropped"] == 1


def test_an_error_is_the_reason_until_a_segment_succeeds(listener):
    listener.sentence()
    listener.child.answers.append(Hypothesis(1, final=True, error="no server answers"))
    listener.worker.turn()
    assert listener.device.fault.reason == "no server answers"
    listener.sentence()
    listener.answer(2, WORD)
    assert listener.device.fault is None


def test_without_audio_text_is_absent(listener):
    listener.bench.run(3 * SECOND, listener.worker)
    state = listener.state()
    assert (state.health, state.reason) == ("absent", "no audio arrives on raw/audio")


@pytest.mark.parametrize("block", [np.zeros(512, np.float32), np.zeros((2, 512), np.int16)])
def test_audio_of_wrong_type_is_dropped_and_counted(listener, block):
    listener.feed(block, 1)
    assert listener.worker.counters["text.bad"] == 1


def test_text_mask_ends_the_recogniser(listener):
    listener.sentence()
    listener.bench.ask("mask", "text")
    listener.bench.turn(listener.worker)
    assert not listener.children[0].alive
    listener.sentence()
    assert len(listener.children) == 1


def test_closing_the_worker_leaves_no_child(listener):
    listener.sentence()
    listener.worker.close()
    assert not listener.child.alive
