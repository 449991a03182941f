"""A frozen camera is judged by its packets: never by pictures that look the same."""

from __future__ import annotations

from itertools import combinations, pairwise

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mer.capture.freeze import Freeze
from edge_mer.capture.key_frames import alike, print_of
from edge_mer.contract.clock import SECOND
from tests.capture.still_room import FPS, HEIGHT, KEY_US, WIDTH, encoded, judge, repeated, room

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


@pytest.mark.parametrize(("noise", "crf"), [(0.5, 40), (1.0, 34), (2.0, 20)])
def test_a_frozen_sensor_before_a_working_encoder_is_found_within_three_key_frames(noise: float, crf: int) -> None:
    """The encoder numbers its key frames, and its rate control settles with the second."""
    result = judge(encoded(20, noise, crf, frozen_s=30), 20)
    assert result.alarms == 0
    assert result.found_us is not None
    assert result.found_us <= 3 * KEY_US + JITTER_US


def keys_of(options: dict[str, str], profile: str, frozen: bool) -> list[bytes]:
    """Ten key frames at a constant quality."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = WIDTH, HEIGHT, "yuv420p", FPS
    encoder.gop_size, encoder.profile, encoder.thread_count = 1, profile, 1
    encoder.options = {"qp": "30", "tune": "zerolatency", **options}
    pictures = room(0, 1.0, 1) if frozen else room(1, 1.0, 0)
    found = []
    for picture in [*pictures][:10]:
        found += encoder.encode(av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuv420p"))
    return [bytes(p) for p in found]


@pytest.mark.parametrize("profile", ["Baseline", "Main", "High"], ids=str.lower)
@pytest.mark.parametrize("slices", [1, 4])
def test_key_frames_of_one_picture_are_alike_whatever_their_number(profile: str, slices: int) -> None:
    """Main and High align the picture to whole bytes (CABAC), Baseline does not."""
    options = {"slices": str(slices)}
    first, *others = (print_of(k, "h264") for k in keys_of(options, profile, frozen=True))
    assert all(alike(first, other) for other in others)
    live = [print_of(k, "h264") for k in keys_of(options, profile, frozen=False)]
    assert not any(alike(a, b) for a, b in combinations(live, 2))


def test_units_behind_their_length_are_told_apart_too() -> None:
    key = keys_of({}, "Main", frozen=True)[1]
    units = key.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]
    by_length = b"".join(len(u).to_bytes(4, "big") + u for u in units)
    assert alike(print_of(key, "h264"), print_of(by_length, "h264"))


@given(st.binary(max_size=200))
def test_any_bytes_have_a_print(body: bytes) -> None:
    assert alike(print_of(body, "h264"), print_of(body, "h264"))


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
