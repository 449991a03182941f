"""A modality that is added as a row, a sensor, an encoder and graphs works as the three shipped ones do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_mer.contract.domain import COMBINATIONS, MODALITIES

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "EDGE_MER_MODALITIES": "tests.contract.pulse.rows"}
NOT_SENSED = [f"--set={m}.source=off" for m in MODALITIES]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def settings(place: Path) -> list[str]:
    return [f"--set=models.directory={place / 'models'}", f"--set=privacy.state={place / 'state'}"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a recording of twelve seconds with a pulse."""
    found = tmp_path_factory.mktemp("pulse")
    done = run("tests.contract.pulse.home", str(found))
    assert done.returncode == 0, done.stderr
    return found


@pytest.fixture(scope="module")
def seen(place: Path) -> Any:
    return json.loads((place / "seen.json").read_text())


def test_a_row_gives_topics_processes_and_page_texts(seen: Any) -> None:
    assert seen["modalities"] == [*MODALITIES, "pulse"]
    assert seen["topics"] == ["raw/pulse", "state/pulse", "feature/pulse"]
    assert seen["processes"] == ["recorder", "fusion", "perception.pulse", "belt"]
    assert '"Pulse belt"' in seen["page"]
    assert '"ap": "voice and pulse"' in seen["page"]


def test_estimates_use_it_except_while_it_is_masked(seen: Any) -> None:
    assert seen["both"][-6:] == ["ap"] * 6
    assert seen["without"] == ["a"] * 5
    assert seen["again"][-6:] == ["ap"] * 6


def test_its_mask_has_a_signed_receipt_and_stops_its_recording(seen: Any) -> None:
    assert seen["answer"] == [True, "", [0]]
    assert seen["receipts"] == [["pulse", "anna", ["fusion", "perception.pulse", "recorder"], True, 0]]
    assert seen["raw"] > 8
    assert seen["raw_while_masked"] == 0
    assert seen["presence"] == ["masked", "present"]


def test_its_recording_is_encrypted_and_replays_exactly(place: Path, seen: Any) -> None:
    assert "pulse" in seen["sealed"]
    assert seen["unverifiable"] is None
    done = run("edge_mer.cli.main", "replay", str(place / "pulse.mcap"), "--verify", *settings(place))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("identical: ")
    assert f"{seen['raw']} features" in done.stdout


def test_erasing_it_keeps_the_other_modalities(place: Path, seen: Any) -> None:
    copy = place / "copy.mcap"
    copy.write_bytes((place / "pulse.mcap").read_bytes())
    at = place / "erased.toml"
    at.write_text(f'[privacy]\nstate = "{place / "state"}"\n[models]\ndirectory = "{place / "models"}"\n')
    keys = {p: p.read_bytes() for p in (place / "state" / "session_keys").iterdir()}
    try:
        done = run("edge_mer.cli.main", "session", "erase", str(copy), "--modality", "pulse", "--config", str(at))
        assert done.stdout.startswith("pulse: its key is destroyed"), done.stderr
        done = run("edge_mer.cli.main", "session", "export", str(copy), str(place / "out.csv"), "--config", str(at))
        assert done.returncode == 0, done.stderr
        rows = (place / "out.csv").read_text().splitlines()
        assert len(rows) > 10
        assert not [r for r in rows[1:] if ",ap," in r]
    finally:
        for path, content in keys.items():
            path.write_bytes(content)


def test_a_derived_modality_is_masked_with_its_source() -> None:
    program = (
        "from edge_mer.contract.services import masked_with; print(*sorted(masked_with('video', transcribed=False)))"
    )
    environment = {**ENVIRONMENT, "EDGE_MER_MODALITIES": "tests.contract.pulse.from_video"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pulse", "video"]


@pytest.mark.parametrize("twin", [{"name": "pulse"}, {"letter": "p"}, {"letter": "pp"}])
def test_a_duplicate_name_or_invalid_letter_is_refused(twin: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "twins.py").write_text(
        "from dataclasses import replace\n"
        "from tests.contract.pulse.rows import ROWS as ONE\n"
        f"ROWS = (*ONE, replace(ONE[0], **{ {'name': 'other', 'letter': 'o', **twin} }))\n"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{ROOT}:{tmp_path}", "EDGE_MER_MODALITIES": "twins"}
    command = [sys.executable, "-c", "import edge_mer.contract.domain"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "one letter that no other has" in done.stderr


def test_without_the_variable_there_are_three_modalities() -> None:
    assert MODALITIES == ("audio", "video", "text")
    assert COMBINATIONS == ("atv", "at", "av", "tv", "a", "t", "v")


@pytest.mark.end_to_end
def test_it_runs_in_real_processes(place: Path, tmp_path: Path) -> None:
    directory, file = tmp_path / "run", tmp_path / "real.mcap"
    directory.mkdir(mode=0o700)
    own = [
        f"--set=models.directory={place / 'models'}",
        f"--set=privacy.state={tmp_path / 'state'}",
        f"--set=record.path={file}",
        f"--set=run.directory={directory}",
        "--set=record.raw=true",
    ]
    command = [sys.executable, "-m", "edge_mer.cli.main", "run", "--json", "--consent=pulse", *NOT_SENSED, *own]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as instance:
        assert instance.stdout is not None
        try:
            until_combination(instance.stdout, "p")
            masked = run("edge_mer.cli.main", "mask", "pulse", "--directory", str(directory))
            assert masked.returncode == 0, masked.stderr
            until_combination(instance.stdout, "none")
        finally:
            instance.send_signal(signal.SIGINT)
    done = run("edge_mer.cli.main", "replay", str(file), "--verify", *own[:2])
    assert done.stdout.startswith("identical: "), done.stdout + done.stderr


def until_combination(lines: Any, wanted: str) -> None:
    for line in lines:
        if json.loads(line).get("combination") == wanted:
            return
    raise AssertionError(f"the instance ended before an estimate of {wanted!r}")
