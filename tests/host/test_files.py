"""Files and directories of one user: private, and one clear line where they cannot be made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_mer.bus import runtime_directory
from edge_mer.config import default_path, load
from edge_mer.contract.errors import ConfigError
from edge_mer.host.files import create_private, state_directory
from edge_mer.host.launcher import last_error


def test_a_private_file_ignores_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create_private(tmp_path / "a").close()
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        create_private(tmp_path / "a")


@pytest.mark.parametrize(
    ("make", "setting"), [(state_directory, "privacy.state"), (runtime_directory, "run.directory")]
)
def test_a_place_that_cannot_be_made_names_the_setting(tmp_path: Path, make: object, setting: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=rf"cannot be written: .*set {setting}"):
        make(str(tmp_path / "file" / "below"))  # type: ignore[operator]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a link of another user")
@pytest.mark.parametrize("make", [state_directory, runtime_directory])
def test_a_link_that_another_user_planted_is_refused(tmp_path: Path, make: object) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "mine")
    os.chown(link, 65534, 65534, follow_symlinks=False)
    with pytest.raises(ConfigError, match="must be yours alone"):
        make(str(link))  # type: ignore[operator]


def test_without_a_home_the_config_has_its_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    assert load()[0].video.fps == 15
    with pytest.raises(ConfigError, match="set HOME, XDG_CONFIG_HOME or --config"):
        default_path()
    with pytest.raises(ConfigError, match=r"set HOME, XDG_STATE_HOME or privacy\.state"):
        state_directory()
    assert state_directory("/tmp/named-in-config") == Path("/tmp/named-in-config")


def test_a_full_disk_is_named_where_a_log_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log" / "a.jsonl"
    log.parent.mkdir()
    log.write_text("")
    assert last_error(log) is None
    monkeypatch.setattr("edge_mer.host.launcher.LEAST_ROOM", 1 << 80)
    assert "is full; make room, or set privacy.state" in (last_error(log) or "")
