"""When estimates abstain: each reason, and the order of reasons."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_mer.contract.domain import Combination, modalities_of
from edge_mer.contract.messages import Presence
from edge_mer.fusion.abstention import NOTHING, UNBOUND, abstention, without_estimate
from edge_mer.fusion.calibration import Calibration, Fit
from edge_mer.fusion.confidence import temperature
from edge_mer.fusion.estimate import UNFAMILIAR_WORDS, Pending, estimate
from edge_mer.fusion.model import GraphFusionModel, Prediction
from edge_mer.fusion.novelty import Novelty
from edge_mer.fusion.presence import FEW, WARMING
from tests.fusion.scene import SETTINGS, HashModel, Scene, tokens
from tests.fusion.test_calibration import LOGITS, TEMPERATURE, ConstantBackend, calibration, fit, published, windows

HERE = {"audio": Presence("present", None, 9)}
CLEAR = Fit(temperature("a", 1.0), True, 240, 4, 0.9, 0.8, None, floor=0.4, largest_set=4)


def why(
    presence: Any = HERE,
    scarce: Any = (),
    unfamiliar: Any = (),
    confidence: float = 0.9,
    labels: int = 1,
    fitted: Fit | None = CLEAR,
) -> str | None:
    return abstention(presence, scarce, unfamiliar, confidence, labels, fitted)


def test_each_reason_and_their_order() -> None:
    rival = {"video": Presence("absent", "unbound", 0), **HERE}
    assert why() is None
    assert why(confidence=0.39) == "low confidence"
    assert why(confidence=0.4) is None
    assert why(labels=5, confidence=0.39) == "set too large (5 labels)"
    assert why(labels=4) is None
    assert why(unfamiliar=("audio", "text"), labels=5) == "out of distribution (audio, text)"
    assert why(scarce=["video"], unfamiliar=("audio",)) == "too few tokens (video)"
    assert why(rival, scarce=["video"]) == "unbound"


def test_without_a_fit_low_confidence_does_not_withhold_the_label() -> None:
    assert why(confidence=0.15, labels=7, fitted=None) is None
    assert why(unfamiliar=("audio",), fitted=None) == "out of distribution (audio)"


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        ((None, "no face", "no words"), NOTHING),
        ((WARMING, FEW, "no words"), WARMING),
        ((FEW, "no face", None), FEW),
        ((WARMING, UNBOUND, None), UNBOUND),
        ((None, "no face", "unknown language"), "unknown language"),
    ],
)
def test_reason_for_no_estimate(reasons: tuple[str | None, ...], expected: str) -> None:
    presence = dict(zip(("audio", "video", "text"), (Presence("x", r, 0) for r in reasons), strict=True))
    assert without_estimate(presence) == expected  # type: ignore[arg-type]


def test_starting_sensor_is_warming_up_and_silent_one_has_too_few_tokens() -> None:
    scene = Scene()
    first = scene.hop("audio").estimate
    assert (first.combination, first.label, first.abstain) == ("none", None, "warming up")
    scene = Scene()
    for _ in range(8):
        scene.hop("audio", valid=False)
    late = scene.hop("audio").estimate
    assert late.presence["audio"] == Presence("warming", "too few tokens", late.presence["audio"].tokens)
    assert late.abstain == "too few tokens"


def test_two_faces_withhold_the_label_of_audio_too() -> None:
    scene = Scene()
    scene.settle("audio")
    for _ in range(4):
        scene.give(*_unbound(scene))
        body = scene.hop("audio").estimate
    assert (body.combination, body.label, body.abstain) == ("a", None, "unbound")
    assert body.probabilities is not None, "probabilities are published; only the label is withheld"


def _unbound(scene: Scene) -> list[Any]:
    return [tokens("video", [scene.now_us + 100_000], valid=False, reason="unbound")]


def sharp(c: Combination, **limits: Any) -> Fit:
    return replace_fit(fit(c), **limits)


def replace_fit(some: Fit, **limits: Any) -> Fit:
    return msgspec.structs.replace(some, **limits)


def with_fits(changed: dict[Combination, Fit], novelty: dict[Any, Novelty] | None = None) -> GraphFusionModel:
    backend = ConstantBackend()
    made = calibration(backend)
    return GraphFusionModel(backend.graphs, Calibration(made.weights, {**made.fits, **changed}, novelty or {}))


def test_low_confidence_withholds_the_label_and_keeps_the_figures() -> None:
    sure = published(with_fits({}), "a")
    assert sure.label is not None
    assert sure.prediction_set[0] == sure.label
    body = published(with_fits({"a": sharp("a", floor=sure.confidence + 1e-6)}), "a")
    assert (body.label, body.abstain) == (None, "low confidence")
    assert (body.confidence, body.probabilities, body.prediction_set) == (
        sure.confidence,
        sure.probabilities,
        sure.prediction_set,
    )


def test_prediction_set_is_published_for_measured_combinations_only() -> None:
    model = with_fits({c: sharp(c, set_limit=1.0, largest_set=4) for c in ("a", "v")})
    body = published(model, "a")
    assert (len(body.prediction_set), body.coverage, body.abstain) == (7, 0.9, "set too large (7 labels)")
    unmeasured = published(model, "at")
    assert (unmeasured.prediction_set, unmeasured.sentiment_interval, unmeasured.coverage) == (None, None, None)


class Sentimental:
    """Gives the same sentiment for every window."""

    name, capacity, dims, encoders = HashModel.name, HashModel.capacity, HashModel.dims, HashModel.encoders

    def __init__(self, value: float, **limits: Any) -> None:
        fitted = replace_fit(fit("t"), sentiment_radius=1.5, **limits)
        self.prediction = Prediction((0.4, *[0.1] * 6), value, None, fitted)

    def predict(self, combination: Combination, windows: Any) -> Prediction:
        return self.prediction


def test_sentiment_interval_contains_the_sentiment_and_stays_in_the_scale() -> None:
    assert published(Sentimental(1.0), "t").sentiment_interval == (-0.5, 2.5)
    assert published(Sentimental(-2.0), "t").sentiment_interval == (-3.0, -0.5)
    assert published(Sentimental(1.0), "t").coverage == 0.9
    assert published(Sentimental(1.0, measured=False), "t").sentiment_interval is None
    strange = Sentimental(1.0)
    strange.prediction = replace(strange.prediction, unfamiliar=("text",))
    assert published(strange, "t").sentiment_interval is None


def test_window_out_of_distribution_is_less_confident_uncalibrated_and_has_no_label() -> None:
    """The mean token of every window is 0: out of distribution for a Gaussian about 10, not for one about 0."""
    dim = HashModel.dims["audio"] + 2
    spread = float(np.log(1e-3))
    whiten = tuple((0.0,) * i + (1.0,) for i in range(dim))
    near = Novelty("audio", (0.0,) * (dim - 2) + (spread, spread), whiten, 2.0, 0.95, 100, 4)
    far = Novelty("audio", (10.0,) * (dim - 2) + (spread, spread), whiten, 2.0, 0.95, 100, 4)
    usual, strange = (_estimate_of(with_fits({}, {"audio": n})) for n in (near, far))
    assert usual.label is not None
    assert usual.calibrated
    assert strange.abstain == "out of distribution (audio)"
    assert (strange.label, strange.calibrated, strange.prediction_set) == (None, False, None)
    assert strange.confidence == pytest.approx(temperature("a", 1.0).probabilities("a", _flat(10.0)).max())
    assert strange.confidence < usual.confidence


def _flat(doubt: float) -> np.ndarray:
    """The logits at this distance over the limit."""
    return LOGITS[0] / doubt / TEMPERATURE["a"]


def _estimate_of(model: GraphFusionModel) -> Any:
    full = {m: replace(w, mask=np.ones_like(w.mask)) for m, w in windows("a").items()}
    return estimate(Pending(0, full, HERE, {}, 0, None), SETTINGS, model).estimate


class StrangeWords:
    """Finds every text unfamiliar, and is sure of the label without it."""

    name, capacity, dims, encoders = HashModel.name, HashModel.capacity, HashModel.dims, HashModel.encoders

    def __init__(self) -> None:
        self.asked: list[Combination] = []

    def predict(self, combination: Combination, windows: Any) -> Prediction:
        assert set(windows) == set(modalities_of(combination))
        self.asked.append(combination)
        strange = ("text",) if "t" in combination else ()
        return Prediction((0.4, *[0.1] * 6), None, "none", None, strange)


@pytest.mark.parametrize(("combination", "left"), [("at", "a"), ("tv", "v"), ("atv", "av")])
def test_unfamiliar_words_count_as_absent_beside_a_voice_or_face(combination: Combination, left: Combination) -> None:
    model = StrangeWords()
    body = published(model, combination)
    assert (body.combination, body.label) == (left, "neutral")
    assert (body.presence["text"].state, body.presence["text"].reason) == ("absent", UNFAMILIAR_WORDS)
    assert model.asked == [combination, left]


def test_unfamiliar_words_alone_have_no_label() -> None:
    assert published(StrangeWords(), "t").abstain == "out of distribution (text)"
