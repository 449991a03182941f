"""The section [sensors] in the user's config file, and ``edge-mer calibrate`` on a media file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge_mer.capture.room.levels import AudioLevels
from edge_mer.capture.room.levels import measured as result
from edge_mer.capture.room.sensors_section import section_toml, updated, write_section
from edge_mer.cli.main import app
from edge_mer.config import SensorsConfig, load
from edge_mer.contract.errors import ConfigError
from pipelines.demo import media as demo_media
from tests.capture.room.test_levels import CLAPS_S, VideoLevels, room, video

MINE = """\
# mine
[video]
fps = 10  # slow

# measured at home
[sensors]
date = "2020-01-01"
face_size = 0.1
# after moving the microphone
noise_floor_db = -40.0

[text]
source = "off"
"""


def test_what_was_not_measured_keeps_its_value() -> None:
    old = SensorsConfig(date="2026-01-01", noise_floor_db=-50, offset_s=0.1)
    found, _ = result(AudioLevels(), video())
    new = updated(old, found, "2026-11-21")
    assert new is not None
    assert (new.date, new.noise_floor_db, new.offset_s) == ("2026-11-21", -50, 0.1)
    assert new.exposure is not None
    assert updated(old, result(AudioLevels(), VideoLevels())[0], "2026-11-21") is None, "nothing was measured"


def test_the_section_is_updated_in_place_and_every_comment_stays(tmp_path: Path) -> None:
    path = tmp_path / "edge_mer.toml"
    path.write_text(MINE)
    path.chmod(0o640)
    write_section(path, SensorsConfig(date="2026-11-21", noise_floor_db=-55.5, offset_s=-0.04))
    assert path.read_text() == (
        MINE.replace("2020-01-01", "2026-11-21")
        .replace("face_size = 0.1\n", "")
        .replace("-40.0\n", "-55.5\noffset_s = -0.04\n")
    )
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["edge_mer.toml"], "no draft is left"


def test_a_missing_file_is_created_with_the_section_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "edge_mer.toml"
    section = SensorsConfig(date="2026-11-21", offset_s=0.2)
    write_section(path, section)
    assert path.read_text() == section_toml(section) == '[sensors]\ndate = "2026-11-21"\noffset_s = 0.2\n'
    assert load(path)[0].sensors == section


def test_a_file_that_is_not_toml_is_refused_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "edge_mer.toml"
    path.write_text("[video\n")
    with pytest.raises(ConfigError, match=r"edge_mer\.toml: .*correct it"):
        write_section(path, SensorsConfig())
    assert path.read_text() == "[video\n"


optional = st.none() | st.floats(0, 1)
sections = st.builds(
    SensorsConfig,
    date=st.none() | st.dates().map(lambda day: f"{day:%Y-%m-%d}".rjust(10, "0")),
    noise_floor_db=st.none() | st.floats(-100, 0),
    voice_db=st.none() | st.floats(-100, 0),
    exposure=st.none() | st.floats(0, 255),
    face_size=optional,
    offset_s=st.floats(-1, 1),
)
# The forms in which a person may have written the section.
layouts = st.sampled_from(
    [
        "",
        MINE,
        'sensors.date = "2020-01-01"  # dotted\n[video]\nfps = 10\n',
        'sensors = { date = "2020-01-01" }\n[video]\nfps = 10\n',
        "[ sensors ]\n[video]\nfps = 10",
        "[video]\nfps = 10\n[sensors]",
    ]
)


@given(layouts, sections)
def test_however_the_file_is_laid_out_it_loads_with_the_section_and_nothing_else_changed(
    before: str, section: SensorsConfig
) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "edge_mer.toml"
        path.write_text(before)
        write_section(path, section)
        assert load(path)[0].sensors == section
        after, old = tomlkit.parse(path.read_text()).unwrap(), tomlkit.parse(before).unwrap()
    assert {k: v for k, v in after.items() if k != "sensors"} == {k: v for k, v in old.items() if k != "sensors"}


@pytest.mark.parametrize("offset", [0.0, 0.2])
def test_a_media_file_gives_the_offset_of_its_video(offset: float, tmp_path: Path) -> None:
    """FLAC and MPEG-4 in Matroska, through the decoders and the command."""
    images = []
    for i in range(90):
        picture = np.full((240, 320, 3), 100, np.uint8)
        if any(0 <= i / 15 - (c + offset) < 1 / 15 for c in CLAPS_S):
            picture[60:180, 80:240] = 220
        images.append(picture)
    demo_media.write(tmp_path / "claps.mkv", room(6.0), images)
    config = tmp_path / "edge_mer.toml"
    config.touch()
    media = ("--media", str(tmp_path / "claps.mkv"), "--config", str(config))
    dry = CliRunner().invoke(app, ["calibrate", *media, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert config.read_text() == ""
    assert CliRunner().invoke(app, ["calibrate", *media]).exit_code == 0
    found = load(config)[0].sensors
    assert found.offset_s == pytest.approx(offset, abs=1.1 / 15)
    assert found.noise_floor_db == pytest.approx(-60, abs=1)
    assert found.exposure == pytest.approx(100, abs=3)
    assert found.face_size is None


def test_an_unreadable_file_is_one_clear_line_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.mkv").write_bytes(b"no film")
    (tmp_path / "c").touch()
    result = CliRunner().invoke(app, ["calibrate", "--media", str(tmp_path / "x.mkv"), "--config", str(tmp_path / "c")])
    assert result.exit_code == 5
    assert not (tmp_path / "c").read_text()
