"""The engine cache: atomic files, one for each combination of properties that a plan depends on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from edge_mer.contract.errors import ModelError
from edge_mer.runtime.engines import EngineCache, Key, Options, engines_directory

KEY = Key("fusion.av.onnx", "ab" * 32, "fp16", "tensorrt", "10.3.0", "8.7", "aarch64", Options())
PLAN = bytes(range(256)) * 50


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def test_put_get_round_trip(cache: EngineCache) -> None:
    path = cache.put(KEY, PLAN, 2.5)
    assert cache.get(KEY) == PLAN
    assert path.name.startswith("fusion.av.fp16.")
    [entry] = cache.entries()
    assert entry.fault is None
    assert entry.header is not None
    assert (entry.header.key, entry.header.seconds, entry.header.plan_bytes) == (KEY, 2.5, len(PLAN))


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "cd" * 32},
        {"precision": "fp32"},
        {"runtime": "tensorrt-rtx"},
        {"version": "10.16.2"},
        {"capability": "11.0"},
        {"machine": "x86_64"},
        {"options": Options(level=5)},
    ],
    ids=lambda c: next(iter(c)),
)
def test_plan_with_another_property_is_not_used(cache: EngineCache, change: dict[str, object]) -> None:
    cache.put(KEY, PLAN, 1.0)
    other = msgspec.structs.replace(KEY, **change)  # type: ignore[arg-type]
    assert other.file != KEY.file
    assert cache.get(other) is None


def test_damaged_file_is_treated_as_missing(cache: EngineCache) -> None:
    path = cache.put(KEY, PLAN, 1.0)
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    for damaged in (b"", content[:5], content[:40], content[:-1], content + b"x", flipped, b"X" + content[1:]):
        path.write_bytes(damaged)
        assert cache.get(KEY) is None
        assert cache.entries()[0].fault


def test_renamed_engine_is_reported_and_not_used(cache: EngineCache) -> None:
    other = msgspec.structs.replace(KEY, capability="9.0")
    cache.put(KEY, PLAN, 1.0).rename(cache.directory / other.file)
    assert cache.get(other) is None
    assert "renamed" in str(cache.entries()[0].fault)


def test_failed_write_leaves_no_engine(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ModelError, match=r"cannot be stored \(No space left on device\).*models\.engines"):
        cache.put(KEY, PLAN, 1.0)
    assert list(cache.directory.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = EngineCache(tmp_path / "file" / "engines")
    with pytest.raises(ModelError, match=r"models\.engines"):
        cache.put(KEY, PLAN, 1.0)
    with pytest.raises(ModelError, match=r"models\.engines"), cache.building(KEY):
        pass


def test_only_one_process_builds_an_engine(cache: EngineCache) -> None:
    import fcntl

    with cache.building(KEY):
        [lock] = cache.directory.glob(".*.lock")
        with lock.open("wb") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with lock.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_clean_keeps_named_files_only(cache: EngineCache) -> None:
    old = msgspec.structs.replace(KEY, version="10.2.0")
    cache.put(KEY, PLAN, 1.0)
    cache.put(old, PLAN, 1.0)
    (cache.directory / "half.engine.123.partial").write_bytes(b"")
    gone = cache.clean(frozenset({KEY.file}))
    assert sorted(p.name for p in gone) == sorted([old.file, "half.engine.123.partial"])
    assert cache.get(KEY) == PLAN


def test_clean_keeps_files_of_a_running_build(cache: EngineCache) -> None:
    half = cache.directory / f"{KEY.file}.123.partial"
    with cache.building(KEY):
        half.write_bytes(b"")
        assert cache.clean() == []
        assert half.exists()
    assert cache.clean() == [half]


@dataclass(frozen=True)
class Place:
    xdg: str | None
    configured: str | None
    expected: str


@pytest.mark.parametrize(
    "place",
    [
        Place(None, None, "/home/me/.cache/edge_mer/engines"),
        Place("/state", None, "/state/edge_mer/engines"),
        Place("/state", "/mine", "/mine"),
    ],
)
def test_engines_directory(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if place.xdg is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", place.xdg)
    assert engines_directory(place.configured) == Path(place.expected)
