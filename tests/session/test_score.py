"""Scoring against labels per combination, with equal results in processes and on Ray; bad labels are named."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from edge_mer.contract.domain import EMOTIONS
from edge_mer.contract.errors import MissingExtra, SessionError
from edge_mer.session import evaluation_metrics as metrics
from edge_mer.session import score
from edge_mer.session.reader import Session
from edge_mer.session.score import Label, LabelledEstimate
from tests.session.stage import read_all, record_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("score")
    for seed in (1, 2, 3):
        record_run(place / f"s{seed}.mcap", seed, steps=80)
    return place


def finals(path: Path) -> list[Any]:
    return [m for m in read_all(path, "emotion") if m.body.final]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def label(start: str, end: str = "", name: Any = "happy", sentiment: float | None = None, file: str = "") -> Label:
    return Label(2, file, start, end, name, sentiment)


class TestPairs:
    def test_label_applies_to_every_final_estimate_in_its_range(self, folder: Path) -> None:
        path = folder / "s1.mcap"
        begin, recorded = Session(path).span_us[0], finals(path)
        found = score.pairs(path, [label("1.0", "8.0")])
        inside = [m for m in recorded if begin + 1_000_000 < m.envelope.origin_us <= begin + 8_000_000]
        assert [p.predicted for p in found] == [m.body.label for m in inside]
        assert len(found) > 3, "too few estimates to prove anything"

    def test_the_start_is_outside_and_the_end_inside(self, folder: Path) -> None:
        path = folder / "s1.mcap"
        begin, ticks = Session(path).span_us[0], [m.envelope.origin_us for m in finals(path)]
        one, two = ((tick - begin) / 1e6 for tick in ticks[:2])
        assert len(score.pairs(path, [label(f"{one:.6f}", f"{two:.6f}")])) == 1
        assert len(score.pairs(path, [label(f"{one:.6f}")])) == 1

    def test_label_without_an_end_applies_to_the_next_tick_only(self, folder: Path) -> None:
        path = folder / "s1.mcap"
        begin = Session(path).span_us[0]
        (found,) = score.pairs(path, [label("2.1")])
        expected = next(m for m in finals(path) if m.envelope.origin_us >= begin + 2_100_000)
        assert (found.combination, found.sentiment) == (expected.body.combination, expected.body.sentiment)

    def test_wall_time_selects_the_same_estimates(self, folder: Path) -> None:
        path = folder / "s1.mcap"
        session = Session(path)
        assert session.opening is not None

        def wall(seconds: float) -> str:
            us = session.span_us[0] + session.opening.wall_offset_us + seconds * 1e6  # type: ignore[union-attr]
            return datetime.fromtimestamp(us / 1e6, timezone.utc).isoformat()

        assert score.pairs(path, [label(wall(1), wall(4))]) == score.pairs(path, [label("1", "4")])

    def test_provisional_estimates_do_not_count(self, folder: Path) -> None:
        path = folder / "s1.mcap"
        assert len(score.pairs(path, [label("0", "1000")])) == len(finals(path)) < len(read_all(path, "emotion"))


class TestTable:
    PAIRS = (
        LabelledEstimate("at", "happy", "happy", 1.0, 0.5),
        LabelledEstimate("at", "sad", "happy", -1.0, -0.5),
        LabelledEstimate("at", "sad", None, None, 0.1),
        LabelledEstimate("v", None, "sad", 2.0, None),
    )

    def test_figures_are_those_of_the_metrics(self) -> None:
        (at, v, everything) = score.table(self.PAIRS)
        assert (at.combination, v.combination, everything.combination) == ("at", "v", "all")
        assert (at.labelled, at.coverage) == (3, 2 / 3)
        matrix = metrics.confusion(
            *([EMOTIONS.index(x) for x in side] for side in (("happy", "sad"), ("happy", "happy"))),
            7,  # type: ignore[arg-type]
        )
        assert (at.accuracy, at.uar) == (0.5, metrics.uar(matrix))
        assert (at.macro_f1, at.weighted_f1) == (metrics.macro_f1(matrix), metrics.weighted_f1(matrix))
        assert (at.sentiments, at.mae, at.accuracy_2) == (2, 0.5, 1.0)

    def test_metric_without_data_is_null_and_not_zero(self) -> None:
        v = score.table(self.PAIRS)[1]
        assert (v.labelled, v.coverage, v.accuracy, v.uar, v.sentiments, v.mae) == (0, None, None, None, 0, None)


class TestLabels:
    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            (("when,what", "1,happy"), "needed are start"),
            (("start,label", "1,joyful"), r"line 2: label 'joyful'; known: neutral"),
            (("start,sentiment", "1,5"), r"line 2: sentiment '5'"),
            (("start,sentiment", "1,nan"), r"line 2: sentiment 'nan'"),
            (("start,label", "soon,happy"), r"line 2: start 'soon'"),
            (("start,label", ",happy"), r"line 2: start ''"),
            (("start,end,label", "1,2026-11-21T12:00:00,happy"), "line 2: end"),
        ],
    )
    def test_bad_label_is_named_with_its_line(self, tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
        with pytest.raises(SessionError, match=message):
            score.read_labels(write(tmp_path / "l.csv", *lines))

    def test_unreadable_label_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(SessionError, match=r"l\.csv"):
            score.read_labels(tmp_path / "l.csv")
        (tmp_path / "l.csv").write_bytes(b"start,label\n\xff\xfe,happy\n")
        with pytest.raises(SessionError, match=r"l\.csv"):
            score.read_labels(tmp_path / "l.csv")

    def test_labels_of_a_missing_session_are_named(self, folder: Path) -> None:
        with pytest.raises(SessionError, match="holds no session 's9'"):
            score.jobs(folder, [label("1", file="s9")], None)
        with pytest.raises(SessionError, match="column file"):
            score.jobs(folder, [label("1")], None)
        with pytest.raises(SessionError, match="give the folder"):
            score.jobs(folder / "s1.mcap", [label("1", file="s2")], None)


def everything(folder: Path) -> list[score.Job]:
    labels = [label("0", "60", EMOTIONS[n], n / 2, f"s{n}{'.mcap' * (n % 2)}") for n in (1, 2, 3)]
    return score.jobs(folder, labels, None)


def test_parallel_processes_give_the_same_as_one(folder: Path) -> None:
    alone = score.in_processes(everything(folder), 1)
    assert len(alone) > 10
    assert score.in_processes(everything(folder), 2) == alone


def test_a_ray_cluster_gives_the_same(folder: Path) -> None:
    assert score.on_ray(everything(folder), "local") == score.in_processes(everything(folder), 1)


def test_without_ray_there_is_one_clear_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"ray is not installed; run: pip install 'edge-mer\[ray\]'"):
        score.on_ray(everything(folder), "local")
