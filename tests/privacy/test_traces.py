"""The stand-in that served the live path before the switch is gone, and so is every way around the switch."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edge_mer.config import Config, PrivacyConfig
from edge_mer.contract.services import SERVICES
from edge_mer.host.processes import PROCESSES

ROOT = Path(__file__).parents[2]
# Put together here, so that this file is no trace itself.
NAMES = ("host" + "_stub", "Host" + "Stub", "host" + " stub", "host" + "-stub")


def sources() -> list[Path]:
    """Every text file of the project."""
    folders = ("edge_mer", "tests", "pipelines", "calibration", ".ci")
    found = [p for f in folders for p in (ROOT / f).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return [*found, *(p for p in ROOT.iterdir() if p.suffix in (".md", ".toml"))]


def test_no_trace_of_the_stand_in_is_left() -> None:
    texts = {p: p.read_bytes() for p in sources()}
    assert len(texts) > 150
    assert [str(p) for p, text in texts.items() for name in NAMES if name.encode() in text] == []
    assert [str(p) for p in texts if any(name in p.name for name in NAMES)] == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="these sources are no git checkout")
def test_git_holds_no_such_file_either() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "pyproject.toml" in listed.splitlines(), "git has listed the project"
    assert not any(name in listed for name in NAMES)


def test_one_process_is_the_authority_and_consent_is_no_setting() -> None:
    assert [row.module for row in PROCESSES if "privacy" in row.module] == ["edge_mer.privacy.switch.switch"]
    assert "consent" not in PrivacyConfig.model_fields
    assert Config().remote.listen is None


def test_what_the_switch_says_can_be_recorded_and_leave_the_host() -> None:
    for topic in ("privacy", "receipt"):
        assert (SERVICES[topic].logged, SERVICES[topic].public) == ("default", True)
