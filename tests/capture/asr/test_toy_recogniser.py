"""A recogniser that is added as a row and a module is chosen, run, masked and consented to as the shipped ones are."""

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


def test_audio_leaves_the_host_only_with_the_consent_of_its_row(found: Any) -> None:
    assert "--consent cloud" in found["refused"]
    assert "nobody in this home agreed to cloud" in found["without"]
    assert found["with"] == ""
    assert found["choice"] == "nas:1"


def test_the_row_gives_the_consent_question_and_status(found: Any) -> None:
    assert found["questions"][-1] == "May audio be sent to nas:1?"
    assert found["status"].startswith("audio sent to a cloud: Anna agreed")


def test_audio_mask_reaches_the_words_of_a_recogniser(found: Any) -> None:
    assert found["reached"] == ["audio", "text"]
    assert found["erased_with_audio"]


def test_sources_without_recognition_have_no_recogniser() -> None:
    assert recogniser_of("typed", "whisper") is None
    assert not is_from_microphone("recorded", "pocketsphinx")
    with pytest.raises(ConfigError, match=r"text\.source is typed"):
        choose(Config.model_validate({"text": {"source": "typed"}}))


def test_words_of_an_unknown_engine_count_as_from_the_microphone() -> None:
    assert is_from_microphone("asr", "an engine of an older version")


@pytest.mark.parametrize("row", RECOGNISERS.values(), ids=lambda row: row.name)
def test_every_shipped_row_uses_the_microphone_and_names_its_languages(row: RecogniserRow) -> None:
    assert row.from_microphone
    assert row.languages


def test_a_row_that_sends_audio_away_must_name_its_consent_scope() -> None:
    with pytest.raises(AssertionError, match="consent scope"):
        RecogniserRow(name="x", module="x", leaves_host=True)
