"""The config reports the origin of each value, and names errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_mer.config import load
from edge_mer.contract.errors import ConfigError


def test_every_value_names_its_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[video]\nfps = 10\nwidth = 320\n[fusion]\nhop_s = 1\n")
    monkeypatch.setenv("EDGE_MER__VIDEO__WIDTH", "160")
    config, origin = load(path, {"fusion": {"hop_s": 0.25}})
    assert (config.video.fps, config.video.width, config.fusion.hop_s) == (10, 160, 0.25)
    assert origin["video.fps"] == str(path)
    assert origin["video.width"] == "environment"
    assert origin["fusion.hop_s"] == "command line"
    assert origin["audio.source"] == "default"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[fusion]\nwindw_s = 3", "did you mean window_s"),
        ("[vidio]\nfps = 3", "did you mean video"),
        ("[video]\nfps = 90", "video.fps"),
        ("[video]\nfps = 'fast'", "got 'fast'"),
        ("[audio]\nsource = 'tape'", "audio.source"),
        ("[audio\n", "c.toml"),
        ("audio = 3", "must be a table"),
    ],
)
def test_an_error_names_its_file_and_the_nearest_key(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint) as caught:
        load(path)
    assert "c.toml" in str(caught.value)


def test_a_missing_named_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load(tmp_path / "nowhere.toml")


def test_a_misspelt_environment_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_MER__VIDEO__WITDH", "160")
    with pytest.raises(ConfigError, match=r"environment: unknown key video\.witdh; did you mean width"):
        load()


def test_lists_and_numbers_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_MER__REPLAY__TOPICS", '["emotion"]')
    monkeypatch.setenv("EDGE_MER__AUDIO__DEVICE", "2")
    config, _ = load()
    assert config.replay.topics == ("emotion",)
    assert config.audio.device in (2, "2")
