"""transformers imports with a CUDA build of torchaudio beside a CPU torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_mer.large.compat_torchaudio import repair_import


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that fails during its import, as the real one does."""
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


def test_it_loads_without_its_native_part(broken):
    assert repair_import()
    import torchaudio

    assert torchaudio.ready
    with pytest.raises(RuntimeError, match="native part"):
        torchaudio.fail_if_no_align(print)()


def test_a_working_package_is_not_changed(broken):
    (broken / "_extension" / "__init__.py").write_text("fail_if_no_align = print\n")
    assert not repair_import()


def test_a_missing_package_needs_no_repair(monkeypatch):
    monkeypatch.setattr("edge_mer.large.compat_torchaudio.find_spec", lambda name: None)
    assert not repair_import()
