"""Shares, their table and their summary in words."""

from __future__ import annotations

import csv
import datetime
import io

import pytest

from edge_mer.gateway.page.history_text import paragraph
from edge_mer.history.fold import Hour, Tally
from edge_mer.history.shares import shares_of, summary_of, table
from edge_mer.history.store import ReadHour

EIGHT = ReadHour(
    datetime.datetime(2026, 11, 21, 8),
    Hour(
        {
            "av": Tally({"happy": 900_000, "neutral": 1_800_000}, {"low confidence": 300_000}),
            "v": Tally({}, {"out of distribution (video)": 600_000}),
        },
        {"audio": 600_000},
        3_600_000,
    ),
)
NINE = ReadHour(
    datetime.datetime(2026, 11, 21, 9),
    Hour({"none": Tally({}, {"no modality present": 900_000})}, {}, 1_800_000),
    ("video",),
)
HOURS = [shares_of(EIGHT), shares_of(NINE)]


def test_shares_are_of_all_counted_time() -> None:
    assert HOURS[0].seconds == 3600
    assert HOURS[0].labels == {"happy": 0.25, "neutral": 0.5}
    assert sum(HOURS[0].reasons.values()) == pytest.approx(0.25)
    assert HOURS[0].masked == {"audio": pytest.approx(1 / 6)}
    assert HOURS[1].reasons == {"no modality present": 0.5}, "the erased half is no label and no reason"


def test_summary_weighs_hours_by_their_time() -> None:
    found = summary_of(HOURS)
    assert (found.hours, found.first, found.last) == (1.5, 8, 9)
    assert found.labels[0] == ("neutral", pytest.approx(1 / 3))
    assert found.erased == ("video",)


def test_table_has_a_row_for_each_share() -> None:
    rows = list(csv.DictReader(io.StringIO(table(HOURS))))
    assert {"hour": "2026-11-21T08:00", "kind": "label", "name": "happy", "seconds": "900.0", "share": "0.25"} in rows
    assert [r["name"] for r in rows if r["kind"] == "erased"] == ["video"]


def test_summary_is_one_paragraph_in_each_language() -> None:
    assert paragraph("en", HOURS) == (
        "2026-11-21: estimates for 1.5 h, between 08:00 and 10:00. Mostly neutral (33 %) and happy (17 %). "
        "No label for 33 % of the time, most often: No sensor delivers anything. "
        "Masked for part of the time: Microphone (11 %). Erased: Camera."
    )
    assert paragraph("de", HOURS).startswith("21.11.2026: Schätzungen für 1,5 h, zwischen 08:00 und 10:00 Uhr. Meist ")
    assert paragraph("en", []) == "Nothing was kept for this time."
