"""Windows unlike those of the fit are detected, and never raise confidence."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration import novelty as fitting
from calibration.validation import CalibrationError
from edge_mer.contract.errors import ModelError
from edge_mer.fusion.novelty import Contrast, Gaussian, Novelty, describe
from edge_mer.fusion.window import TokenWindow

PLAIN = Novelty("audio", (0.0, 0.0), ((1.0,), (0.0, 0.5)), 2.0, 0.95, 100, 4)


def film(spread: float, seed: int = 0, n: int = 20) -> np.ndarray:
    """Posteriors that vary by ``spread`` from frame to frame."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=7) + spread * random.normal(size=(n, 7))
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def window(values: np.ndarray) -> TokenWindow:
    """Right-aligned in a window of 20, with garbage in the slots that are masked out."""
    slots, mask = np.full((20, values.shape[1]), 1e9, np.float32), np.zeros(20, np.float32)
    if len(values):
        slots[-len(values) :], mask[-len(values) :] = values, 1
    return TokenWindow(slots, mask, np.arange(20, 0, -1, dtype=np.float32) / 5, len(values), 0, True, None)


def fitted(modality: str = "video") -> Novelty:
    rows = np.array([describe("video", film(0.5, seed), np.arange(20)) for seed in range(200)])
    return fitting.fit(modality, rows, np.arange(200) % 5)  # type: ignore[arg-type]


def test_the_distance_is_mahalanobis() -> None:
    assert PLAIN.distance(np.array([3.0, 8.0])) == pytest.approx(5.0)
    for alien in (np.zeros(3), np.array([0.0, np.nan]), np.array([np.inf, 0.0])):
        assert PLAIN.distance(alien) == np.inf


def test_photograph_and_flicker_are_out_of_distribution_and_a_face_is_not() -> None:
    known = fitted()
    faces = [known.doubt(window(film(0.5, seed))) for seed in range(1000, 1200)]
    assert 0.85 <= np.mean(np.array(faces) <= 1) <= 1.0
    assert min(known.doubt(window(film(0.002, seed))) for seed in range(20)) > 1
    assert min(known.doubt(window(film(8.0, seed))) for seed in range(20)) > 1


def test_masked_slots_of_a_window_are_ignored() -> None:
    known, face = fitted(), film(0.5, 3, n=12)
    clean = window(face)
    clean.values[clean.mask == 0] = 0
    assert known.doubt(window(face)) == known.doubt(clean)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_tokens_give_no_doubt(n: int) -> None:
    assert fitted().doubt(window(film(0.5, n=20)[:n])) == 0


def test_text_of_many_sub_words_is_out_of_distribution() -> None:
    random = np.random.default_rng(0)
    rows = []
    for _ in range(300):
        pieces = random.choice([1, 1, 1, 1, 1, 1, 2, 3], random.integers(3, 15))
        ages = np.repeat(np.arange(len(pieces)), pieces)
        rows.append(describe("text", np.zeros((len(ages), 1)), ages))
    known = fitting.fit("text", np.array(rows), np.arange(300))
    split = describe("text", np.zeros((24, 1)), np.repeat(np.arange(8), 3))
    ours = describe("text", np.zeros((8, 1)), np.arange(8))
    assert split is not None
    assert ours is not None
    assert known.distance(split) > known.limit > known.distance(ours)


@given(st.integers(0, 50), st.floats(1.5, 50))
def test_distance_grows_away_from_the_mean(seed: int, times: float) -> None:
    way = np.random.default_rng(seed).normal(size=2)
    assert PLAIN.distance(times * way) >= PLAIN.distance(way)


@pytest.mark.parametrize(
    ("mean", "whiten", "limit", "error"),
    [
        ((0.0, 0.0), ((1.0,),), 1.0, "1 rows of a triangle for 2 numbers"),
        ((0.0,), ((1.0, 2.0),), 1.0, "1 rows of a triangle"),
        ((float("nan"),), ((1.0,),), 1.0, "finite"),
        ((0.0,), ((1.0,),), 0.0, "limit > 0"),
        ((0.0,), ((1.0,),), float("inf"), "finite"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(mean: tuple, whiten: tuple, limit: float, error: str) -> None:
    with pytest.raises(ModelError, match=error):
        Novelty("video", mean, whiten, limit, 0.95, 100, 4)


@pytest.mark.parametrize(
    ("rows", "groups", "error"),
    [
        (np.zeros((99, 3)), np.arange(99), "99 windows of 99 groups, expected at least 100 of 2"),
        (np.zeros((200, 3)), np.zeros(200), "200 windows of 1 groups"),
        (np.full((200, 3), np.nan), np.arange(200), "200 of 200 windows hold NaN"),
    ],
)
def test_a_fit_on_too_little_is_refused_with_figures(rows: np.ndarray, groups: np.ndarray, error: str) -> None:
    with pytest.raises(CalibrationError, match=error):
        fitting.fit("audio", rows, groups)


def test_limit_comes_from_held_out_groups() -> None:
    """The groups are far apart: each is close to its own Gaussian, and far from those of the others."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 50)
    rows = random.normal(size=(200, 6)) + 20 * random.normal(size=(4, 6))[groups]
    known = fitting.fit("audio", rows, groups)
    assert known.limit > np.quantile([known.distance(r) for r in rows], 0.95) * 1.5


def plain(mean: float, numbers: int) -> Gaussian:
    """Uncorrelated numbers of variance 1 around ``mean``."""
    return Gaussian((mean,) * numbers, tuple((0.0,) * i + (1.0,) for i in range(numbers)))


def test_a_contrast_refuses_what_lies_near_and_changes_nothing_else() -> None:
    known, face = fitted(), window(film(0.5, 1004))
    people, n = plain(0.0, len(known.mean)), len(known.mean)
    same = msgspec.structs.replace(known, contrast=Contrast(people, people, 1.0, 0.95))
    refusing = msgspec.structs.replace(known, contrast=Contrast(people, people, -n / 2, 0.95))
    assert known.doubt(face) < 1
    assert same.doubt(face) == max(known.doubt(face), 1 - 1 / n)
    assert refusing.doubt(face) == pytest.approx(1.5)
    assert refusing.doubt(window(film(0.5, 3, n=1))) == 0.0, "too short to tell"


def test_a_contrast_is_the_difference_of_squared_distances() -> None:
    rule = Contrast(plain(0.0, 2), plain(3.0, 2), 0.0, 0.95)
    assert rule.score(np.array([0.0, 0.0])) == pytest.approx(-18.0)
    assert rule.score(np.array([3.0, 3.0])) == pytest.approx(18.0)
    assert rule.doubt(np.array([1.5, 1.5])) == pytest.approx(1.0)
    assert rule.doubt(np.array([0.0, 0.0])) == 0.0


def test_a_contrast_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ModelError, match="novelty of audio: its contrast"):
        msgspec.structs.replace(PLAIN, contrast=Contrast(plain(0.0, 3), plain(0.0, 3), 0.0, 0.95))
    with pytest.raises(ModelError, match="novelty of audio: limit"):
        msgspec.structs.replace(PLAIN, contrast=Contrast(plain(0.0, 2), plain(0.0, 2), float("nan"), 0.95))
    with pytest.raises(ModelError, match="NaN"):
        plain(float("nan"), 2)
