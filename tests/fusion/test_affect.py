"""Valence and arousal: means of documented points, null with a reason where nothing supports them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.contract.domain import EMOTIONS
from edge_mer.contract.messages import Estimate, added_fields, canonical, result
from edge_mer.fusion.affect import (
    DIMENSIONS,
    LABELS,
    NO_AROUSAL,
    NO_VALENCE,
    POINTS,
    SCALE,
    affect_of,
    dimensions,
    of_voice,
)
from edge_mer.fusion.estimate import Pending, estimate
from edge_mer.fusion.journal import InitialState, opening_entry, opening_of
from edge_mer.fusion.settings import FusionSettings
from edge_mer.fusion.window import TokenWindow
from edge_mer.perception.voice import LOG_MEL
from edge_mer.runtime.model_file import read_model
from edge_mer.runtime.onnx import OnnxRuntime
from tests.fusion.scene import SETTINGS, HashModel, Scene

MODELS = Path("edge_mer/models")
WITH = msgspec.structs.replace(SETTINGS, affect=LABELS)
shares = st.lists(st.floats(0.01, 1), min_size=len(EMOTIONS), max_size=len(EMOTIONS)).map(
    lambda weights: tuple(w / sum(weights) for w in weights)
)


def window(values: np.ndarray) -> TokenWindow:  # type: ignore[type-arg]
    n = len(values)
    return TokenWindow(values.astype(np.float32), np.ones(n, np.float32), np.zeros(n, np.float32), n, 0, True, None)


def certain(emotion: str) -> list[float]:
    return [float(e == emotion) for e in EMOTIONS]


FACE = {"video": window(np.zeros((1, 7)))}
WORDS = {"text": window(np.zeros((1, 3)))}
VOICE = {"audio": window(np.array([[20.0, -20.0]]))}
EVEN = [1 / 7] * 7


@given(shares, st.none() | st.floats(-3, 3))
def test_values_stay_within_their_range(probabilities: tuple[float, ...], sentiment: float | None) -> None:
    found = dimensions(LABELS, FACE, probabilities, sentiment, None)
    assert all(-1 <= found[name] <= 1 for name in DIMENSIONS)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_a_certain_face_lies_at_the_point_of_its_label(emotion: str) -> None:
    found = dimensions(LABELS, FACE, certain(emotion), None, None)
    assert (found["valence"], found["arousal"]) == POINTS[emotion]


def test_valence_of_words_is_their_sentiment_and_beside_a_face_half_of_it() -> None:
    assert dimensions(LABELS, WORDS, certain("sad"), 3.0, None)["valence"] == 1
    assert dimensions(LABELS, {**FACE, **WORDS}, certain("neutral"), 3.0, None)["valence"] == 0.5


def test_words_alone_have_no_arousal_and_a_voice_alone_no_valence() -> None:
    words, voice = (dimensions(LABELS, some, EVEN, score, None) for some, score in ((WORDS, 0.0), (VOICE, None)))
    assert (words["arousal"], words["arousal_reason"]) == (None, NO_AROUSAL)
    assert (voice["valence"], voice["valence_reason"]) == (None, NO_VALENCE)
    assert words["valence_reason"] is None
    assert voice["arousal_reason"] is None


def test_input_that_cannot_be_read_gives_neither() -> None:
    found = dimensions(LABELS, FACE, EVEN, 0.0, "out of distribution (audio)")
    assert [found[name] for name in DIMENSIONS] == [None, None]
    assert {found[f"{name}_reason"] for name in DIMENSIONS} == {"out of distribution (audio)"}


@given(st.integers(1, 8), st.integers(1, 4), st.floats(-3, 3))
def test_arousal_of_a_voice_depends_on_neither_level_of_its_logits_nor_how_often_a_token_holds_them(
    tokens: int, members: int, level: float
) -> None:
    logits = np.array([2.0, -1.0, 0.5])
    points = (0.6, -0.3, 0.0)
    one = of_voice(points, window(logits[None]))
    assert of_voice(points, window(np.tile(logits + level, (tokens, members)))) == pytest.approx(one, abs=1e-6)
    assert -0.3 <= one <= 0.6


def test_empty_places_of_a_window_do_not_count() -> None:
    values = np.array([[9.0, -9.0], [0.0, 1.0]])
    late = replace(window(values), mask=np.array([0, 1], np.float32))
    assert of_voice((1.0, 0.0), late) == of_voice((1.0, 0.0), window(values[1:]))


def test_a_voice_decides_arousal_whatever_else_is_there_and_the_labels_without_one() -> None:
    affect = msgspec.structs.replace(LABELS, voice=(0.5, -0.25))
    for others in ({}, FACE, WORDS, {**FACE, **WORDS}):
        assert dimensions(affect, {**VOICE, **others}, EVEN, None, None)["arousal"] == pytest.approx(0.5)
    assert dimensions(affect, {**FACE, **WORDS}, certain("neutral"), None, None)["arousal"] == 0
    assert dimensions(LABELS, VOICE, certain("neutral"), None, None)["arousal"] == 0, "tokens that are no logits"


def test_the_tokens_of_the_shipped_voice_are_logits_of_the_classes_that_it_names() -> None:
    """What ``of_voice`` reads: the graph's own logits are these, less a prior that no token holds."""
    file = read_model(MODELS / "audio.onnx")
    affect = affect_of(MODELS, {"audio": str(file.metadata.get("origin", file.sha256))[:16]})
    graph, random = OnnxRuntime().load(MODELS / "audio.onnx"), np.random.default_rng(0)
    if LOG_MEL not in graph.inputs:
        pytest.skip("the small audio encoder ships: its tokens are no logits")
    assert len(affect.voice) == len(file.metadata["classes"])
    own, read = [], []
    for _ in range(6):
        spectrum = random.normal(-4, 2, (1, 200, 1)) + random.normal(0, 2, (1, 1, 80))
        said = graph.run({LOG_MEL: spectrum.astype(np.float32)})
        own.append(said["logits"][0])
        read.append(said["token"].reshape(-1, len(affect.voice)).mean(0))
    logits, tokens = (np.diff(np.array(x) - np.array(x).mean(1, keepdims=True), axis=0).ravel() for x in (own, read))
    assert tokens == pytest.approx(SCALE * logits, abs=0.02)
    assert np.abs(tokens).max() > 0.2


