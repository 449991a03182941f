"""A frozen camera is judged by its packets: never by pictures that look the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mer.capture.freeze import Freeze
from edge_mer.contract.clock import SECOND
from tests.capture.still_room import FPS, KEY_US, encoded, judge, repeated

FRAME_US = SECOND // FPS
JITTER_US = SECOND // 2


def states(packets: list[tuple[int, bytes, bool, int | None]]) -> list[bool]:
    freeze, found = Freeze(), []
    for packet in packets:
        freeze.arrived(*packet)
        found.append(freeze.frozen)
    return found


def jpegs(numbers: list[int], fps: int = FPS) -> list[tuple[int, bytes, bool, int | None]]:
    return [(i * SECOND // fps, bytes([n % 256]), True, i) for i, n in enumerate(numbers)]


@pytest.mark.parametrize(("noise", "crf"), [(0.5, 40), (1.0, 34), (2.0, 20)])
def test_a_still_room_is_never_frozen_and_packets_that_repeat_are_found_within_three_key_frames(
    noise: float, crf: int
) -> None:
    result = judge(repeated(encoded(20, noise, crf), 5), 20)
    assert result.alarms == 0
    assert result.found_us is not None
    assert result.found_us <= 3 * KEY_US + JITTER_US


def test_a_frozen_sensor_before_a_working_encoder_is_found() -> None:
    """Its key frames become equal when the rate control has settled."""
    result = judge(encoded(20, 1.0, 34, frozen_s=30), 20)
    assert result.alarms == 0
    assert result.found_us is not None


@pytest.mark.parametrize(("each", "fps"), [(15, 15), (75, 25)], ids=["a second", "three seconds"])
def test_a_camera_that_sends_each_picture_many_times_is_not_frozen(each: int, fps: int) -> None:
    assert not any(states(jpegs([n // each for n in range(60 * fps)], fps)))


def test_equal_jpegs_are_frozen_within_three_intervals_and_jitter() -> None:
    found = states(jpegs([*range(150), *[149] * 30]))
    assert not any(found[:150])
    assert found.index(True) - 149 <= (3 * FRAME_US + JITTER_US) // FRAME_US + 1


def test_a_camera_that_was_always_frozen_is_found() -> None:
    assert states(jpegs([7] * 120))[-1]


def test_a_camera_that_slows_down_changes_its_state_once() -> None:
    found = states(jpegs([*range(150), *[150 + n // 15 for n in range(60 * FPS)]]))
    assert sum(a != b for a, b in pairwise(found)) <= 2
    assert not found[-1]


def test_one_new_picture_does_not_end_a_freeze_but_live_pictures_do() -> None:
    found = states(jpegs([*range(30), *[29] * 60, 30, *[30] * 60, *range(31, 60)]))
    assert all(found[80:150])
    assert not any(found[-20:])


def test_packets_with_the_same_time_stamp_and_bytes_are_no_new_packets() -> None:
    live = [(i * FRAME_US, bytes([i]), i == 0, i) for i in range(100)]
    assert not any(states(live))
    resent = [(at + 100 * FRAME_US, b"\x63", False, 99) for at, *_ in live]
    assert states([*live, *resent])[-1]


def test_a_stream_without_further_key_frames_is_not_judged_by_what_it_shows() -> None:
    """Intra refresh has one key frame; packets of a still room may even be equal."""
    assert not any(states([(i * FRAME_US, b"skip", i == 0, i) for i in range(600)]))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, FRAME_US), min_size=200, max_size=300))
def test_new_pictures_are_never_frozen_whatever_their_jitter(late: list[int]) -> None:
    packets = [(i * FRAME_US + x, i.to_bytes(2, "big"), True, i) for i, x in enumerate(late)]
    assert not any(states(packets))
