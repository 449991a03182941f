"""``edge-mer bench --write``: only the tables of the measured parts change."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge_mer.bench.result import Figure
from edge_mer.bench.results_file import markdown, measured_here, rewritten
from edge_mer.cli.main import app

RESULTS = Path(__file__).parents[2] / "edge_mer" / "bench" / "RESULTS.md"
PARTS = ("bus", "runtime", "explain", "live", "session", "privacy", "gateway", "house")
FAST = [Figure("hop p95", 12.5, "us", 20.0, "n=600")]
SLOW = [Figure("hop p95", 25.0, "us", 20.0)]
FILE = "# Figures\n\nTyped.\n\n<!-- bench bus -->\nold\n<!-- end of bench bus -->\n\n## Others\n\nTyped too.\n"


def test_row_shows_value_target_and_verdict() -> None:
    assert markdown(FAST).splitlines()[-1] == "| hop p95 | 12.5 us | ≤ 20 us | pass | n=600 |"
    assert markdown(SLOW).splitlines()[-1] == "| hop p95 | 25 us | ≤ 20 us | MISS |  |"
    assert markdown([Figure("age", 3.0, "ms")]).splitlines()[-1] == "| age | 3 ms | stated |  |  |"


def test_only_the_marked_table_is_replaced() -> None:
    text = rewritten(FILE, "bus", FAST, "today, here")
    assert "old" not in text
    assert text.replace(f"today, here\n\n{markdown(FAST)}", "old") == FILE


def test_unknown_part_gets_a_section_at_the_end() -> None:
    text = rewritten(FILE, "hub", FAST, "today, here")
    assert text.startswith(FILE.rstrip())
    assert text.endswith(f"## hub\n\n<!-- bench hub -->\ntoday, here\n\n{markdown(FAST)}\n<!-- end of bench hub -->\n")


@given(st.lists(st.builds(Figure, st.text("ab|\\1 "), st.floats(0, 1e6), st.just("ms")), max_size=3))
def test_writing_is_idempotent(figures: list[Figure]) -> None:
    once = rewritten(FILE, "bus", figures, "x")
    assert rewritten(once, "bus", figures, "x") == once
    assert rewritten(rewritten(FILE, "bus", FAST, "x"), "bus", figures, "x") == once


def test_line_above_the_table_names_command_and_machine() -> None:
    line = measured_here("edge-mer bench --only bus")
    assert line.startswith("`edge-mer bench --only bus`, 20")
    assert "cores" in line


@pytest.fixture
def _fake_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in PARTS:
        monkeypatch.setattr(f"edge_mer.bench.{part}.measure", lambda *_: FAST)


@pytest.mark.usefixtures("_fake_parts")
def test_command_rewrites_the_part_that_it_measured(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text(RESULTS.read_text())
    done = CliRunner().invoke(app, ["bench", "--only", "bus", "--write", str(path)])
    assert done.exit_code == 0, done.output
    text = path.read_text()
    assert "`edge-mer bench --only bus --seconds 30`, 20" in text
    assert text.count("| hop p95 | 12.5 us |") == 1
    assert text.count("<!-- bench ") == RESULTS.read_text().count("<!-- bench ")


@pytest.mark.usefixtures("_fake_parts")
def test_command_without_only_rewrites_every_part_of_the_shipped_file(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text(RESULTS.read_text())
    done = CliRunner().invoke(app, ["bench", "--write", str(path)])
    assert done.exit_code == 0, done.output
    assert path.read_text().count("| hop p95 | 12.5 us |") == len(PARTS)
    assert path.read_text().count("<!-- bench ") == len(PARTS)


@pytest.mark.usefixtures("_fake_parts")
def test_missing_folder_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "--write", str(tmp_path / "none" / "RESULTS.md")])
    assert done.exit_code == 2
    assert "is not a directory" in done.output