def test_another_voice_encoder_than_fusion_was_trained_on_falls_back_to_the_labels(tmp_path: Path) -> None:
    assert affect_of(MODELS, {"audio": "0" * 16}) == LABELS
    assert affect_of(tmp_path, {"audio": "0" * 16}) == LABELS


def test_estimates_without_a_modality_say_why_there_is_neither() -> None:
    body = estimate(Pending(0, {}, {}, {}, 0, None), WITH, HashModel()).estimate
    assert body is not None
    assert (body.valence, body.arousal) == (None, None)
    assert body.valence_reason == body.arousal_reason == body.abstain == "no modality present"


def test_a_session_from_before_gives_the_bytes_that_it_was_recorded_with() -> None:
    """Without affect in the journal's settings the results have no such field, so their digests stay."""
    old = msgspec.json.encode(InitialState(SETTINGS, "m", {}, 0)).replace(b',"affect":null', b"")
    assert b"affect" not in old
    entry = opening_entry(InitialState(SETTINGS, "m", {}, 0))
    opening = opening_of(msgspec.structs.replace(entry, opening=old.decode()))
    assert opening is not None
    assert opening.settings.affect is None
    scene = Scene(opening.settings)
    assert scene.settle("audio", "text").estimate.probabilities is not None
    for output in scene.outputs:
        fields = json.loads(canonical(output.origin_us, output.estimate))
        assert not added_fields(Estimate) & set(fields)


def test_settings_of_a_session_replay_with_the_points_of_that_session() -> None:
    moved = msgspec.structs.replace(WITH, affect=msgspec.structs.replace(LABELS, voice=(0.1, 0.2)))
    again = msgspec.json.decode(msgspec.json.encode(moved), type=FusionSettings)
    assert again == moved


def test_a_value_is_part_of_the_result() -> None:
    body = estimate(Pending(0, {}, {}, {}, 0, None), WITH, HashModel()).estimate
    assert body is not None
    assert result(0, msgspec.structs.replace(body, valence=0.25))["valence"] == 0.25
    assert "valence" not in result(0, body)


def test_what_is_masked_changes_no_valence_and_no_arousal() -> None:
    affect = msgspec.structs.replace(LABELS, voice=(0.5, -0.5))
    values = []
    for seed in (1, 2):
        scene = Scene(msgspec.structs.replace(SETTINGS, affect=affect))
        assert scene.settle("audio", seed=seed).estimate.arousal is not None
        scene.mask("audio", 1)
        values.append([scene.hop("video", seed=7).estimate for _ in range(12)][-1])
    assert values[0].combination == "v"
    assert values[0].arousal is not None
    assert values[0] == values[1]
