"""``edge-mer service`` and ``edge-mer uninstall``: the unit, and what is removed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from edge_mer.cli import service, uninstall
from edge_mer.cli.main import app
from edge_mer.config import Config
from edge_mer.privacy.consent_setup import agree
from tests.switch_bench import TODAY


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory without a service manager of its user."""
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(service, "systemctl", lambda *arguments: calls.append(arguments) or True)
    calls: list[tuple[str, ...]] = []
    return tmp_path


def invoke(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=answer)


def files(home: Path) -> set[str]:
    return {str(p.relative_to(home)) for p in home.rglob("*") if p.is_file()}


UNIT = ".config/systemd/user/edge-mer.service"


def test_install_writes_the_unit_and_remove_removes_it(home: Path) -> None:
    result = invoke("service", "install")
    assert (result.exit_code, files(home)) == (0, {UNIT})
    assert "edge-mer consent" in result.stdout
    assert (home / UNIT).read_text() == invoke("service", "show").stdout
    assert invoke("service", "remove").exit_code == 0
    assert files(home) == set()
    assert "no unit" in invoke("service", "remove").stdout


def test_where_systemd_does_not_answer_the_command_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "systemctl", lambda *arguments: False)
    result = invoke("service", "install")
    assert result.exit_code == 1
    assert "systemctl --user enable --now edge-mer.service" in result.stderr


def test_a_wrong_configuration_is_refused_before_the_unit_is_written(home: Path) -> None:
    wrong = home / "wrong.toml"
    wrong.write_text("[video]\ncolour = 1\n")
    assert invoke("service", "install", "--config", str(wrong)).exit_code == 3
    assert not (home / UNIT).exists()


def test_systemd_finds_no_fault_in_the_unit(home: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    path = home / service.UNIT
    path.write_text(service.unit_text(home / "a room's 50% $HOME.toml"))
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(home)}
    done = subprocess.run(
        [analyze, "verify", "--user", path], env=environment, capture_output=True, text=True, check=False
    )
    if "Failed to initialize manager" in done.stderr:
        pytest.skip("systemd-analyze does not work on this host")
    assert (done.returncode, done.stderr) == (0, "")


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"])))
def test_every_argument_is_taken_literally(word: str) -> None:
    """Undone as in systemd.service(5): specifiers, then quotes, then variables."""
    inner = service.quoted(word)[1:-1]
    assert inner.replace("%%", "%").replace("$$", "$").replace('\\"', '"').replace("\\\\", "\\") == word
    assert "%" not in inner.replace("%%", "")
    assert "$" not in inner.replace("$$", "")


def test_uninstall_without_purge_removes_the_unit_and_keeps_the_keys(home: Path) -> None:
    invoke("service", "install")
    agree(None, ("audio",), "anna", TODAY)
    kept = files(home) - {UNIT}
    result = invoke("uninstall", "--yes")
    assert (result.exit_code, files(home)) == (0, kept)
    assert f"kept (--purge removes it): {home}/.local/state/edge_mer" in result.stdout


def test_purge_names_and_removes_state_caches_and_configuration(home: Path) -> None:
    agree(None, ("audio",), "anna", TODAY)
    for name in (".cache/edge_mer/engines/x.engine", ".config/edge_mer.toml", ".config/other.toml"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("")
    result = invoke("uninstall", "--purge", answer="y\n")
    assert result.exit_code == 0
    for name in (".local/state/edge_mer", ".cache/edge_mer", ".config/edge_mer.toml"):
        assert f"to be removed: {home}/{name}" in result.stdout
    assert files(home) == {".config/other.toml"}


def test_purge_asks_first(home: Path) -> None:
    agree(None, ("audio",), "anna", TODAY)
    before = files(home)
    assert invoke("uninstall", "--purge", answer="n\n").exit_code == 1
    assert files(home) == before


def test_directories_that_the_user_chose_are_named_and_kept(home: Path) -> None:
    chosen = home / "chosen"
    chosen.mkdir()
    found = {p.path: p.own for p in uninstall.places(Config.model_validate({"privacy": {"state": str(chosen)}}))}
    assert found == {chosen: False}


def test_a_link_is_removed_and_what_it_points_to_stays(home: Path) -> None:
    (home / "elsewhere").mkdir()
    (home / "elsewhere" / "x").write_text("")
    (home / ".cache").mkdir()
    (home / ".cache" / "edge_mer").symlink_to(home / "elsewhere")
    assert invoke("uninstall", "--purge", "--yes").exit_code == 0
    assert files(home) == {"elsewhere/x"}
