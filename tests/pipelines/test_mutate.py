"""The mutants fit the code as it is, and the command tells a caught one from a survivor."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.study import mutate
from pipelines.study.mutate import MUTANTS, ROOT, Mutant, outcome


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_every_mutant_changes_one_place_of_the_code(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()
    assert mutant.applied(text) != text


def test_names_of_mutants_differ() -> None:
    assert len({m.name for m in MUTANTS}) == len(MUTANTS) >= 30


@pytest.mark.parametrize(("after", "expected"), [("return 2", "caught"), ("return 1  # the same", "survived")])
def test_a_mutant_is_caught_when_a_test_fails(after: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("def one() -> int:\n    return 1\n")
    (tmp_path / "test_one.py").write_text("import one\n\ndef test_one():\n    assert one.one() == 1\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = end_to_end: processes\n")
    mutant = Mutant("one", "one.py", "return 1", after)
    assert outcome(mutant, tmp_path, ["test_one.py"]) == expected
    assert (tmp_path / "one.py").read_text().endswith("return 1\n")


def test_tests_that_cannot_run_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("x = 1\n")
    with pytest.raises(RuntimeError, match="did not run"):
        outcome(Mutant("one", "one.py", "x = 1", "x = 2"), tmp_path, ["absent.py"])


def test_a_mutant_of_a_line_that_is_gone_is_refused() -> None:
    with pytest.raises(ValueError, match="0 times"):
        mutate.Mutant("gone", "a.py", "never there", "x").applied("text")
