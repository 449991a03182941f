"""The rule that tells synthetic voices from people is judged on voices, and kinds of voices, that it has not seen."""

from __future__ import annotations

import numpy as np

from calibration.synthetic import LEVEL, Windows, fit, held_out, markdown


def voices(apart: float, seed: int = 0, dims: int = 6) -> Windows:
    """200 windows of 20 people of two corpora, and 60 of 12 synthetic voices of two kinds, ``apart`` in one number."""
    random = np.random.default_rng(seed)
    people = [(f"corpus {i % 2}", f"person {i % 20}") for i in range(200)]
    made = [(f"kind {i % 2}", f"voice {i % 12}") for i in range(60)]
    described = random.normal(size=(260, dims))
    described[200:, 2] += apart
    kinds, groups = (np.array(column) for column in zip(*people, *made, strict=True))
    return Windows(described, kinds, groups, np.arange(260) >= 200)


def test_the_rule_passes_people_and_refuses_synthetic_voices_it_has_not_seen() -> None:
    rule, fresh = fit(voices(6.0)), voices(6.0, seed=1)
    refused = np.array([rule.doubt(row) > 1 for row in fresh.described])
    assert refused[~fresh.made].mean() <= 1 - LEVEL + 0.03
    assert refused[fresh.made].mean() > 0.95


def test_a_rule_without_a_difference_refuses_few_people() -> None:
    rule, fresh = fit(voices(0.0)), voices(0.0, seed=1)
    assert np.mean([rule.doubt(row) > 1 for row in fresh.described[~fresh.made]]) < 0.1


def test_no_window_is_judged_by_a_rule_that_has_seen_its_voice() -> None:
    found = voices(6.0)
    named = found.groups == "voice 3"
    before = held_out(found, found.groups)[named]
    found.described[named] += 100.0  # a rule that had seen it would follow
    after = held_out(found, found.groups)[named]
    assert not np.allclose(before, after)
    found.made[named] = False
    assert np.array_equal(held_out(found, found.groups)[named], after)


def test_the_table_has_a_row_for_each_kind_and_corpus() -> None:
    lines = markdown(voices(6.0)).splitlines()
    rows = [line for line in lines if line.startswith(("| kind", "| corpus"))]
    assert [row.split("|")[1].strip() for row in rows] == [
        "kind 0, synthetic",
        "kind 1, synthetic",
        "corpus 0, people",
        "corpus 1, people",
    ]
