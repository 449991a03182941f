"""``edge-mer page`` and ``edge-mer keys pair --page``: the link, the tokens and the pairing code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edge_mer.cli.main import app
from edge_mer.contract.clock import SystemClock, host_boot_id
from edge_mer.contract.control import Pair
from edge_mer.privacy.keys.host_key import host_key
from edge_mer.privacy.keys.identity import new_identity
from edge_mer.privacy.keys.keyring import Keyring
from edge_mer.privacy.keys.pairing import Pairing, proof

ADDRESS = ("--set", "page.address=http://127.0.0.1:7653")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "edge_mer").mkdir(mode=0o700)
    return tmp_path / "edge_mer"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_without_an_address_the_error_shows_how_to_set_one() -> None:
    result = invoke("page")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "page.address=http://127.0.0.1:7653" in result.stderr


def test_the_link_of_the_running_instance_is_found(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setattr("edge_mer.cli.page.find_instance", lambda directory, config: runtime)
    (runtime / "config.json").write_text('{"page": {"address": "http://127.0.0.1:7654"}}')
    assert invoke("page").stdout.startswith("http://127.0.0.1:7654/#")
    assert invoke("page", *ADDRESS).stdout.startswith("http://127.0.0.1:7653/#"), "the command line has priority"


def test_the_link_stays_until_a_new_token_is_made() -> None:
    link = invoke("page", *ADDRESS).stdout
    assert link.startswith("http://127.0.0.1:7653/#")
    assert invoke("page", *ADDRESS).stdout == link
    renewed = invoke("page", "--new-token", *ADDRESS).stdout
    assert renewed != link
    assert invoke("page", *ADDRESS).stdout == renewed


def test_prometheus_has_its_own_address_and_token() -> None:
    address, token = invoke("page", "--metrics", *ADDRESS).stdout.split()
    assert address == "http://127.0.0.1:7653/metrics"
    assert token not in invoke("page", *ADDRESS).stdout


def test_plain_http_beyond_loopback_is_refused() -> None:
    result = invoke("page", "--set", "page.address=http://192.168.1.5:7653")
    assert result.exit_code == 3
    assert "page.certificate" in result.stderr


def test_a_browser_is_paired_by_the_displayed_code(state: Path) -> None:
    host_key(state)
    command = [sys.executable, "-u", "-m", "edge_mer.cli.main", "keys", "pair", "browser", "--page"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        assert "on the web page" in waiting.stdout.readline()
        code = waiting.stdout.readline().strip()
        signing = new_identity(state, "elsewhere").signing
        desk = Pairing(state, Keyring(state), "host", SystemClock(), host_boot_id())
        desk.complete(
            Pair(id="", name="page", signing=signing, curve="", proof=proof(code, "host", "page", signing, "")), ""
        )
        assert waiting.stdout.readline() == "paired: browser\n"
    assert waiting.returncode == 0
    key = Keyring(state).signer(signing)
    assert key is not None
    assert (key.name, key.role, key.curve) == ("browser", "phone", None)
