"""``edge-mer history``: show, export and erase what the page's process keeps."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edge_mer.cli.main import app
from edge_mer.config import Config
from edge_mer.history.fold import Hour, Tally
from edge_mer.history.store import HistoryStore, history_store
from edge_mer.privacy.consent_setup import agree
from tests.switch_bench import TODAY


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["history", *arguments])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def store(home: Path) -> HistoryStore:
    """An hour of today and one of the day before yesterday."""
    agree(None, ("audio", "history"), "Anna", TODAY)
    found = history_store(Config())
    for days in (0, 2):
        start = datetime.datetime.combine(datetime.date.today() - datetime.timedelta(days=days), datetime.time(9))
        tally = Tally({"happy": 1_200_000}, {"low confidence": 600_000})
        found.add({round(start.timestamp()): Hour({"a": tally}, {"video": 900_000}, 1_800_000)}, True)
    return found


def test_today_is_shown_as_a_summary_and_by_hour(store: HistoryStore) -> None:
    result = run()
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert "Mostly happy (67 %). No label for 33 % of the time" in first
    assert second.endswith("09:00   30 min  happy 67 %; no label 33 %: Too unsure for a label; masked: video")


def test_more_days_and_a_table_are_shown_when_asked(store: HistoryStore) -> None:
    assert len(run("--days", "3").stdout.splitlines()) == 3
    rows = run("--days", "3", "--csv").stdout.splitlines()
    assert rows[0] == "hour,kind,name,seconds,share"
    assert len([r for r in rows if ",label,happy,1200.0,0.6667" in r]) == 2


def test_day_and_modality_are_erased_with_a_receipt(store: HistoryStore) -> None:
    assert "receipt 0" in run("erase", "today").stdout
    assert len(store.days()) == 1
    assert "receipt 1" in run("erase", "audio").stdout
    assert "happy" not in run("--days", "3", "--csv").stdout


def test_unknown_day_or_modality_is_named(store: HistoryStore) -> None:
    result = run("erase", "smell")
    assert result.exit_code == 1
    assert "'smell' is no day (YYYY-MM-DD)" in result.stderr


def test_without_a_history_one_line_says_how_to_keep_one(home: Path) -> None:
    result = run()
    assert result.exit_code == 0
    assert "edge-mer run --consent history" in result.stderr
    assert not (home / "edge_mer" / "history").exists()
