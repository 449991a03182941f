"""Budgets, the shipped settings and the corrections of a home."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from edge_mer.config import Config, EventsConfig, load
from edge_mer.contract.errors import ConfigError, InputError, ModelError
from edge_mer.events import corrections, settings
from edge_mer.events.chosen import chosen_settings
from edge_mer.events.settings import EventFile, Fitted, Point, Rule, choose, settings_of
from tests.events.scene import HOP, RATIO

CURVE = (
    Point(1.0, 2.0, 3.0, 0.9),
    Point(4.0, 0.01, 0.04, 0.6),
    Point(9.0, 0.0, 0.005, 0.05),
)
FITTED = Fitted(RATIO, CURVE, hours=200.0, people=60)
FILE = EventFile("fusion@1", HOP, 8 * HOP, {"angry": {"a": FITTED}})


def test_a_budget_takes_the_lowest_threshold_whose_upper_limit_is_within_it() -> None:
    rule = choose(FITTED, 0.05, HOP)
    assert isinstance(rule, Rule)
    assert (rule.threshold, rule.hours_per_wrong) == (4.0, 25.0)


@pytest.mark.parametrize(("per_hour", "words"), [(0.01, "5% of bursts"), (0.001, "one wrong event in 200 h")])
def test_a_budget_that_cannot_be_met_with_power_turns_the_event_off_and_says_why(per_hour: float, words: str) -> None:
    chosen, off = settings_of(FILE, {"angry": per_hour}, 0, 0, {})
    assert chosen.rules == {}
    assert words in off["angry/a"]


@pytest.mark.parametrize(("budget", "per_hour"), [({"per_week": 1}, 1 / 168), ({"per_day": 2}, 1 / 12), ("off", None)])
def test_a_budget_is_read_per_hour_day_or_week(budget: object, per_hour: float | None) -> None:
    assert EventsConfig(angry=budget).per_hour("angry") == per_hour  # type: ignore[arg-type]


@pytest.mark.parametrize("budget", [{}, {"per_week": 0}, {"per_week": 1, "per_day": 1}, {"per_year": 1}, "never"])
def test_a_budget_that_means_nothing_is_refused(budget: object) -> None:
    with pytest.raises(ConfigError, match=r"events\.angry"):
        load(None, {"events": {"angry": budget}})


def test_settings_of_another_model_are_not_used(tmp_path: Path) -> None:
    (tmp_path / settings.FILE).write_bytes(msgspec.json.encode(FILE))
    config = Config.model_validate(
        {"models": {"directory": str(tmp_path)}, "privacy": {"state": str(tmp_path / "state")}}
    )
    found, _, fault = chosen_settings(config, "fusion@2")
    assert found is None
    assert fault is not None
    assert "fusion@1" in fault
    found, _, fault = chosen_settings(config, "fusion@1")
    assert fault is None
    assert found is not None
    assert found.rules["angry"]["a"].threshold == 4.0


def test_damaged_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / settings.FILE).write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        settings.read(tmp_path)


def test_wrong_events_raise_their_threshold_up_to_a_bound_and_can_be_taken_back(tmp_path: Path) -> None:
    for i in range(9):
        corrections.wrong(tmp_path, f"angry-av-{i}")
    assert corrections.read(tmp_path).factors == {"angry/av": corrections.STEP**corrections.MOST}
    for i in range(8):
        corrections.take_back(tmp_path, f"angry-av-{i}")
    assert corrections.read(tmp_path).factors == {"angry/av": corrections.STEP}


def test_calling_an_event_wrong_twice_counts_once(tmp_path: Path) -> None:
    corrections.wrong(tmp_path, "sad-a-5")
    assert corrections.wrong(tmp_path, "sad-a-5").factors == {"sad/a": corrections.STEP}


def test_corrections_are_private_and_can_be_erased(tmp_path: Path) -> None:
    corrections.wrong(tmp_path, "sad-a-5")
    assert stat.S_IMODE((tmp_path / corrections.FILE).stat().st_mode) == 0o600
    assert corrections.erase(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not corrections.erase(tmp_path)


@pytest.mark.parametrize("event", ["", "angry", "neutral-a-1", "angry-xyz-1", "angry-a-1/../x", "angry-a-" + "9" * 16])
def test_what_is_no_event_is_refused(event: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no event"):
        corrections.wrong(tmp_path, event)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_of_corrections_is_refused(tmp_path: Path) -> None:
    (tmp_path / corrections.FILE).write_text('{"wrong": ["x"]}')
    with pytest.raises(ModelError, match="edge-mer events erase"):
        corrections.read(tmp_path)
