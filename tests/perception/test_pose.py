"""Head pose of five landmarks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.perception.pose import Pose, pose_of
from tests.perception.heads import view

yaws, pitches, rolls = st.floats(-80, 80), st.floats(-75, 75), st.floats(-179, 179)
scales = st.floats(2, 500)


@given(yaw=yaws, pitch=pitches, roll=rolls, scale=scales, x=st.floats(-2_000, 2_000), y=st.floats(-2_000, 2_000))
def test_the_pose_of_the_average_face_is_found_wherever_it_is(
    yaw: float, pitch: float, roll: float, scale: float, x: float, y: float
) -> None:
    pose = pose_of(view(yaw, pitch, roll) * scale + (x, y))
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx((yaw, pitch, roll), abs=1e-3)


@given(yaw=st.floats(-60, 60), pitch=st.floats(-40, 40), roll=rolls, seed=st.integers(0, 2**32 - 1))
def test_landmarks_off_by_two_percent_change_it_by_a_few_degrees(
    yaw: float, pitch: float, roll: float, seed: int
) -> None:
    shaken = view(yaw, pitch, roll) + np.random.default_rng(seed).uniform(-0.02, 0.02, (5, 2))
    pose = pose_of(shaken)
    assert (pose.yaw, pose.pitch) == pytest.approx((yaw, pitch), abs=12)


@given(yaw=yaws, pitch=pitches)
def test_a_mirrored_face_is_turned_the_other_way(yaw: float, pitch: float) -> None:
    mirrored = (view(yaw, pitch, 0) * (-1, 1))[[1, 0, 2, 4, 3]]
    assert pose_of(mirrored).yaw == pytest.approx(-yaw, abs=1e-3)


def test_a_nose_to_the_right_of_the_picture_is_a_positive_yaw_and_a_low_one_a_positive_pitch() -> None:
    ahead = view(0, 0, 0)
    right, low = ahead.copy(), ahead.copy()
    right[2, 0] += 0.2
    low[2, 1] += 0.1
    assert pose_of(right).yaw > 15
    assert pose_of(low).pitch > 5
    assert pose_of(ahead[:, ::-1] * (-1, 1)).roll == pytest.approx(90, abs=1e-6)


def test_points_that_all_coincide_have_no_pose() -> None:
    assert pose_of(np.full((5, 2), 7.0)) == Pose()
