"""Stress tables: damage is as strong as it says, figures are what would be published, a broken promise is named."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration import corruptions as damage
from calibration import encodings
from calibration import ood_samples as material
from calibration.encodings import Encodings, made_by
from calibration.simulate_output import SETTINGS, Figures, figures, publish
from calibration.stress import CLEAN, StressRow, falls
from edge_mer.contract.domain import EMOTIONS, Combination
from edge_mer.demo.config import SESSION
from edge_mer.fusion.calibration import read, weights_of
from edge_mer.fusion.model import GraphFusionModel
from edge_mer.perception.crop import crop_face, sharpness
from edge_mer.perception.encoder import VideoFrame
from edge_mer.perception.face import SHARP
from pipelines.demo.face import EXPRESSIONS, Pose, draw
from pipelines.encoders.shipped import MODELS
from pipelines.fusion.windows import TokenTrack
from tests.fusion.scene import HashModel, Scene, tokens
from tests.gateway.estimates import estimate


def row(level: str, given: float, family: str = "noise at", windows: int = 200) -> StressRow:
    return StressRow(family, level, "a", Figures(windows, 1, 0.5, 0, 0.02, 0, None, given, 0.6, 0.5))


def test_abstention_that_falls_as_it_gets_worse_is_named() -> None:
    rows = [row("", 0.8, CLEAN), row("10 dB", 0.5), row("0 dB", 0.75)]
    assert falls(rows, "noise at", "a") == ["a: noise at 0 dB abstains on 0.25, 10 dB on 0.50"]
    assert falls([row("", 0.5, CLEAN), row("10 dB", 0.9)], "noise at", "a")[0].endswith("as recorded on 0.50")


def test_what_two_standard_errors_may_do_is_noise() -> None:
    assert falls([row("", 0.8, CLEAN), row("10 dB", 0.5), row("0 dB", 0.55)], "noise at", "a") == []
    assert falls([row("", 0.8, CLEAN), row("10 dB", 0.2), row("2", 0.9, "blur")], "noise at", "a") == []


def said(combination: Combination, top: str, **more: Any) -> Any:
    shares: dict[Any, float] = {e: 0.7 if e == top else 0.05 for e in EMOTIONS}
    return estimate(combination=combination, probabilities=shares, confidence=0.7, **{"label": top, **more})


def test_figures_count_what_would_be_published() -> None:
    bodies = [
        said("a", "happy", prediction_set=("happy",)),
        said("a", "sad", prediction_set=("sad", "happy")),
        said("a", "happy", label=None, abstain="out of distribution (audio)"),
        said("none", "happy", label=None, abstain="too few tokens"),
    ]
    happy = EMOTIONS.index("happy")
    found = figures("a", bodies, [happy] * 4)
    assert (found.windows, found.usable, found.given, found.right) == (4, 0.75, 0.5, 0.5)
    assert (found.accuracy, found.coverage, found.unfamiliar) == (pytest.approx(2 / 3), 1.0, pytest.approx(1 / 3))
    nothing = figures("av", bodies, [happy] * 4)
    assert (nothing.usable, nothing.coverage) == (0, None)
    assert np.isnan(nothing.accuracy)
    assert StressRow("blur", "8%", "av", nothing).cells()[4:7] == ["n/a", "n/a", "n/a"]


def test_a_published_window_is_that_of_the_fold() -> None:
    scene = Scene(SETTINGS)
    ends = [scene.now_us + 125_000 * (i + 1) for i in range(32)]
    message = tokens("audio", ends, 7)
    scene.give(message)
    for _ in range(8):
        folded = scene.tick().estimate
    track = TokenTrack(message.payload[0], (message.payload[2] - scene.now_us) / 1e6 + 4, np.ones(32, bool))
    body = publish(HashModel(), {"audio": (track, 4.0)})
    assert body.combination == folded.combination == "a"
    assert body.presence["audio"] == folded.presence["audio"]
    bare = publish(HashModel(), {"audio": (damage.thinned(track, 0.9, np.random.default_rng(0)), 4.0)})
    assert bare.combination == "none"


@given(st.sampled_from([30, 10, 0, -5]), st.integers(0, 9))
@settings(max_examples=10)
def test_noise_is_as_loud_as_it_says(decibels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    voice = (0.05 * random.standard_normal(16_000)).astype(np.float32)
    added = damage.noisy(decibels, voice, random).astype(np.float64) - voice
    measured = 10 * np.log10(np.square(voice).mean() / np.square(added).mean())
    assert measured == pytest.approx(decibels, abs=1)


def test_every_blur_leaves_less_detail_and_a_strong_one_no_face() -> None:
    face = crop_face(draw(EXPRESSIONS["happy"], Pose(), np.random.default_rng(0)), (80, 45, 162, 162))
    grey = np.round(face * 255).astype(np.uint8)
    left = [sharpness(damage.blurred(grey, b).astype(np.float32) / 255) for b in (0, 0.01, 0.02, 0.04, 0.08)]
    assert left == sorted(left, reverse=True)
    assert left[0] > 2 * SHARP
    assert left[-1] < SHARP
    dim = damage.dark(grey, 0.25, np.random.default_rng(0)).astype(np.float32) / 255
    assert sharpness(dim) > SHARP, "darkness alone is no blur"


def test_word_errors_come_at_their_rate() -> None:
    words = [f"w{i}" for i in range(20_000)]
    random = np.random.default_rng(0)
    changed = damage.misheard(words, 0.2, ["other"], random)
    kept = len(set(changed) & set(words))
    assert 1 - kept / len(words) == pytest.approx(0.2 * 0.9, abs=0.01), "one in ten errors adds a word beside it"
    assert damage.misheard(words, 0.0, ["other"], random) == words


def test_late_words_are_not_there_yet() -> None:
    track = TokenTrack(np.zeros((4, 3), np.float32), np.array([-2.0, -1.0, -0.5, 0.0]), np.ones(4, bool))
    assert damage.late(track, 0.0, 0.6).valid.tolist() == [True, True, False, False]


def test_tokens_come_from_the_cache_while_weights_code_and_data_are_the_same(tmp_path: Path) -> None:
    encoder, made = Encodings(MODELS, tmp_path, tmp_path), list[str]()

    def make() -> list[TokenTrack]:
        made.append("once")
        return [encoder.read(["what", "a", "lovely", "day"]), encoder.read([])]

    first, again = encoder.tracks("x", make), Encodings(MODELS, tmp_path, tmp_path).tracks("x", make)
    assert made == ["once"]
    for one, other in zip(first, again, strict=True):
        for name in ("values", "end_s", "valid"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    encoder.tracks("y", make)
    assert len(made) == 2
    Encodings(MODELS, tmp_path / "other recordings", tmp_path).tracks("x", make)
    assert len(made) == 3


@pytest.mark.parametrize("module", [encodings, *encodings.MODULES], ids=lambda m: str(m.__name__))
def test_tokens_are_made_again_once_their_code_has_changed(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made_by(MODELS, tmp_path)
    assert module.__file__ is not None
    changed = tmp_path / "changed.py"
    changed.write_text(Path(module.__file__).read_text() + "# changed\n")
    monkeypatch.setattr(module, "__file__", str(changed))
    assert made_by(MODELS, tmp_path) != before


@pytest.fixture(scope="module")
def shipped() -> GraphFusionModel:
    from calibration.predictions import graphs_of

    graphs = graphs_of(MODELS)
    found = read(MODELS, weights_of(graphs))
    assert found is not None, "the shipped graphs have a calibration of their own"
    return GraphFusionModel(graphs, found)


def test_the_shipped_models_do_not_abstain_less_on_a_noisier_voice(shipped: GraphFusionModel, tmp_path: Path) -> None:
    with av.open(str(SESSION)) as clip:
        resampler = av.AudioResampler("flt", "mono", 16_000)
        parts = [r.to_ndarray() for f in clip.decode(audio=0) for r in resampler.resample(f)]
    voice, encoder = np.concatenate(parts, axis=1).ravel(), Encodings(MODELS, tmp_path, tmp_path)
    windows = [voice[i : i + 64_000] for i in range(0, len(voice) - 64_000, 48_000)]

    def withheld(decibels: float) -> int:
        random = np.random.default_rng(0)
        tracks = [encoder.audio_track(damage.noisy(decibels, w, random)) for w in windows]
        return sum(publish(shipped, {"audio": (t, 4.0)}).label is None for t in tracks)

    shares = [withheld(d) for d in (30, 5, -10)]
    assert shares[-1] == len(windows), "no label for a voice far below the noise"
    assert shares[0] <= shares[1] + 1 <= shares[2] + 2


def test_the_shipped_models_give_no_label_to_a_photograph_or_music(shipped: GraphFusionModel, tmp_path: Path) -> None:
    random, encoder = np.random.default_rng(0), Encodings(MODELS, tmp_path, tmp_path)
    image = draw(EXPRESSIONS["happy"], Pose(), random)
    still = [VideoFrame(np.asarray(image, np.uint8), i * 200_000) for i in range(30)]
    seen = publish(shipped, {"video": (encoder.watched(still), 5.8)})  # the first two looks at a face differ
    assert (seen.combination, seen.label, seen.calibrated) == ("v", None, False)
    assert seen.abstain == "out of distribution (video)"
    body = publish(shipped, {"audio": (encoder.audio_track(material.music(random)), 4.0)})
    assert body.label is None
    foreign = publish(shipped, {"text": (encoder.read(material.SPOKEN["fi"][0].split()), 0.0)})
    assert (foreign.label, foreign.abstain) == (None, "unknown language")


def test_a_blurred_film_gives_no_tokens(tmp_path: Path) -> None:
    random, encoder = np.random.default_rng(0), Encodings(MODELS, tmp_path, tmp_path)
    image = draw(EXPRESSIONS["sad"], Pose(), random)
    clear, soft = (np.asarray(cv2.GaussianBlur(image, (0, 0), s) if s else image, np.uint8) for s in (0, 5))
    film = [VideoFrame(clear if i < 5 else soft, i * 200_000) for i in range(10)]
    valid = encoder.watched(film).valid
    assert valid[:5].all()
    assert not valid[5:].any()
