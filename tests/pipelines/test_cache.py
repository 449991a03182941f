"""What is kept is what would be made again, and nothing half-written is ever taken for it."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from pipelines.data import cache
from pipelines.data.cache import Arrays, cached


class Kitchen:
    """Makes the same arrays each time, and counts."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> Arrays:
        self.made += 1
        return {"x": np.arange(3)}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CACHE", tmp_path / "cache")


def code(path: Path, text: str) -> types.ModuleType:
    path.write_text(text)
    module = types.ModuleType("code")
    module.__file__ = str(path)
    return module


def test_made_once_for_the_same_files_code_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kitchen, source = Kitchen(), tmp_path / "a.wav"
    source.write_bytes(b"12")
    module = code(tmp_path / "code.py", "one")
    for _ in range(2):
        assert cached("dish", kitchen, [source], [module], 7)["x"].tolist() == [0, 1, 2]
    assert kitchen.made == 1
    cached("dish", kitchen, [source], [module], 8)
    assert kitchen.made == 2, "another setting"
    source.write_bytes(b"123")
    cached("dish", kitchen, [source], [module], 7)
    assert kitchen.made == 3, "another file"
    cached("dish", kitchen, [source], [code(tmp_path / "code.py", "two")], 7)
    assert kitchen.made == 4, "other code"
    monkeypatch.setitem(sys.modules, Kitchen.__module__, code(tmp_path / "kitchen.py", "another recipe"))
    cached("dish", kitchen, [source], [module], 7)
    assert kitchen.made == 5, "made otherwise"


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fails() -> Arrays:
        raise ValueError("burnt")

    with pytest.raises(ValueError, match="burnt"):
        cached("dish", fails, [], [])
    kitchen = Kitchen()
    cached("dish", kitchen, [], [])
    assert kitchen.made == 1
    assert [p.suffixes for p in (tmp_path / "cache").iterdir()] == [[".npz"]]
