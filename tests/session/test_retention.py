"""Old recordings are deleted with their keys, by age and size; files of other programs are kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_mer.config import RecordConfig
from edge_mer.contract.clock import SECOND
from edge_mer.session.keys import KeyStore
from edge_mer.session.reader import Session
from edge_mer.session.retention import DAY_US, OldRecording, delete, expired, recordings, sessions_of
from tests.session.stage import Home


def old(days: int, size: int = 10**9) -> OldRecording:
    return OldRecording(-days * DAY_US, size, Path(f"{days}.mcap"), "0" * 32)


@pytest.mark.parametrize(
    ("days", "gigabytes", "expected"),
    [(0, 0, []), (5, 0, [9, 6]), (0, 2.5, [9, 6]), (8, 2.5, [9, 6]), (1, 100, [9, 6, 3]), (0, 0.5, [9, 6, 3])],
)
def test_expired_recordings_are_selected_oldest_first(days: float, gigabytes: float, expected: list[int]) -> None:
    found = [old(9), old(6), old(3)]
    chosen = expired(found, 0, RecordConfig(keep_days=days, keep_gb=gigabytes), written=10**9)
    assert [o.path.stem for o in chosen] == [str(g) for g in expected]


def record(path: Path, store: KeyStore, **more: object) -> Home:
    home = Home(path, encrypt=True, keys=str(store.directory), **more)
    for _ in range(3):
        home.step(drop=0)
    return home


def test_a_recorder_deletes_expired_sessions_and_their_keys(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    first = record(tmp_path / "first.mcap", store)
    session = Session(first.finish(), store)
    assert session.opening is not None
    (tmp_path / "diary.mcap").write_text("not ours")
    (tmp_path / "notes.txt").write_text("mine")
    later = Home(tmp_path / "second.mcap", encrypt=True, keys=str(store.directory), keep_days=2)
    later.step()
    assert first.path.exists(), "it was recorded today"
    later.clock.epoch_us += 3 * DAY_US
    later.clock.advance(3601 * SECOND)
    later.step()
    assert not first.path.exists()
    assert store.get(session.opening.session, "audio") is None
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {"diary.mcap", "notes.txt", "second.mcap"}
    assert Session(later.finish()).trailer is not None


def test_recording_in_progress_is_kept_and_a_cut_one_may_be_deleted(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    own, other = record(tmp_path / "own.mcap", store), record(tmp_path / "other.mcap", store)
    assert recordings(own.path) == []
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(other.path.read_bytes())  # unfinished, and no recorder writes it
    assert [old.path for old in recordings(own.path)] == [cut]


def test_current_recording_and_links_are_never_deleted(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    home = record(tmp_path / "a.mcap", store, keep_gb=1e-9)
    other = record(tmp_path / "elsewhere", store)
    os.symlink(other.finish(), tmp_path / "link.mcap")
    assert recordings(home.path) == []
    home.clock.advance(3601 * SECOND)
    home.step()
    assert home.path.exists()
    assert other.path.exists()


def test_keys_are_kept_while_another_file_of_the_session_exists(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    home = Home(tmp_path / "now.mcap", encrypt=True, keys=str(store.directory), keep_days=2)
    home.step(drop=0)
    opening = Session(home.path, glance=True).opening
    assert opening is not None
    clip = tmp_path / "clip.mcap"
    clip.write_bytes(home.path.read_bytes())
    delete_all = OldRecording(0, clip.stat().st_size, clip, opening.session)
    assert sessions_of([home.path]) == {opening.session}
    delete(delete_all, None)
    assert not clip.exists()
    assert store.get(opening.session, "audio") is not None
    home.finish()


def test_deleting_an_old_part_keeps_the_keys_of_the_current_recording(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    home = Home(tmp_path / "now.mcap", encrypt=True, keys=str(store.directory), keep_days=2)
    for _ in range(3):
        home.step(drop=0)
    clip = tmp_path / "clip.mcap"
    clip.write_bytes(home.path.read_bytes())
    opening = Session(clip, glance=True).opening
    assert opening is not None
    home.clock.epoch_us += 3 * DAY_US
    home.clock.advance(3601 * SECOND)
    home.step(drop=0)
    assert not clip.exists()
    assert store.get(opening.session, "audio") is not None
    home.finish()
