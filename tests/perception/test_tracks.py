"""Which face is whose: assignment, motion, appearance, and pictures on a wall."""

from __future__ import annotations

from itertools import product

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.perception.appearance import appearance, unlike
from edge_mer.perception.detect import Face, Image
from edge_mer.perception.mouth import first_view, next_view
from edge_mer.perception.stillness import STILL_US, watched
from edge_mer.perception.tracks import MISS, Track, assign, gate
from tests.perception.test_people import POINTS, SIDE, Drawn, picture

BOX = (100.0, 100.0, 80.0, 80.0)
SECOND = 1_000_000

costs = st.integers(1, 5).flatmap(
    lambda columns: st.lists(
        st.lists(st.one_of(st.floats(0, 3), st.just(MISS)), min_size=columns, max_size=columns), max_size=4
    )
)


def total(table: list[list[float]], chosen: tuple[int | None, ...]) -> float:
    return sum(MISS if column is None else row[column] for row, column in zip(table, chosen, strict=True))


@given(table=costs)
def test_no_other_assignment_costs_less(table: list[list[float]]) -> None:
    chosen = tuple(assign(table))
    taken = [c for c in chosen if c is not None]
    assert len(taken) == len(set(taken))
    assert all(c is None or row[c] < MISS for row, c in zip(table, chosen, strict=True))
    columns = range(len(table[0])) if table else range(0)
    others = product([None, *columns], repeat=len(table))
    allowed = (o for o in others if len({c for c in o if c is not None}) == sum(c is not None for c in o))
    assert total(table, chosen) <= min(total(table, o) for o in allowed) + 1e-9


def test_a_face_is_expected_where_its_motion_leads() -> None:
    track = Track("p1", 0, Face(BOX), 0)
    for n in range(1, 6):
        track = track.seen(Face((100.0 + 20 * n, 100.0, 80.0, 80.0)), n * 200_000)
    left, top, *_ = track.expected(1_200_000)
    assert left == pytest.approx(220, abs=2)
    assert top == 100
    assert track.expected(60 * SECOND)[0] < 100 + 20 * 5 + 65, "motion is not continued for ever"


def test_a_gate_is_about_place_and_size_and_widens_with_time() -> None:
    assert gate(BOX, (150.0, 100.0, 80.0, 80.0), 200_000)
    assert not gate(BOX, (250.0, 100.0, 80.0, 80.0), 200_000)
    assert gate(BOX, (250.0, 100.0, 80.0, 80.0), SECOND)
    assert not gate(BOX, (80.0, 80.0, 160.0, 160.0), 0)


def look(image: Image, roll: float = 0.0) -> np.ndarray:
    turn = np.radians(roll)
    middle = np.array((60 + SIDE / 2, 120 + SIDE / 2))
    points = (POINTS + np.array((60, 120)) - middle) @ np.array(
        [(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))]
    )
    return appearance(image, Face((60.0, 120.0, float(SIDE), float(SIDE)), points + middle))


def test_light_and_tilt_change_an_appearance_less_than_another_face() -> None:
    image = picture([Drawn(1, 60)])
    same = look(image)
    side = (image * np.linspace(0.5, 1.2, image.shape[1])[None, :, None]).clip(0, 255).astype(np.uint8)
    dark = (image * 0.5).astype(np.uint8)
    middle = (60 + SIDE / 2 - 0.5, 120 + SIDE / 2 - 0.5)
    tilted = cv2.warpAffine(image, cv2.getRotationMatrix2D(middle, -12, 1.0), (image.shape[1], image.shape[0]))
    others = [unlike(same, look(picture([Drawn(n, 60)]))) for n in range(2, 12)]
    assert unlike(same, look(side)) < 0.1
    assert unlike(same, look(dark)) < 0.02
    assert unlike(same, look(np.asarray(tilted, np.uint8), 12.0)) < min(others) / 3


def test_noise_alone_is_a_picture_and_a_face_that_sways_is_not() -> None:
    for sway, is_picture in ((0, True), (1, False)):
        state = None
        for n in range(30):
            image = picture([Drawn(1, 60 + n % 2 * sway)])
            noisy = image + np.random.default_rng(n).normal(0, 2, image.shape)
            state = watched(state, noisy.clip(0, 255).astype(np.uint8), (60.0, 120.0, 80.0, 80.0), n * 200_000)
        assert state is not None
        assert state.is_picture(29 * 200_000) is is_picture
        assert not state.is_picture(state.since_us + STILL_US - 1)


@given(dx=st.integers(-3, 3), dy=st.integers(-3, 3))
def test_the_motion_of_a_mouth_does_not_depend_on_that_of_the_head(dx: int, dy: int) -> None:
    def moved(opened: int) -> float:
        view = first_view(picture([Drawn(1, 60)]), POINTS + np.array((60, 120)))
        return next_view(picture([Drawn(1, 60 + dx, 120 + dy, opened)]), view)[1]

    assert moved(200) > 2 * moved(0)
