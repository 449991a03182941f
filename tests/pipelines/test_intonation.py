"""Functionals of a voice's pitch: its height and movement where it is voiced, and nothing else."""

from __future__ import annotations

import torch

from pipelines.encoders.intonation import Intonation

FRAMES, SILENT = 156, -25.0
MEAN, SPREAD, HIGH, LOW, MOVE, RISE, LEAPS, SLOPE = 0, 1, 3, 4, 7, 8, 9, 10


def spoken(octaves: torch.Tensor, strength: float = 0.9, pause: int = 0) -> torch.Tensor:
    """Functionals of a loud voice along ``octaves`` [n] with silence before it and ``pause`` frames after."""
    mel, pitch = torch.full((1, FRAMES, 64), SILENT), torch.zeros(1, FRAMES, 2)
    place = slice(FRAMES - pause - len(octaves), FRAMES - pause)
    mel[:, place], pitch[:, place, 0], pitch[:, place, 1] = -10.0, octaves, strength
    out: torch.Tensor = Intonation()(mel, pitch)[0]
    return out


def test_there_are_as_many_as_the_class_says() -> None:
    assert spoken(torch.zeros(80)).shape == (Intonation.size,)


def test_mean_and_spread_are_those_of_the_voiced_frames() -> None:
    octaves = 0.5 + 0.2 * torch.sin(torch.arange(80) / 5)
    found = spoken(octaves)
    assert (found[MEAN] - octaves.mean()).abs() < 1e-2
    assert (found[SPREAD] - octaves.std(correction=0)).abs() < 2e-2
    assert found[LOW] < -0.1 < 0.1 < found[HIGH]


def test_a_rising_voice_rises_and_a_falling_one_falls() -> None:
    rising, falling = (spoken(torch.linspace(a, b, 80)) for a, b in ((0, 1), (1, 0)))
    assert rising[SLOPE] > 0.05 > -0.05 > falling[SLOPE]
    assert rising[RISE] > 10 * falling[RISE].abs()
    assert torch.allclose(rising[MOVE], falling[MOVE], atol=1e-3)


def test_a_leap_between_frames_counts_as_a_leap_and_not_as_movement() -> None:
    jumping = spoken(torch.tensor([0.0, 1.0]).repeat(40))
    assert jumping[LEAPS] > 0.9
    assert jumping[MOVE] < 1e-3


def test_position_in_the_window_changes_nothing() -> None:
    octaves = torch.linspace(0, 0.5, 80)
    assert torch.allclose(spoken(octaves), spoken(octaves, pause=40), atol=1e-3)


def test_frames_that_do_not_repeat_do_not_count() -> None:
    voiced, whispered = spoken(torch.full((80,), 1.0)), spoken(torch.full((80,), 1.0), strength=0.2)
    assert voiced[MEAN] > 0.9
    assert whispered[MEAN].abs() < 1e-3


def test_silence_alone_gives_finite_numbers() -> None:
    assert torch.isfinite(Intonation()(torch.full((1, FRAMES, 64), SILENT), torch.zeros(1, FRAMES, 2))).all()
