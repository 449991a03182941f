"""``edge-mer consent``: given and withdrawn without a terminal, and taken up by a running switch."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from edge_mer.cli.main import app
from edge_mer.privacy.consent.consent_file import CONSENT_SCOPES, FILE, Consent, ConsentScope, read_deployment
from edge_mer.privacy.consent_setup import give, withdraw
from edge_mer.privacy.keys.keyring import Keyring
from tests.switch_bench import TODAY


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("USER", "anna")
    with tempfile.TemporaryDirectory() as short:  # a socket's path has at most 108 bytes
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        yield tmp_path / "edge_mer"


def consent(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["consent", *arguments])


def rows(state: Path) -> list[tuple[str, str]]:
    return [(c.matter, c.who) for c in read_deployment(state / FILE).consent]


def test_consent_without_a_terminal_is_written_and_pairs_the_console(state: Path) -> None:
    result = consent("audio,video", "--who", "Anna", "--until", "2100-01-02")
    assert (result.exit_code, "edge-mer run" in result.stdout) == (0, True), result.output
    assert {(c.matter, c.who, c.until) for c in read_deployment(state / FILE).consent} == {
        ("audio", "Anna", datetime.date(2100, 1, 2)),
        ("video", "Anna", datetime.date(2100, 1, 2)),
    }
    assert [k.name for k in Keyring(state).paired()] == ["console"]


def test_without_matter_and_terminal_it_shows_how(state: Path) -> None:
    result = consent()
    assert (result.exit_code, "edge-mer consent audio,video,text" in result.stdout) == (0, True)
    assert not (state / FILE).exists()


def test_withdrawing_without_a_file_is_one_clear_line(state: Path) -> None:
    result = consent("audio", "--withdraw")
    assert (result.exit_code, result.stderr.count("\n")) == (4, 1)


def test_another_person_consents_beside_the_first(state: Path) -> None:
    consent("audio", "--who", "Anna")
    consent("audio,text", "--who", "Otto")
    assert rows(state) == [("audio", "Anna"), ("audio", "Otto"), ("text", "Otto")]
    consent("audio", "--withdraw", "--who", "Otto")
    assert rows(state) == [("audio", "Anna"), ("text", "Otto")]
    consent("--withdraw")
    assert rows(state) == []


def test_consent_that_ended_is_replaced_by_a_new_one(state: Path) -> None:
    consent("video", "--who", "Anna", "--until", "2020-01-01")
    consent("video", "--who", "Anna")
    assert [c.until for c in read_deployment(state / FILE).consent] == [None]


def test_at_a_workplace_nobody_can_consent(state: Path) -> None:
    consent("audio")
    (state / FILE).write_text((state / FILE).read_text().replace('"home"', '"workplace"'))
    before = (state / FILE).read_bytes()
    assert consent("video").exit_code == 4
    assert (state / FILE).read_bytes() == before


@given(
    first=st.sets(st.sampled_from(CONSENT_SCOPES), min_size=1),
    gone=st.sets(st.sampled_from(CONSENT_SCOPES), min_size=1),
)
def test_what_is_given_and_not_withdrawn_remains(
    tmp_path_factory: pytest.TempPathFactory, first: set[ConsentScope], gone: set[ConsentScope]
) -> None:
    directory = tmp_path_factory.mktemp("state", numbered=True)
    give(directory, tuple(first), "anna", TODAY)
    withdraw(directory, tuple(gone))
    found = set(read_deployment(directory / FILE).consent)
    assert found == {Consent(m, "anna", TODAY) for m in first - gone}
