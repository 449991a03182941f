"""Voice activity detection cuts audio into segments, independent of the split into calls."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_mer.capture.asr.segmenter import CHUNK, Begin, End, Event, SegmentAudio, Segmenter, SegmenterSettings
from edge_mer.perception.speech import PackagedVad

DEMO = Path(__file__).parents[3] / "edge_mer" / "demo" / "assets" / "demo.mkv"
CHUNK_US = 32_000


class Loudness:
    """A detector whose probability is the loudness of the chunk: a test sets the probabilities with it."""

    def initial(self) -> int:
        return 0

    def step(self, state: int, chunk: np.ndarray) -> tuple[int, float]:
        return state + 1, float(np.abs(chunk).max())


def audio(*parts: tuple[float, int]) -> np.ndarray:
    """(probability, chunks) in a row."""
    return np.concatenate([np.full(count * CHUNK, round(p * 32_767), np.int16) for p, count in parts])


def fold(samples: np.ndarray, cuts: list[int] | None = None, settings: SegmenterSettings | None = None) -> list[Event]:
    segmenter = Segmenter(Loudness(), settings)
    state: Any = segmenter.initial()
    events: list[Event] = []
    edges = [0, *sorted(c % (len(samples) + 1) for c in cuts or []), len(samples)]
    for start, end in pairwise(edges):
        state, found = segmenter.step(state, start * 1_000_000 // 16_000, samples[start:end])
        events += found
    return events


def shape(events: list[Event]) -> list[tuple[str, int]]:
    """Begin with its time in chunks, End with how many pieces it had."""
    found: list[tuple[str, int]] = []
    pieces = 0
    for event in events:
        if isinstance(event, Begin):
            found.append(("begin", round(event.origin_us / CHUNK_US)))
            pieces = 0
        elif isinstance(event, SegmentAudio):
            pieces += 1
        elif isinstance(event, End):
            found.append(("cut" if event.cut else "end", pieces))
    return found


def test_a_segment_includes_the_audio_before_speech_and_ends_after_silence():
    assert shape(fold(audio((0, 20), (0.9, 30), (0, 40)))) == [("begin", 12), ("end", 8 + 30 + 16)]


def test_a_click_is_not_speech():
    assert fold(audio((0, 20), (0.9, 2), (0, 40))) == []


def test_a_short_pause_does_not_end_a_segment():
    assert shape(fold(audio((0.9, 10), (0, 15), (0.9, 10), (0, 30)))) == [("begin", 0), ("end", 10 + 15 + 10 + 16)]


def test_probabilities_between_the_thresholds_change_nothing():
    assert fold(audio((0.45, 100))) == [], "not loud enough to begin"
    assert shape(fold(audio((0.9, 5), (0.45, 100)))) == [("begin", 0)], "loud enough to go on"


def test_a_long_segment_is_cut_without_loss_of_speech():
    events = fold(audio((0.9, 25), (0, 20)), settings=SegmenterSettings(longest_chunks=10))
    assert shape(events) == [
        ("begin", 0),
        ("cut", 10),
        ("begin", 10),
        ("cut", 10),
        ("begin", 20),
        ("cut", 10),
        ("begin", 30),
        ("end", 10),
    ]
    assert sum(isinstance(e, SegmentAudio) for e in events) == 40, (
        "25 of speech, 16 of silence, of which the last is left out"
    )


@given(
    parts=st.lists(st.tuples(st.sampled_from([0.0, 0.4, 0.9]), st.integers(1, 30)), min_size=1, max_size=8),
    tail=st.integers(0, CHUNK - 1),
    cuts=st.lists(st.integers(0, 200_000), max_size=12),
)
def test_any_split_of_the_samples_gives_the_same_segments(parts, tail, cuts):
    samples = np.concatenate([audio(*parts), np.zeros(tail, np.int16)])
    once, pieces = fold(samples), fold(samples, cuts)
    assert shape(once) == shape(pieces)
    for a, b in zip(once, pieces, strict=True):
        if isinstance(a, Begin) and isinstance(b, Begin):
            assert abs(a.origin_us - b.origin_us) <= 1, "rounding of the blocks' own times"
        if isinstance(a, SegmentAudio) and isinstance(b, SegmentAudio):
            assert np.array_equal(a.samples, b.samples)


@example([(1.0, 25), (0.0, 16)])
@example([(1.0, 24), (0.0, 16)])
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 30)), min_size=1, max_size=8))
def test_events_are_well_nested_and_segments_have_a_longest_length(parts):
    settings = SegmenterSettings(longest_chunks=40)
    inside, pieces = False, 0
    for event in fold(audio(*parts), settings=settings):
        if isinstance(event, Begin):
            assert not inside
            inside, pieces = True, 0
        else:
            assert inside
            pieces += isinstance(event, SegmentAudio)
            inside = not isinstance(event, End)
        assert pieces <= settings.longest_chunks


@pytest.fixture(scope="module")
def demo() -> np.ndarray:
    with av.open(str(DEMO)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def test_the_packaged_detector_finds_the_long_pause_of_the_demo(demo):
    segmenter = Segmenter(PackagedVad())
    _, events = segmenter.step(segmenter.initial(), 0, demo[: 12 * 16_000])
    starts = [event.origin_us / 1e6 for event in events if isinstance(event, Begin)]
    assert any(8.2 < start < 9.3 for start in starts), "speech starts again at 9.0 s, after the pause from 7.0 s"
    assert not any(7.2 < start < 8.2 for start in starts)


def test_the_initial_state_depends_on_no_earlier_audio(demo):
    segmenter = Segmenter(PackagedVad())
    _, first = segmenter.step(segmenter.initial(), 0, demo[:32_000])
    _, again = segmenter.step(segmenter.initial(), 0, demo[:32_000])
    assert shape(list(first)) == shape(list(again))
