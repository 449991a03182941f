"""A CUDA build of torchaudio beside a CPU torch does not take transformers down."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_mer.large.compat_torchaudio import mend


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that fails as the real one does: half-way through its import."""
    package = tmp_path / "torchaudio"
    (package / "_extension").mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from . import early\nfrom ._extension import fail_if_no_align\nready = True\n"
    )
    (package / "early.py").write_text("")
    (package / "_extension" / "__init__.py").write_text('raise OSError("libc10_cuda.so")\n')
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchaudio"]:
        del sys.modules[name]


def test_it_loads_without_its_native_part_which_says_so(broken):
    assert mend()
    import torchaudio

    assert torchaudio.ready
    with pytest.raises(RuntimeError, match="native part"):
        torchaudio.fail_if_no_align(print)()


def test_a_whole_one_is_left_alone(broken):
    (broken / "_extension" / "__init__.py").write_text("fail_if_no_align = print\n")
    assert not mend()


def test_without_it_nothing_happens(monkeypatch):
    monkeypatch.setattr("edge_mer.large.compat_torchaudio.find_spec", lambda name: None)
    assert not mend()
