"""The examples of edge_mer/privacy/README.md sign grants that a real switch accepts, once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edge_mer.contract.control import Grant
from edge_mer.privacy.consent.consent_file import FILE, HubConsent, write_deployment
from edge_mer.privacy.keys.identity import new_identity
from edge_mer.privacy.keys.keyring import Keyring, PairedKey
from tests.switch_bench import EVERYBODY, SwitchBench

EXAMPLES = Path(__file__).with_name("grant_examples")


def python(place: Path) -> tuple[list[str], bool]:
    return [sys.executable, str(EXAMPLES / "grant.py")], False


def javascript(place: Path) -> tuple[list[str], bool]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: apt-get install nodejs")
    return [node, str(EXAMPLES / "grant.js")], False


def c(place: Path) -> tuple[list[str], bool]:
    """It takes the modalities as one argument."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("cc is not installed: apt-get install gcc")
    command = [compiler, "-Wall", "-Werror", str(EXAMPLES / "grant.c"), "-lcrypto", "-o", str(place / "grant")]
    built = subprocess.run(command, capture_output=True, text=True)
    if "openssl/evp.h" in built.stderr and "No such file" in built.stderr:
        pytest.skip("the headers of OpenSSL are not installed: apt-get install libssl-dev")
    assert built.returncode == 0, built.stderr
    return [str(place / "grant")], True


@pytest.mark.parametrize("language", [python, javascript, c])
def test_an_example_signs_a_grant_that_the_switch_accepts_once(tmp_path: Path, language: object) -> None:
    assert callable(language)
    command, as_one = language(tmp_path)
    state = tmp_path / "state"
    state.mkdir()
    permitted = msgspec.structs.replace(EVERYBODY, hub=HubConsent(may_unmask=("audio", "video")))
    bench = SwitchBench(state, permitted, live=False)
    identity = new_identity(state, "hub")
    Keyring(state).add(PairedKey("hub", "hub", identity.signing, None, "today"))
    write_deployment(state / FILE, permitted)
    assert bench.switch is not None

    epoch = max(bench.switch.epochs().values())
    modalities = ['"audio","video"'] if as_one else ["audio", "video"]
    host = bench.host_public.public_bytes_raw().hex()
    secret = json.loads((state / "identities/hub.key").read_text())["signing"]
    printed = subprocess.run(
        [*command, secret, host, "1700000000", str(epoch), *modalities], check=True, capture_output=True
    ).stdout
    grant = msgspec.json.decode(printed, type=Grant)
    for ok in (True, False):
        bench.ask("unmask", "audio", "video", grant=grant)
        bench.turn()
        (answer,) = bench.answers()
        assert answer.ok is ok, answer.text
    assert "was used already" in answer.text
    assert answer.modalities["audio"].requested == answer.modalities["video"].requested == "live"
