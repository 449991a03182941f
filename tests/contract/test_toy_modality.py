"""A modality that is only a row, a sensor, an encoder and graphs runs through everything the shipped three do."""

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
    """Where twelve seconds with a pulse were recorded."""
    found = tmp_path_factory.mktemp("pulse")
    done = run("tests.contract.pulse.home", str(found))
    assert done.returncode == 0, done.stderr
    return found


@pytest.fixture(scope="module")
def seen(place: Path) -> Any:
    return json.loads((place / "seen.json").read_text())


def test_a_row_gives_topics_processes_and_words_on_the_page(seen: Any) -> None:
    assert seen["modalities"] == [*MODALITIES, "pulse"]
    assert seen["topics"] == ["raw/pulse", "state/pulse", "feature/pulse"]
    assert seen["processes"] == ["recorder", "fusion", "perception.pulse", "belt"]
    assert '"Pulse belt"' in seen["page"]
    assert '"ap": "voice and pulse"' in seen["page"]


def test_it_takes_part_in_estimates_until_it_is_masked_and_again_after(seen: Any) -> None:
    assert seen["both"][-6:] == ["ap"] * 6
    assert seen["without"] == ["a"] * 5
    assert seen["again"][-6:] == ["ap"] * 6


def test_its_mask_is_proven_by_a_signed_receipt_and_nothing_is_recorded_meanwhile(seen: Any) -> None:
    assert seen["answer"] == [True, "", [0]]
    assert seen["receipts"] == [["pulse", "anna", ["fusion", "perception.pulse", "recorder"], True, 0]]
    assert seen["raw"] > 8
    assert seen["raw_while_masked"] == 0
    assert seen["presence"] == ["masked", "present"]


def test_its_recording_is_sealed_and_replays_byte_for_byte(place: Path, seen: Any) -> None:
    assert "pulse" in seen["sealed"]
    assert seen["unverifiable"] is None
    done = run("edge_mer.cli.main", "replay", str(place / "pulse.mcap"), "--verify", *settings(place))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("identical: ")
    assert f"{seen['raw']} features" in done.stdout


def test_erasing_it_leaves_the_rest(place: Path, seen: Any) -> None:
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


def test_what_is_always_made_from_another_modality_is_masked_with_it() -> None:
    ask = "from edge_mer.contract.services import masked_with; print(*sorted(masked_with('video', transcribed=False)))"
    environment = {**ENVIRONMENT, "EDGE_MER_MODALITIES": "tests.contract.pulse.from_picture"}
    done = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pulse", "video"]


@pytest.mark.parametrize("twin", [{"name": "pulse"}, {"letter": "p"}, {"letter": "pp"}])
def test_a_name_or_letter_that_is_taken_or_too_long_is_refused(twin: dict[str, str], tmp_path: Path) -> None:
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


def test_other_processes_still_know_three_modalities() -> None:
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
