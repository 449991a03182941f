"""From predictions to fits: measured combinations are judged on strangers, the others are only made cautious."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from calibration import confidence
from calibration.diagrams import draw
from calibration.fitting import abstains, caution, fits, held_out, judge, set_limit, without_words, worst_of
from calibration.predictions import Predictions, measured_subsets
from calibration.scaling import cautious, fit_temperature
from calibration.validation import LEAST, CalibrationError, Validation, people_of
from edge_mer.contract.domain import Combination
from edge_mer.contract.errors import MissingExtra
from edge_mer.fusion.confidence import Scaling, softmax
from tests.calibration.samples import shuffled, validation

NO_SCORES = (np.zeros(0), np.zeros(0, np.str_))


def scores(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    return np.abs(random.normal(size=n)), np.array([f"mosi {i % 10}" for i in range(n)])


def some() -> dict[Combination, Predictions]:
    """a is far too sure, t is honest; at agrees with its label as nobody does who was recorded."""
    a, t = validation(sharper=4, combination="a"), validation(combination="t", seed=1)
    pairs = validation(sharper=1, combination="at", seed=2)
    agreeing = Validation("at", pairs.logits + 6 * np.eye(7)[pairs.labels], pairs.labels, pairs.groups)
    return {
        "at": Predictions("pairs", False, agreeing, *NO_SCORES, subsets={"a": a, "t": t}),
        "a": Predictions("clips", True, a, *NO_SCORES),
        "t": Predictions("texts", True, t, *scores()),
    }


def test_every_combination_gets_a_fit_of_its_own() -> None:
    fitted = fits(some(), 0.9)
    assert [(c, f.scaling.combination, f.measured) for c, f in fitted.items()] == [
        ("at", "at", False),
        ("a", "a", True),
        ("t", "t", True),
    ]
    assert fitted["a"].scaling.scale[0] == pytest.approx(0.25, rel=0.15)
    assert fitted["t"].scaling.scale[0] == pytest.approx(1, rel=0.15)
    assert fitted["t"].sentiment_radius == pytest.approx(1.64, abs=0.3)
    assert fitted["a"].sentiment_radius is None


def test_who_was_never_measured_is_no_surer_than_without_the_words() -> None:
    given = some()
    fitted = fits(given, 0.9)
    own = fit_temperature(given["at"].emotion)
    assert own.probabilities("at", given["at"].emotion.logits).max(1).mean() > 0.95, "pairs agree by construction"
    mean = {
        c: fitted[c].scaling.probabilities(c, data.logits).max(1).mean()
        for c, data in (("at", given["at"].emotion), *given["at"].subsets.items())
    }
    assert mean["at"] <= mean["a"] + 1e-6
    assert (fitted["at"].set_limit, fitted["at"].sentiment_radius) == (None, None)


def test_caution_never_sharpens() -> None:
    data = validation()
    assert cautious(data, 1.0) == fit_temperature(data)
    flat = cautious(data, 1 / 7)
    assert softmax(data.logits * flat.scale).max(1).mean() == pytest.approx(1 / 7, abs=1e-3)
    with pytest.raises(CalibrationError, match=r"at most 0\.1, expected"):
        cautious(data, 0.1)


def test_the_measured_subsets_of_each_combination() -> None:
    assert [set(measured_subsets(c)) for c in ("atv", "at", "tv")] == [{"a", "v", "av", "t"}, {"a", "t"}, {"t", "v"}]


def test_a_judgement_is_of_groups_that_the_fit_did_not_see() -> None:
    given = some()
    found = judge(given["a"], 0.9, draws=100)
    assert found.before.excess > 0.1
    assert found.after.excess <= 0.03
    assert found.interval[0] <= found.coverage
    assert found.by_person.min() > 0.85, "sets are as large as nearly every person needs"
    assert found.sentiment_coverage is None
    assert judge(given["t"], 0.9, draws=20).sentiment_coverage == pytest.approx(0.9, abs=0.05)
    assert set(found.rivals) == {"temperature", "vector"}


def test_no_fold_is_fitted_on_a_group_that_it_judges() -> None:
    data, seen = validation(groups=6), list[set[int]]()

    def spy(part: Validation) -> Scaling:
        seen.append(set(part.groups.tolist()))
        return fit_temperature(part)

    p, limits = held_out(data, spy, 0.9)
    assert sorted(tuple(set(range(6)) - s) for s in seen) == [(g,) for g in range(6)]
    assert len({limits[data.groups == g][0] for g in range(6)}) > 1, "each fold has its own limit"
    assert np.isfinite(p).all()
    assert p.sum(1) == pytest.approx(1)


def test_a_set_is_as_large_as_the_persons_need_who_are_hardest_to_read() -> None:
    """Clips are no people: pooled, one hard person of ten would be covered in half of the clips."""
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(10), 100)
    scores = random.uniform(0, 0.5, 1000) + 0.4 * (people >= 8)
    within = scores <= set_limit(scores, people, 0.9)
    assert min(within[people == p].mean() for p in range(10)) >= 0.85
    alone = np.arange(1000)  # every window somebody else's
    assert set_limit(scores, alone, 0.9) == pytest.approx(np.quantile(scores, 0.9), abs=0.01)


def test_few_windows_tell_nothing_of_a_person() -> None:
    assert people_of(np.array(["a"] * LEAST + ["b"] * (LEAST - 1)))[0].tolist() == list(range(LEAST))
    assert len(people_of(np.array(["b"] * (LEAST - 1)))) == 0


def test_the_worst_of_many_is_worse_than_the_worst_of_few() -> None:
    coverage = np.linspace(0.8, 1.0, 50)
    assert worst_of(coverage, 20) < worst_of(coverage, 2)
    assert np.isnan(worst_of(np.zeros(0)))


def test_a_model_of_shuffled_labels_is_judged_calibrated_because_it_says_nothing() -> None:
    found = judge(Predictions("clips", True, shuffled(), *NO_SCORES), 0.9, draws=100)
    assert found.before.ece > 0.5
    assert found.confidence.mean() < 0.25
    assert found.size > 5


def test_a_broken_promise_is_named_with_its_figures() -> None:
    data = validation(n=1200, groups=4)
    turned = data.logits.copy()
    odd = data.groups == 0
    turned[odd] = np.roll(turned[odd], 1, axis=1) * 5  # one actor of whom the model is sure and always wrong
    spoiled = Predictions("clips", True, Validation("av", turned, data.labels, data.groups), *NO_SCORES)
    broken = confidence.missed({"av": judge(spoiled, 0.9, draws=50)}, {})
    assert broken
    assert broken[0].startswith("av: ECE is 0.")
    assert confidence.missed({"a": judge(some()["a"], 0.9, draws=50)}, {"at": {"at": 0.3, "a": 0.3}}) == []
    (shyer,) = confidence.missed({}, {"at": {"at": 0.4, "a": 0.3, "t": 0.9}})
    assert shyer == "at: abstains on 0.400 of its windows, without the words on 0.300"


def test_the_section_has_every_combination_and_no_figure_for_what_nobody_recorded() -> None:
    given = some()
    fitted = fits(given, 0.9)
    judged = {c: judge(p, 0.9, draws=20) for c, p in given.items() if p.measured}
    text = confidence.markdown(given, fitted, judged, {"at": {"at": 0.61, "a": 0.6}}, {}, 0.9, "abc")
    assert "| at | 1500 | 12 |" in text
    row = next(line for line in text.splitlines() if line.startswith("| at |"))
    assert row.count("n/a") == 9
    assert "n/a" not in next(line for line in text.splitlines() if line.startswith("| t |"))
    assert "| 0.61 | a 0.60 |" in text
    assert text.endswith(confidence.KEPT)


def test_the_diagrams_are_a_png_that_does_not_change(tmp_path: Path) -> None:
    judged = {"a": judge(some()["a"], 0.9, draws=20)}
    for name in ("one.png", "two.png"):
        draw(tmp_path / "new" / name, judged)
    one, two = ((tmp_path / "new" / n).read_bytes() for n in ("one.png", "two.png"))
    assert one.startswith(b"\x89PNG")
    assert one == two


def test_an_absent_matplotlib_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"matplotlib is not installed; run: pip install 'edge-mer\[train\]'"):
        draw(tmp_path / "x.png", {})


def test_absent_data_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["confidence", "--data", str(tmp_path), "--report", str(tmp_path / "r.md")])
    with pytest.raises(SystemExit, match=r"error: .* is absent"):
        confidence.main()
    assert not (tmp_path / "r.md").exists()


def test_who_was_never_measured_abstains_as_without_the_words() -> None:
    given = some()
    measured = {c: f for c, f in fits(given, 0.9).items() if f.measured}
    shares = caution(given["at"], 0.9, measured)
    assert shares["at"] == pytest.approx(shares["a"], abs=confidence.SHYER)
    # the same windows without the rule: pairs agree by construction, and would hardly ever abstain
    bold = Validation("at", given["at"].emotion.logits, given["at"].emotion.labels, given["at"].emotion.groups)
    assert abstains(fit_temperature(bold).probabilities("at", bold.logits), measured["a"]).mean() < shares["a"]
    assert [without_words(c) for c in ("at", "tv", "atv")] == ["a", "v", "av"]
