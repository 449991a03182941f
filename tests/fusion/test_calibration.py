"""The calibration file: bound to its weights, protected by a hash; ``calibrated`` is true only where it applies."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_mer.contract.domain import COMBINATIONS, EMOTIONS, MODALITIES, Combination, Modality, modalities_of
from edge_mer.contract.errors import ModelError
from edge_mer.contract.messages import Presence
from edge_mer.fusion.calibration import FILE, Calibration, Fit, read, weights_of, write
from edge_mer.fusion.confidence import softmax, temperature
from edge_mer.fusion.estimate import Pending, estimate
from edge_mer.fusion.model import GraphFusionModel, load_fusion_model
from edge_mer.fusion.window import TokenWindow
from tests.fusion.scene import SETTINGS, HashModel

LOGITS = np.array([[0, 1, 2, 3, 4, 5, 9]], np.float32)
TEMPERATURE = {c: 1.5 + i for i, c in enumerate(COMBINATIONS)}


@dataclass
class Fused:
    """A fusion graph with constant output."""

    combination: Combination
    sha256: str = ""
    origin: str | None = None
    inputs: Any = None
    outputs: Any = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sha256 = self.sha256 or f"weights of {self.combination}"
        used = modalities_of(self.combination)
        self.metadata = {
            "name": f"mer-{self.combination}",
            "labels": list(EMOTIONS),
            "tokens": {m: HashModel.capacity[m] for m in used},
            "dims": {m: HashModel.dims[m] for m in used},
            "encoders": {m: HashModel.encoders[m] for m in used},
            "sentiment": {"supported": False, "reason": "no labels"},
            **({"origin": self.origin} if self.origin else {}),
        }

    def run(self, inputs: Any) -> dict[str, Any]:
        return {"logits": LOGITS, "sentiment": np.zeros((1, 1), np.float32)}


class ConstantBackend:
    """A backend of constant graphs."""

    name = "backend"

    def __init__(self, **changed: str) -> None:
        self.graphs = {c: Fused(c, changed.get(c, "")) for c in COMBINATIONS}

    def load(self, path: Path) -> Any:
        return self.graphs[path.name.split(".")[1]]  # type: ignore[index]

    def describe(self) -> dict[str, str]:
        return {}


def fit(c: Combination, measured: bool = True) -> Fit:
    return Fit(temperature(c, TEMPERATURE[c]), measured, 240, 4, 0.9, 0.8 if measured else None, None)


def calibration(backend: ConstantBackend, *left_out: Combination) -> Calibration:
    measured = ("a", "v", "av", "t")
    return Calibration(
        weights_of(backend.graphs), {c: fit(c, c in measured) for c in COMBINATIONS if c not in left_out}
    )


def windows(c: Combination) -> dict[Modality, TokenWindow]:
    def one(m: Modality) -> TokenWindow:
        n = HashModel.capacity[m]
        zeros = np.zeros(n, np.float32)
        return TokenWindow(np.zeros((n, HashModel.dims[m]), np.float32), zeros, zeros, n, 0, False, None)

    return {m: one(m) for m in modalities_of(c)}


def published(model: Any, c: Combination) -> Any:
    presence = {m: Presence("present" if m in modalities_of(c) else "absent", None, 0) for m in MODALITIES}
    return estimate(Pending(0, windows(c), presence, {}, 0, None), SETTINGS, model).estimate


@pytest.mark.parametrize("c", COMBINATIONS)
def test_every_combination_is_scaled_by_its_own_temperature(c: Combination, tmp_path: Path) -> None:
    backend = ConstantBackend()
    write(tmp_path, calibration(backend))
    body = published(load_fusion_model(backend, tmp_path), c)
    assert list(body.probabilities.values()) == pytest.approx(softmax(LOGITS[0] / TEMPERATURE[c]))
    assert body.confidence == pytest.approx(softmax(LOGITS[0] / TEMPERATURE[c]).max())
    assert body.calibrated == (c in ("a", "v", "av", "t")), "true only for what was measured jointly"


def test_confidence_without_file_or_fit_is_raw_and_marked_uncalibrated(tmp_path: Path) -> None:
    backend = ConstantBackend()
    bare = published(load_fusion_model(backend, tmp_path), "av")
    write(tmp_path, calibration(backend, "av"))
    other = published(load_fusion_model(backend, tmp_path), "av")
    for body in (bare, other):
        assert not body.calibrated
        assert body.confidence == pytest.approx(softmax(LOGITS[0]).max())
    assert not published(load_fusion_model(backend, tmp_path), "none").calibrated


def test_model_name_depends_on_the_calibration(tmp_path: Path) -> None:
    backend = ConstantBackend()
    made = calibration(backend)
    warmer = {**made.fits, "a": msgspec.structs.replace(made.fits["a"], scaling=temperature("a", 7))}
    names = {GraphFusionModel(backend.graphs, c).name for c in (None, made, Calibration(made.weights, warmer))}
    assert len(names) == 3, "a replay must find the calibration that the session ran with"


def test_write_read_round_trip(tmp_path: Path) -> None:
    made = calibration(ConstantBackend())
    assert write(tmp_path, made) == tmp_path / FILE
    assert read(tmp_path, made.weights) == made
    assert [p.name for p in tmp_path.iterdir()] == [FILE]
    assert read(tmp_path / "elsewhere", made.weights) is None


def test_the_weights_are_the_same_in_every_precision() -> None:
    plain = {c: Fused(c) for c in COMBINATIONS}
    half = {c: Fused(c, f"fp16 of {c}", origin=plain[c].sha256) for c in COMBINATIONS}
    assert weights_of(half) == weights_of(plain)
    assert weights_of({**plain, "a": Fused("a", "retrained")}) != weights_of(plain)


def test_retrained_weights_refuse_the_old_calibration(tmp_path: Path) -> None:
    write(tmp_path, calibration(ConstantBackend()))
    with pytest.raises(ModelError, match=r"fitted for the weights .*run: python -m calibration\.confidence"):
        load_fusion_model(ConstantBackend(tv="retrained"), tmp_path)


def test_a_changed_number_is_found(tmp_path: Path) -> None:
    backend = ConstantBackend()
    path = write(tmp_path, calibration(backend))
    path.write_bytes(path.read_bytes().replace(b'"samples":240', b'"samples":999', 1))
    with pytest.raises(ModelError, match="was changed after the fit"):
        load_fusion_model(backend, tmp_path)


def test_one_combinations_fit_under_anothers_name_is_refused(tmp_path: Path) -> None:
    backend = ConstantBackend()
    made = calibration(backend)
    write(tmp_path, Calibration(made.weights, {**made.fits, "at": fit("a")}))
    with pytest.raises(ModelError, match="gives 'at' the calibration of 'a'"):
        load_fusion_model(backend, tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"sha256": "x"}', b'{"sha256": 1, "calibration": {}}']
)
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ModelError, match="not a usable calibration"):
        read(tmp_path, "")


def test_negative_scale_with_a_valid_hash_is_refused(tmp_path: Path) -> None:
    made = json.loads(msgspec.json.encode(calibration(ConstantBackend())))
    made["fits"]["a"]["scaling"]["scale"][0] = -1.0
    body = json.dumps(made)
    seal = hashlib.sha256(body.encode()).hexdigest()
    (tmp_path / FILE).write_text(f'{{"sha256": "{seal}", "calibration": {body}}}')
    with pytest.raises(ModelError, match="scale >= 0"):
        read(tmp_path, made["weights"])


HAPPY, SAD = (EMOTIONS.index(e) for e in ("happy", "sad"))


@dataclass
class Leaning(Fused):
    """A fusion graph sure of one label, with a sentiment where words are read."""

    label: int = HAPPY
    logit: float = 6.0

    def run(self, inputs: Any) -> dict[str, Any]:
        logits = np.zeros((1, 7), np.float32)
        logits[0, self.label] = self.logit
        return {"logits": logits, "sentiment": np.ones((1, 1), np.float32)}


def leaning(with_words: int, logit: float = 6.0, measured: bool = False) -> GraphFusionModel:
    """Voice alone is rather sure of happy; voice and words are of ``with_words``, by ``logit``."""
    backend = ConstantBackend()
    backend.graphs["a"] = Leaning("a", logit=4.0)
    backend.graphs["at"] = Leaning("at", label=with_words, logit=logit)
    backend.graphs["at"].metadata["sentiment"] = {"supported": True, "reason": None}
    one = temperature("a", 1.0), temperature("at", 1.0)
    fits = {
        "a": Fit(one[0], True, 240, 4, 0.9, None, None, floor=0.5),
        "at": Fit(one[1], measured, 240, 4, 0.9, None, None, floor=0.6),
    }
    return GraphFusionModel(
        backend.graphs, Calibration(weights_of(backend.graphs), {**calibration(backend).fits, **fits})
    )


def test_words_that_agree_make_a_label_surer() -> None:
    alone = published(leaning(HAPPY), "a")
    both = published(leaning(HAPPY), "at")
    assert (alone.label, both.label, both.combination) == ("happy", "happy", "at")
    assert both.confidence > alone.confidence


@pytest.mark.parametrize(("with_words", "logit"), [(SAD, 6.0), (HAPPY, 1.0)], ids=["contradict", "are unsure"])
def test_words_neither_change_nor_withhold_the_label_of_a_voice(with_words: int, logit: float) -> None:
    alone, both = (published(leaning(with_words, logit), c) for c in ("a", "at"))
    assert both.label == alone.label == "happy"
    assert both.probabilities == alone.probabilities
    assert (alone.sentiment, both.sentiment) == (None, 1.0), "words still give the sentiment"
    assert both.presence["text"].state == "present"


def test_words_decide_where_they_were_measured_with_a_voice() -> None:
    assert published(leaning(SAD, measured=True), "at").label == "sad"
