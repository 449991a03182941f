"""The history in the page's process: kept only with consent, over HTTP, dropped and erased when asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_mer.contract.clock import SECOND
from edge_mer.contract.messages import ClockReport
from edge_mer.history import erasures
from edge_mer.history.store import history_store
from edge_mer.privacy.consent.consent_file import FILE, read_deployment, write_deployment
from tests.gateway.caller import Caller, has_topic
from tests.gateway.estimates import estimate


def folder(caller: Caller) -> Path:
    return caller.stage.state / "history"


def counted(caller: Caller, *combinations: str) -> None:
    """The page has received an estimate of each combination."""
    bus = caller.stage.test_bus
    stream = caller.open_stream()
    offset = bus.clock.wall_us() - bus.clock.now_us()
    caller.stage.publish("clock", ClockReport(boot_id="b", offset_us=offset, uncertainty_us=1))
    caller.events(stream, has_topic("clock"))
    for combination in combinations:
        caller.stage.publish("emotion", estimate(revision=0, combination=combination))
    caller.events(stream, lambda e: sum(t == "emotion" for t, _ in e) == len(combinations))


def read(caller: Caller) -> dict[str, Any]:
    status, _, body = caller.request("GET", "/history?days=2")
    assert status == 200, body
    found: dict[str, Any] = json.loads(body)
    return found


def without_consent(caller: Caller) -> None:
    path = caller.stage.state / FILE
    deployment = read_deployment(path)
    rows = tuple(c for c in deployment.consent if c.matter != "history")
    write_deployment(path, msgspec.structs.replace(deployment, consent=rows))


def test_shares_are_written_and_shown(caller: Caller) -> None:
    counted(caller, "at", "at", "v")
    caller.history.write()
    found = read(caller)
    assert found["on"]
    assert found["keep_days"] == 90
    assert sum(h["seconds"] for h in found["hours"]) == 1.5
    assert "happy (100 %)" in found["summary"]
    status, headers, body = caller.request("GET", "/history.csv")
    assert status == 200
    assert headers["Content-Type"].startswith("text/csv")
    assert b",label,happy," in body


def test_browser_gets_the_summary_in_its_language(caller: Caller) -> None:
    _, _, body = caller.request("GET", "/history", Accept_Language="de")
    assert json.loads(body)["summary"] == "Für diese Zeit ist nichts gespeichert."


def test_without_consent_nothing_is_kept(caller: Caller) -> None:
    without_consent(caller)
    caller.history.write()
    counted(caller, "at")
    caller.history.write()
    assert not folder(caller).exists()
    assert not read(caller)["on"]


def test_withdrawn_consent_drops_what_was_not_written(caller: Caller) -> None:
    counted(caller, "at")
    without_consent(caller)
    caller.history.write()
    assert not folder(caller).exists()


def test_mask_drops_what_was_counted_with_that_sensor_and_not_written(caller: Caller) -> None:
    counted(caller, "at", "v")
    caller.post("/mask", {"modalities": ["video"]})
    caller.history.write()
    tallies = [h.hour.tallies for h in history_store(caller.history._config).read(*every_day())]
    assert {c for t in tallies for c in t} == {"at"}


def every_day() -> tuple[Any, Any]:
    import datetime

    return datetime.date.min, datetime.date.max


def test_erasing_over_http_is_answered_with_a_signed_receipt(caller: Caller) -> None:
    counted(caller, "at", "v")
    caller.history.write()
    answer = caller.post("/history/erase", {"what": "audio"})
    assert answer == {"ok": True, "text": "", "receipts": [0]}
    day = read(caller)["last"]
    assert caller.post("/history/erase", {"what": day})["ok"]
    assert read(caller)["hours"] == []
    (first, second) = erasures.verify(folder(caller))
    assert (first.what, second.what) == ("audio", day)
    assert first.requester == "the web page"


def test_erasing_drops_what_was_not_written_yet(caller: Caller) -> None:
    counted(caller, "at")
    caller.history.write()
    counted(caller, "at")
    caller.post("/history/erase", {"what": "audio"})
    caller.history.write()
    assert all(not h["labels"] for h in read(caller)["hours"])


def test_erasing_by_a_command_drops_what_was_not_written_yet(caller: Caller) -> None:
    counted(caller, "at")
    caller.history.write()
    counted(caller, "at")
    history_store(caller.history._config).erase("audio", "the command line", 1_800_000_000 * SECOND)
    caller.history.write()
    assert all(not h["labels"] for h in read(caller)["hours"])


@pytest.mark.parametrize("what", ["smell", "2026-13-40", "2026-01-01", "", "../x"])
def test_erasing_what_is_not_there_is_refused(caller: Caller, what: str) -> None:
    answer = caller.post("/history/erase", {"what": what})
    assert not answer["ok"]
    assert answer["text"]


@pytest.mark.parametrize("query", ["days=x", "days=-1", "days=99999", "back=1e9"])
def test_bad_range_is_refused(caller: Caller, query: str) -> None:
    assert caller.request("GET", f"/history?{query}")[0] == 400


def test_full_disk_is_a_note_and_the_page_goes_on(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    counted(caller, "at")

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(type(caller.history._store), "add", full)
    caller.history.write()
    assert "No space left" in caller.page.notes[0]
    assert caller.request("GET", "/")[0] == 200
