"""Sound of a stream gets times that are monotonic, follow its timestamps, and never fall behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.capture.stream_clock import AHEAD_US, LATE_US, StreamClock
from edge_mer.contract.clock import SECOND

FRAME_US = 20_000


class Stream:
    """Frames of 20 ms; ``frames`` are their placements that were not skipped, with the time at which each is due."""

    def __init__(self, live: bool) -> None:
        self.clock, self.now_us, self.pts_us = StreamClock(live), 100 * SECOND, 7 * SECOND
        self.origins: list[int] = []
        self.skipped = 0

    def give(self, count: int = 1, late_us: int = 0) -> None:
        """``count`` frames, each read when the one before has been played (or as late as said)."""
        for _ in range(count):
            self.now_us += late_us
            placed = self.clock.place(self.pts_us, FRAME_US, self.now_us)
            self.pts_us += FRAME_US
            self.skipped += placed.skip
            if not placed.skip:
                self.now_us += placed.wait_us
                self.origins.append(placed.origin_us)

    @property
    def lag_us(self) -> int:
        """From the end of the newest frame until now."""
        return self.now_us - self.origins[-1] - FRAME_US


def test_a_segment_that_arrives_at_once_is_played_in_real_time() -> None:
    stream = Stream(live=False)
    stream.give(300)
    assert stream.skipped == 0
    assert stream.now_us - 100 * SECOND == 299 * FRAME_US
    assert {b - a for a, b in zip(stream.origins, stream.origins[1:], strict=False)} == {FRAME_US}


def test_what_a_live_stream_had_buffered_is_skipped_so_that_delay_never_grows() -> None:
    stream = Stream(live=True)
    stream.give(1)
    for _ in range(500):  # ten seconds at once
        placed = stream.clock.place(stream.pts_us, FRAME_US, stream.now_us)
        stream.pts_us += FRAME_US
        stream.skipped += placed.skip
        assert placed.wait_us <= AHEAD_US
    assert stream.skipped > 490


@pytest.mark.parametrize("live", [True, False])
def test_a_stall_moves_time_forward_once(live: bool) -> None:
    stream = Stream(live)
    stream.give(10)
    stream.give(1, late_us=3 * SECOND)
    stream.give(10)
    assert stream.clock.jumps == 1
    assert stream.lag_us <= LATE_US


@pytest.mark.parametrize("step_us", [-5 * SECOND, -SECOND, -60_000, 3600 * SECOND])
def test_another_timeline_goes_on_where_the_old_one_ended(step_us: int) -> None:
    stream = Stream(live=False)
    stream.give(50)
    stream.pts_us += step_us
    stream.give(50)
    steps = [b - a for a, b in zip(stream.origins, stream.origins[1:], strict=False)]
    assert set(steps) == {FRAME_US}
    assert stream.clock.jumps == 1


def test_lost_sound_is_a_gap_in_time() -> None:
    stream = Stream(live=False)
    stream.give(10)
    stream.pts_us += SECOND
    stream.give(10)
    assert sorted(b - a for a, b in zip(stream.origins, stream.origins[1:], strict=False))[-1] == SECOND + FRAME_US


def test_frames_without_timestamps_follow_each_other() -> None:
    clock, now = StreamClock(live=True), SECOND
    placed = [clock.place(None, FRAME_US, now + i * FRAME_US) for i in range(5)]
    assert [p.origin_us - placed[0].origin_us for p in placed] == [i * FRAME_US for i in range(5)]


@given(
    steps=st.lists(st.tuples(st.integers(-(10**7), 10**7), st.integers(0, 3 * 10**6)), min_size=1, max_size=60),
    live=st.booleans(),
)
def test_whatever_comes_times_are_near_now_and_waits_are_bounded_for_live_streams(
    steps: list[tuple[int, int]], live: bool
) -> None:
    clock, now, pts = StreamClock(live), 100 * SECOND, 0
    for step, pause in steps:
        now, pts = now + pause, max(0, pts + step)
        placed = clock.place(pts, FRAME_US, now)
        assert placed.wait_us >= 0
        assert placed.origin_us + FRAME_US >= now - LATE_US
        if live and not placed.skip:
            assert placed.wait_us <= AHEAD_US
            now += placed.wait_us
