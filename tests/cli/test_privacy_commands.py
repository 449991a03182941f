"""The commands for consent, keys and receipts: exit codes and output."""

from __future__ import annotations

import datetime
import io
import os
import pty
import select
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from typer.testing import CliRunner, Result

from edge_mer.cli.consent import ensure
from edge_mer.cli.main import app
from edge_mer.cli.options import modalities, persons
from edge_mer.cli.unmask import unmask_allowed
from edge_mer.client import SwitchClient
from edge_mer.config import Config
from edge_mer.contract.control import Answer
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.privacy.consent.consent_file import FILE, Deployment, in_toml, read_deployment
from edge_mer.privacy.consent_setup import agree
from edge_mer.privacy.keys.host_key import host_key
from edge_mer.privacy.keys.identity import read_identity
from edge_mer.privacy.keys.keyring import Keyring
from edge_mer.privacy.switch.receipt_log import ReceiptLog
from edge_mer.privacy.switch.receipts import FILE as RECEIPTS
from edge_mer.privacy.switch.receipts import ChainHead
from tests.privacy.test_receipts import draft
from tests.switch_bench import TODAY

CURVE = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("USER", "anna")
    return tmp_path / "edge_mer"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


class TestConsent:
    def test_an_unknown_consent_scope_is_wrong_usage(self) -> None:
        assert invoke("run", "--consent", "audio,smell").exit_code == 2

    def test_a_workplace_is_refused_with_the_law(self, state: Path) -> None:
        state.mkdir(mode=0o700)
        (state / FILE).write_text(in_toml(Deployment("home")).replace('"home"', '"workplace"'))
        result = invoke("run", "--consent", "audio")
        assert result.exit_code == 4
        assert "2024/1689" in result.stderr

    def test_the_first_run_in_a_terminal_asks_and_pairs_this_console(self, state: Path) -> None:
        output, code = in_terminal(["y", "Anna", "y", "n", "n"])
        assert "Is this a private home" in output
        assert "May the camera be opened?" in output
        deployment = read_deployment(state / FILE)
        assert [(c.matter, c.who, c.given) for c in deployment.consent] == [("audio", "Anna", datetime.date.today())]
        identity = read_identity(state)
        assert identity is not None
        assert [(k.name, k.role, k.signing) for k in Keyring(state).paired()] == [
            ("console", "console", identity.signing)
        ]
        assert code == 0

    def test_outside_a_private_home_nothing_starts(self, state: Path) -> None:
        output, code = in_terminal(["n"])
        assert "Article 5(1)(f)" in output
        assert code == 1
        assert not (state / FILE).exists()

    @pytest.mark.parametrize("masked", [False, True])
    def test_without_terminal_and_consent_it_starts_masked_and_one_line_shows_what_to_do(
        self, state: Path, masked: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        assert ensure(Config(), None, masked) is False
        assert not (state / FILE).exists()
        shown = capsys.readouterr().err
        assert "no consent has been given" in shown
        assert "edge-mer consent audio,video,text" in shown
        assert shown.count("\n") == 1


def in_terminal(answers: list[str]) -> tuple[str, int]:
    """``ensure`` in a process whose standard input is a terminal: its output and exit code."""
    code = (
        "import sys, typer\n"
        "from edge_mer.cli.consent import ensure\nfrom edge_mer.config import Config\n"
        "from edge_mer.contract.errors import EdgeMerError\n"
        "try:\n    ensure(Config(), None)\nexcept EdgeMerError as e:\n    print(e); sys.exit(1)\n"
    )
    master, slave = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    os.write(master, "".join(f"{a}\n" for a in answers).encode())
    output = b""
    while select.select([master], [], [], 20)[0]:
        try:
            output += os.read(master, 4096)
        except OSError:  # the process has closed its side
            break
    code_ = process.wait(timeout=60)
    os.close(master)
    return output.decode().replace("\r\n", "\n"), code_


class TestKeys:
    def test_new_keys_print_only_their_public_halves(self, state: Path) -> None:
        result = invoke("keys", "new", "phone")
        identity = read_identity(state, "phone")
        assert identity is not None
        assert identity.signing in result.stdout
        assert identity.content.signing not in result.stdout
        assert identity.content.curve_secret not in result.stdout
        again = invoke("keys", "new", "phone")
        assert (again.exit_code, "is not overwritten" in again.stderr) == (1, True)

    def test_a_key_is_allowed_listed_and_revoked(self, state: Path) -> None:
        agree(None, ("audio",), "anna", TODAY)
        assert invoke("keys", "allow", "tablet", CURVE).exit_code == 0
        lines = invoke("keys", "list").stdout
        assert "tablet" in lines
        assert "unmask nothing" in lines
        assert invoke("keys", "revoke", "tablet").exit_code == 0
        assert "tablet" not in invoke("keys", "list").stdout
        missing = invoke("keys", "revoke", "tablet")
        assert (missing.exit_code, "no key is called 'tablet'; paired: console" in missing.stderr) == (1, True)

    @pytest.mark.parametrize("name", ["console", "tablet"])
    def test_a_paired_key_is_not_replaced(self, state: Path, name: str) -> None:
        agree(None, ("audio",), "anna", TODAY)
        invoke("keys", "allow", "tablet", CURVE)
        before = Keyring(state).paired(), read_identity(state, "tablet")
        for command in (("allow", name, CURVE), ("new", name, "--hub")):
            result = invoke("keys", *command)
            assert (result.exit_code, f"edge-mer keys revoke {name}" in result.stderr) == (1, True)
        assert (Keyring(state).paired(), read_identity(state, "tablet")) == before, "no keys are created either"

    def test_a_damaged_keyring_is_reported_before_keys_are_created(self, state: Path) -> None:
        agree(None, ("audio",), "anna", TODAY)
        Keyring(state).path.write_text("{")
        for command in (("allow", "tablet", CURVE), ("new", "tablet", "--hub")):
            result = invoke("keys", *command)
            assert (result.exit_code, "is damaged" in result.stderr) == (1, True)
        assert read_identity(state, "tablet") is None

    @pytest.mark.parametrize("key", ["", "short", CURVE + "x"])
    def test_a_malformed_key_is_refused(self, state: Path, key: str) -> None:
        state.mkdir(mode=0o700)
        assert invoke("keys", "allow", "tablet", key).exit_code == 1

    def test_pairing_without_an_address_names_the_setting(self, state: Path) -> None:
        result = invoke("keys", "pair", "phone")
        assert (result.exit_code, "remote.listen" in result.stderr) == (1, True)

    def test_a_wrong_link_is_one_clear_line(self) -> None:
        result = invoke("keys", "pair", "phone", "http://elsewhere")
        assert (result.exit_code, "no pairing link" in result.stderr) == (1, True)


class TestReceipts:
    @pytest.fixture
    def log(self, state: Path) -> Path:
        state.mkdir(mode=0o700)
        log = ReceiptLog(state, host_key(state), ChainHead())
        for epoch in range(3):
            log.append(draft(epoch))
        return state / RECEIPTS

    def test_valid_receipts_verify_in_place_and_as_copies(self, log: Path, tmp_path: Path) -> None:
        assert "3 receipts from 0 on, all signed and in one chain" in invoke("receipts", "verify").stdout
        copy = tmp_path / "copy.jsonl"
        copy.write_bytes(log.read_bytes())
        result = invoke("receipts", "verify", str(copy), "--key", str(log.parent / "host.pub"))
        assert (result.exit_code, "3 receipts" in result.stdout) == (0, True)

    def test_the_first_bad_line_is_named(self, log: Path) -> None:
        lines = log.read_bytes().splitlines(keepends=True)
        log.write_bytes(lines[0] + lines[1].replace(b"anna", b"otto") + lines[2].replace(b"anna", b"otto"))
        result = invoke("receipts", "verify")
        assert result.exit_code == 6
        assert "line 2: it is not what this host's switch signed" in result.stderr

    def test_receipts_are_shown_as_text(self, log: Path) -> None:
        lines = invoke("receipts", "show").stdout.splitlines()
        assert len(lines) == 3
        assert "video masked by anna: closed after 0 ms (camera: no handle), purged after 0 ms (fusion)" in lines[0]

    def test_an_empty_log_is_reported(self, state: Path) -> None:
        state.mkdir(mode=0o700)
        assert invoke("receipts", "show").stdout == "no receipts yet\n"
        result = invoke("receipts", "verify")
        assert (result.exit_code, "no receipts yet" in result.stderr) == (1, True)


def test_all_means_every_modality() -> None:
    assert modalities(["all"]) == MODALITIES


def test_persons_are_named_by_their_numbers() -> None:
    assert persons(["person", "p2", "p10", "p2"]) == ("p2", "p10")
    assert persons(["person", "all"]) == ("all",)
    assert persons(["audio"]) == ()


@pytest.mark.parametrize("arguments", [["person"], ["person", "Anna"], ["person", "p2", "--hard"], ["all", "person"]])
def test_who_is_no_person_in_view_is_wrong_usage(arguments: list[str]) -> None:
    assert invoke("mask", *arguments).exit_code == 2


def test_a_locked_mask_takes_no_hours() -> None:
    assert invoke("mask", "all", "--hard", "--hours", "3").exit_code == 2


def test_a_remote_switch_needs_paired_keys() -> None:
    result = invoke("mask", "all", "--at", "nowhere")
    assert (result.exit_code, "edge-mer keys pair nowhere LINK" in result.stderr) == (1, True)


@dataclass
class FakeSwitch:
    """Refuses what is in ``refused``; ``asked`` are the modalities of each unmask."""

    refused: dict[str, str]
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def unmask(self, *names: Modality) -> Answer:
        self.asked.append(names)
        reasons = [self.refused[m] for m in names if m in self.refused]
        return Answer(id="", ok=not reasons, text="".join(reasons[:1]), modalities={})

    def status(self) -> Answer:
        return Answer(id="", ok=True, text="", modalities={})


def unmasked(refused: dict[str, str]) -> tuple[Answer, list[tuple[str, ...]]]:
    switch = FakeSwitch(refused)
    return unmask_allowed(cast(SwitchClient, switch), MODALITIES), switch.asked


def test_what_may_be_unmasked_is_and_the_rest_is_named() -> None:
    answer, asked = unmasked({"audio": "no consent to audio"})
    assert (answer.ok, answer.text) == (False, "audio stays masked: no consent to audio")
    assert asked == [MODALITIES, *((m,) for m in MODALITIES)]


def test_where_everything_may_be_unmasked_one_command_does_it() -> None:
    answer, asked = unmasked({})
    assert (answer.ok, asked) == (True, [MODALITIES])


def test_where_nothing_may_be_unmasked_the_reason_is_given_once() -> None:
    answer, _ = unmasked(dict.fromkeys(MODALITIES, "no consent"))
    assert (answer.ok, answer.text) == (False, "no consent")
