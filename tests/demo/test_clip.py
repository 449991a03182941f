"""Files of the user: short clips repeat, photographs become stills, and faults are named."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edge_mer.contract.errors import InputError
from edge_mer.demo.clip import STILL_S, open_clip
from edge_mer.demo.config import SESSION, demo_config
from edge_mer.demo.plot import save_plot
from tests.capture.media import make_clip
from tests.demo.test_timeline import Played


def test_a_short_clip_repeats_until_windows_are_full(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "short.mkv", seconds=3.0)
    clip = open_clip(path, tmp_path)
    assert clip.laps == 3
    assert 8.0 <= clip.seconds <= 9.3
    assert demo_config(tmp_path, clip, None, {}).file.loop


def test_a_long_clip_plays_once(tmp_path: Path) -> None:
    clip = open_clip(SESSION, tmp_path)
    assert (clip.laps, clip.is_photo) == (1, False)
    assert not demo_config(tmp_path, clip, None, {}).file.loop


def test_a_photograph_plays_as_a_still_without_sound(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    picture = np.random.default_rng(1).integers(0, 255, (301, 1000, 3), dtype=np.uint8)
    cv2.imwrite(str(photo), picture)
    clip = open_clip(photo, tmp_path)
    assert clip.is_photo
    with av.open(str(clip.path)) as container:
        frames = list(container.decode(video=0))
    assert (frames[0].width, frames[0].height) == (640, 192)
    assert frames[-1].time == pytest.approx(STILL_S, abs=0.2)
    config = demo_config(tmp_path, clip, None, {})
    assert (config.audio.source, config.video.source, config.text.source) == ("off", "file", "off")


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("", None, "is a folder"),
        ("nothere.mp4", None, "no such file"),
        ("bad.jpg", b"no picture", "damaged or no picture"),
        ("bad.mp4", b"no clip", "damaged or no media file"),
    ],
)
def test_a_file_that_cannot_be_played_is_named(tmp_path: Path, name: str, content: bytes | None, fault: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=fault):
        open_clip(path, tmp_path)


def test_the_plot_has_a_panel_for_each_file_and_is_not_overwritten(tmp_path: Path) -> None:
    first, second = Played(), Played(is_photo=True)
    first.windows(3)
    second.windows(2, None, "low confidence")
    out = tmp_path / "out.png"
    save_plot([first.timeline, second.timeline], out)
    image = cv2.imread(str(out))
    assert image is not None
    assert image.shape == (480, 1000, 3)
    assert out.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        save_plot([first.timeline], out)
    with pytest.raises(InputError, match="unknown kind of picture"):
        save_plot([first.timeline], tmp_path / "out.docx")
