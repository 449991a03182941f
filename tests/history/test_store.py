"""The history on disk: private, sealed by the modalities behind each tally, erased for good, with signed receipts."""

from __future__ import annotations

import datetime
import json
import shutil
import stat
from pathlib import Path

import pytest

from edge_mer.contract.domain import COMBINATIONS, MODALITIES
from edge_mer.contract.errors import PrivacyError
from edge_mer.history import erasures
from edge_mer.history.fold import Hour, Tally
from edge_mer.history.store import HistoryStore, day_of

DAY_S = 86_400
NOON = round(datetime.datetime(2026, 11, 21, 12).timestamp())
WALL_US = (NOON + 3600) * 1_000_000
DAY = datetime.date(2026, 11, 21)
EVER = (datetime.date(2000, 1, 1), datetime.date(2100, 1, 1))
FULL = Hour({c: Tally({"happy": 500}, {"low confidence": 500}) for c in (*COMBINATIONS, "none")}, {"video": 500}, 8000)


@pytest.fixture
def store(tmp_path: Path) -> HistoryStore:
    tmp_path.chmod(0o700)
    return HistoryStore(tmp_path / "history")


def combinations(store: HistoryStore) -> set[str]:
    return {c for read in store.read(*EVER) for c in read.hour.tallies}


def test_what_was_added_is_read_back_and_summed(store: HistoryStore) -> None:
    store.add({NOON: FULL, NOON + 3600: FULL}, True)
    store.add({NOON: FULL}, True)
    first, second = store.read(DAY, DAY)
    assert first.hour == FULL.plus(FULL)
    assert second.hour == FULL
    assert first.start == datetime.datetime(2026, 11, 21, 12)
    assert store.read(DAY + datetime.timedelta(days=1), EVER[1]) == []


def test_every_file_is_private_and_holds_no_label(store: HistoryStore) -> None:
    sealed = Hour({c: t for c, t in FULL.tallies.items() if c != "none"})
    store.add({NOON: sealed}, True)
    store.erase_modality("video", "anna", WALL_US)
    for path in (store.directory, *store.directory.rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
        assert path.is_dir() or b"happy" not in path.read_bytes()
        assert path.is_dir() or b"low confidence" not in path.read_bytes()


def test_erased_modality_is_gone_with_everything_estimated_with_it(store: HistoryStore) -> None:
    store.add({NOON: FULL, NOON + DAY_S: FULL}, transcribed=True)
    copy = store.directory.with_name("copy")
    shutil.copytree(store.directory, copy)
    receipt = store.erase_modality("video", "the web page", WALL_US)
    assert combinations(store) == {"at", "a", "t", "none"}
    assert receipt.keys == (f"{DAY} video", f"{day_of(NOON + DAY_S)} video")
    assert all(read.erased == ("video",) for read in store.read(*EVER))
    for day in store.days():  # a copy of the files, made before, with the keys of now
        shutil.copy(copy / f"{day}.json", store.directory)
    assert combinations(store) == {"at", "a", "t", "none"}


def test_words_from_the_microphone_are_erased_with_it_and_typed_ones_are_not(store: HistoryStore) -> None:
    store.add({NOON: FULL}, transcribed=True)
    store.add({NOON + DAY_S: FULL}, transcribed=False)
    store.erase_modality("audio", "anna", WALL_US)
    first, second = store.read(*EVER)
    assert set(first.hour.tallies) == {"v", "none"}
    assert set(second.hour.tallies) == {"tv", "t", "v", "none"}


def test_history_goes_on_after_an_erasure(store: HistoryStore) -> None:
    store.add({NOON: FULL}, True)
    store.erase_modality("video", "anna", WALL_US)
    store.add({NOON: FULL}, True)
    (read,) = store.read(*EVER)
    assert read.hour.tallies["v"] == FULL.tallies["v"], "only what came after"
    assert read.hour.tallies["a"] == FULL.tallies["a"].plus(FULL.tallies["a"])
    assert read.erased == ("video",)


def test_erased_day_is_gone_with_its_keys(store: HistoryStore) -> None:
    store.add({NOON: FULL, NOON + DAY_S: FULL}, True)
    receipt = store.erase_day(DAY, "anna", WALL_US)
    assert receipt.what == str(DAY)
    assert receipt.keys == tuple(f"{DAY} {m}" for m in MODALITIES)
    assert store.days() == [day_of(NOON + DAY_S)]
    assert len(list((store.directory / "keys").glob("*.key"))) == len(MODALITIES)
    with pytest.raises(PrivacyError, match="no day 2026-11-21"):
        store.erase_day(DAY, "anna", WALL_US)


def test_old_days_are_erased_with_a_receipt(store: HistoryStore) -> None:
    store.add({NOON: FULL, NOON + 10 * DAY_S: FULL}, True)
    now = (NOON + 10 * DAY_S) * 1_000_000
    assert store.expire(30, now) == []
    (receipt,) = store.expire(5, now)
    assert receipt.requester == "history.keep_days"
    assert store.days() == [day_of(NOON + 10 * DAY_S)]


def test_receipts_are_chained_and_a_changed_one_is_found(store: HistoryStore) -> None:
    store.add({NOON: FULL, NOON + DAY_S: FULL}, True)
    before = store.erased_version
    store.erase_modality("video", "anna", WALL_US)
    store.erase_day(DAY, "anna", WALL_US)
    assert store.erased_version != before
    assert [e.number for e in erasures.verify(store.directory)] == [0, 1]
    path = store.directory / erasures.FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[1])
    with pytest.raises(PrivacyError, match="does not follow"):
        erasures.verify(store.directory)
    path.write_bytes(lines[0].replace(b"anna", b"bert"))
    with pytest.raises(PrivacyError, match="not what this host signed"):
        erasures.verify(store.directory)


def test_tally_moved_to_another_hour_is_refused(store: HistoryStore) -> None:
    store.add({NOON: FULL}, True)
    path = store.directory / f"{DAY}.json"
    held = json.loads(path.read_text())
    held["hours"][0]["start_s"] += 3600
    path.write_text(json.dumps(held))
    with pytest.raises(PrivacyError, match="changed"):
        store.read(*EVER)


def test_damaged_file_is_named_with_its_cure_and_can_be_erased(store: HistoryStore) -> None:
    store.add({NOON: FULL}, True)
    (store.directory / f"{DAY}.json").write_text("{")
    with pytest.raises(PrivacyError, match=f"edge-mer history erase {DAY}"):
        store.read(*EVER)
    store.erase_day(DAY, "anna", WALL_US)
    assert store.read(*EVER) == []


def test_directory_that_others_may_enter_is_refused(store: HistoryStore) -> None:
    store.add({NOON: FULL}, True)
    store.directory.chmod(0o755)
    with pytest.raises(Exception, match="must be yours alone"):
        store.add({NOON: FULL}, True)


def test_empty_history_reads_as_nothing(store: HistoryStore) -> None:
    assert store.read(*EVER) == []
    assert store.expire(1, WALL_US) == []
    assert not store.directory.exists()
    with pytest.raises(PrivacyError, match="no history"):
        store.erase_modality("audio", "anna", WALL_US)
