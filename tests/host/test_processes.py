"""The process table gives the processes that a configuration needs."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from edge_mer.config import Config
from edge_mer.host.processes import PROCESSES, rows_for


def names(**sections: dict[str, object]) -> set[str]:
    return {row.name for row in rows_for(Config.model_validate(sections))}


PERCEPTION = {"perception.audio", "perception.video", "perception.text"}


def test_by_default_microphone_and_camera_are_captured() -> None:
    assert names() == {"switch", "microphone", "camera", "transcript", "fusion", *PERCEPTION}


def test_one_file_process_plays_both_tracks() -> None:
    found = names(audio={"source": "file"}, video={"source": "file"}, text={"source": "off"})
    assert found == {"switch", "file", "fusion", "perception.audio", "perception.video"}


def test_a_recorded_transcript_plays_with_its_file_or_on_its_own() -> None:
    assert "transcript" not in names(audio={"source": "file"}, text={"source": "recorded", "path": "x"})
    assert "transcript" in names(text={"source": "recorded", "path": "x"})
    assert "transcript" in names(audio={"source": "file"}, text={"source": "asr"})


def test_perception_together_runs_in_the_fusion_process() -> None:
    assert not names(perception={"placement": "together"}) & PERCEPTION


def test_a_recorder_runs_only_with_a_path_and_stops_last() -> None:
    assert "recorder" in names(record={"path": "x.mcap"})
    assert max(PROCESSES, key=lambda row: row.stop_stage).name == "recorder"


@pytest.mark.parametrize("row", PROCESSES, ids=lambda row: row.name)
def test_every_module_exists(row) -> None:  # type: ignore[no-untyped-def]
    assert find_spec(row.module) is not None
