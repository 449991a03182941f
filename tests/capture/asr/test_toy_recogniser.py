"""A recogniser that is only a row and a module is chosen, run, masked and consented to as the shipped ones are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_mer.capture.asr.recogniser import choose
from edge_mer.config import Config
from edge_mer.contract.errors import ConfigError
from edge_mer.contract.recognisers import RECOGNISERS, RecogniserRow, is_from_microphone, recogniser_of

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(__file__).parents[3]),
    "EDGE_MER_RECOGNISERS": "tests.capture.asr.toy_recogniser",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    state = tmp_path_factory.mktemp("toy") / "state"
    command = [sys.executable, "-m", "tests.capture.asr.toy_recogniser", str(state)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_row_is_enough_to_be_chosen_and_run_in_the_child_process(found: Any) -> None:
    assert found["words"] == ["3072"]


def test_sound_leaves_the_host_only_with_the_consent_of_that_row(found: Any) -> None:
    assert "--consent cloud" in found["refused"]
    assert "nobody in this home agreed to cloud" in found["without"]
    assert found["with"] == ""
    assert found["choice"] == "nas:1"


def test_people_are_asked_and_told_in_the_words_of_the_row(found: Any) -> None:
    assert found["questions"][-1] == "May sound be sent to nas:1?"
    assert found["status"].startswith("sound sent to a cloud: Anna agreed")


def test_a_mask_of_the_microphone_reaches_its_words(found: Any) -> None:
    assert found["reached"] == ["audio", "text"]
    assert found["erased_with_audio"]


def test_sources_that_hear_nothing_have_no_recogniser() -> None:
    assert recogniser_of("typed", "whisper") is None
    assert not is_from_microphone("recorded", "pocketsphinx")
    with pytest.raises(ConfigError, match=r"text\.source is typed"):
        choose(Config.model_validate({"text": {"source": "typed"}}))


def test_words_of_a_forgotten_engine_count_as_made_from_the_microphone() -> None:
    assert is_from_microphone("asr", "an engine of an older version")


@pytest.mark.parametrize("row", RECOGNISERS.values(), ids=lambda row: row.name)
def test_every_shipped_row_hears_the_microphone_and_names_what_it_transcribes(row: RecogniserRow) -> None:
    assert row.from_microphone
    assert row.languages


def test_a_row_that_sends_sound_away_must_name_its_consent() -> None:
    with pytest.raises(AssertionError, match="consent scope"):
        RecogniserRow(name="x", module="x", leaves_host=True)
