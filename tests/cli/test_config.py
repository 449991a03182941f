"""``edge-mer config``: where values came from, and a written file that loads back as the same configuration."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Union, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic.fields import FieldInfo
from typer.testing import CliRunner, Result

from edge_mer.cli.config import commented
from edge_mer.cli.main import app
from edge_mer.config import Config, load
from edge_mer.contract.domain import EVENT_LABELS


@pytest.fixture(autouse=True, scope="module")
def _no_config_of_the_user() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", "/nowhere")
        yield


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["config", *arguments])


def values(field: FieldInfo) -> st.SearchStrategy[Any]:
    """Valid values of one key, None included where it has none by default."""
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
    kind = Union[tuple(kinds)] if NoneType in get_args(field.annotation) else field.annotation  # noqa: UP007
    patterns = [found for m in field.metadata if (found := getattr(m, "pattern", None))]
    if patterns:
        found = st.from_regex(re.compile(patterns[0], re.ASCII), fullmatch=True)
    else:
        found = st.from_type(Annotated[(kind, *field.metadata)] if field.metadata else kind)
    found = found.filter(lambda value: "nan" not in repr(value))  # equals nothing, itself included
    return st.none() | found if field.default is None else found


CURVE = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
BUDGETS = st.just("off") | st.fixed_dictionaries({"per_week": st.floats(0.001, 1000)})
# Keys whose values no type describes.
OWN = {
    **dict.fromkeys(EVENT_LABELS, BUDGETS),
    "rooms": st.sets(st.from_regex(r"[A-Za-z][A-Za-z0-9_ .-]{0,9}", fullmatch=True), max_size=3).map(
        lambda names: {name: f"tcp://h:1|tcp://h:2|{n:064x}|{CURVE}" for n, name in enumerate(sorted(names))}
    ),
}


chosen_values = st.fixed_dictionaries(
    {},
    optional={
        name: st.fixed_dictionaries(
            {}, optional={key: OWN[key] if key in OWN else values(f) for key, f in type(part).model_fields.items()}
        )
        for name, part in Config()
    },
)


def loaded(text: str) -> tuple[Config, dict[str, str]]:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "edge_mer.toml"
        path.write_bytes(text.encode())
        return load(path)


@given(chosen_values)
@settings(deadline=None)
def test_any_config_is_written_as_a_file_that_loads_as_the_same_config(chosen: dict[str, dict[str, Any]]) -> None:
    resolved, origin = load(None, chosen)
    again, origins = loaded(commented(resolved, origin))
    assert again == resolved
    for name, source in origin.items():
        section, _, key = name.partition(".")
        is_default = source == "default" or getattr(getattr(resolved, section), key) is None
        assert (origins[name] == "default") is is_default, f"{name}: only what was chosen is set in the file"


@given(chosen_values)
@settings(deadline=None, max_examples=30)
def test_a_default_that_is_uncommented_keeps_its_value(chosen: dict[str, dict[str, Any]]) -> None:
    resolved, origin = load(None, chosen)
    keys = {key for _, part in resolved for key in type(part).model_fields}
    lines = []
    for line in commented(resolved, origin).split("\n"):
        key, equals, value = line.removeprefix("# ").partition(" = ")
        lines.append(line.removeprefix("# ") if equals and value and key in keys else line)
    again, origins = loaded("\n".join(lines))
    assert again == resolved
    assert origins["video.fps"] != "default"


def test_a_written_file_explains_every_key_and_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "new" / "edge_mer.toml"
    assert invoke("--set", 'video.device="rtsp://camera/1"', "--write", str(path)).exit_code == 0
    text = path.read_text()
    assert (
        '# camera index, or URL of an MJPEG/HTTP or RTSP stream or of a picture\ndevice = "rtsp://camera/1"\n' in text
    )
    assert "# fps = 15\n" in text
    assert "# directory =\n" in text, "a key that is not set has no made-up value"
    assert load(path)[0].video.device == "rtsp://camera/1"
    assert path.stat().st_mode & 0o777 == 0o644
    again = invoke("--write", str(path))
    assert (again.exit_code, "is not overwritten" in again.stderr) == (3, True)
    assert path.read_text() == text


def test_each_value_is_shown_with_its_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_MER__VIDEO__QUALITY", "70")
    lines = invoke("--set", "video.fps=10").stdout.splitlines()
    found = {line.split()[0]: line.split()[-1] for line in lines}
    assert found["video.quality"] == "environment"
    assert found["video.fps"] == "line"
    assert found["video.width"] == "default"


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    result = invoke("--set", "video.fpss=10")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "did you mean fps?" in result.stderr


def test_written_without_a_name_it_stands_where_every_command_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    result = invoke("--write", "--set", "video.fps=7")
    assert result.stdout == f"wrote {tmp_path / 'edge_mer.toml'}; every command reads it\n"
    assert load()[0].video.fps == 7


def test_a_file_elsewhere_is_written_with_the_option_that_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "room.toml"
    assert f"edge-mer run --config {path}" in invoke("--write", str(path)).stdout
    assert invoke(str(path)).exit_code == 2, "without --write the file would do nothing"


def test_a_folder_is_no_configuration_file(tmp_path: Path) -> None:
    result = invoke("--config", str(tmp_path))
    assert (result.exit_code, "is a folder" in result.stderr) == (3, True)


@pytest.mark.parametrize("value", ["true", "1.5"])
def test_a_device_is_a_number_or_a_name(value: str) -> None:
    assert invoke("--set", f"audio.device={value}").exit_code == 3
    assert invoke("--set", "audio.device=1").exit_code == 0
