"""What is familiar: voices as recorded and in a room's noise; what lies beyond both is not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration import novelty
from calibration.validation import CalibrationError
from edge_mer.perception.audio import AudioEncoder
from pipelines.data.corpora import Speech
from pipelines.fusion.tracks import audio_track
from tests.perception.fakes import activity_graph, audio_graph

SECONDS = 2


@dataclass(frozen=True)
class Clip(Speech):
    """A tone in place of a file."""

    def samples(self) -> NDArray[np.float32]:
        time = np.arange(SECONDS * 16_000) / 16_000
        return (0.3 * np.sin(2 * np.pi * (200 + 40 * self.actor) * time)).astype(np.float32)


def clip(actor: int) -> Speech:
    nothing = np.zeros((0, 7), np.float32)
    return Clip(None, nothing, np.zeros(0), SECONDS, 2, 3, actor)  # type: ignore[arg-type]


def test_a_voice_in_a_room_keeps_its_actor_and_label_and_sounds_other() -> None:
    ear, clips = AudioEncoder(audio_graph(), activity_graph()), [clip(17), clip(18)]
    found = novelty.in_rooms(ear, clips)
    assert [(e.group, e.emotion, list(e.tracks)) for e in found] == [
        ("actor 17", 2, ["audio"]),
        ("actor 18", 2, ["audio"]),
    ]
    for example, original in zip(found, clips, strict=True):
        noisy, clean = example.tracks["audio"], audio_track(ear, original.samples())
        assert noisy.end_s.tolist() == clean.end_s.tolist()
        assert np.abs(noisy.values - clean.values).max() > 0.5  # the floor between the bands rises
    again = novelty.in_rooms(ear, clips)
    assert all((a.tracks["audio"].values == b.tracks["audio"].values).all() for a, b in zip(found, again, strict=True))


def test_nearly_all_windows_of_a_new_group_are_familiar_and_a_far_one_is_not() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat([f"actor {i}" for i in range(8)], 60)
    described = random.normal(0, 1, (len(groups), 5))
    found = novelty.fit("audio", described, groups)
    fresh = random.normal(0, 1, (2_000, 5))
    assert np.mean([found.distance(x) <= found.limit for x in fresh]) == pytest.approx(novelty.LEVEL, abs=0.02)
    assert found.distance(np.full(5, 4.0)) > 2 * found.limit


@pytest.mark.parametrize(
    ("described", "groups", "message"),
    [
        (np.zeros((3, 2)), np.array(["a", "b", "b"]), "3 windows of 2 groups"),
        (np.zeros((500, 2)), np.array(["a"] * 500), "500 windows of 1 groups"),
        (np.full((500, 2), np.nan), np.array(["a", "b"] * 250), "500 of 500 windows hold NaN"),
    ],
)
def test_too_few_windows_or_broken_ones_are_refused(
    described: NDArray[np.float64], groups: NDArray[np.str_], message: str
) -> None:
    with pytest.raises(CalibrationError, match=message):
        novelty.fit("audio", described, groups)
