"""The size of an installation counts what the application needs, and nothing of its extras."""

from __future__ import annotations

from importlib.metadata import PathDistribution
from pathlib import Path

from edge_mer.bench.install_size import bytes_of, needed, requirements, table


def package(folder: Path, name: str, source: bytes, compiled: bytes, *needs: str) -> PathDistribution:
    info = folder / f"{name}-1.0.dist-info"
    (folder / name / "__pycache__").mkdir(parents=True)
    info.mkdir()
    (folder / name / "part.py").write_bytes(source)
    (folder / name / "__pycache__" / "part.cpython-312.pyc").write_bytes(compiled)
    (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n" + "".join(f"Requires-Dist: {n}\n" for n in needs))
    (info / "RECORD").write_text(f"{name}/part.py,,\n{name}/gone.py,,\n")
    return PathDistribution(info)


def test_files_and_their_bytecode_are_counted_once(tmp_path: Path) -> None:
    found = package(tmp_path, "big", b"x" * 1_500_000, b"y" * 500_000)
    assert bytes_of(found) == (2_000_000, 500_000)
    assert table({"big": found})[1:] == [
        "     2.0       0.5  big 1.0",
        "     2.0       0.5  all 1 packages",
    ]


def test_requirements_of_extras_are_left_out() -> None:
    lines = [
        "numpy<3,>=1.26",
        "pydantic-settings[toml]>=2.4",
        'torch>=2.8; extra == "asr"',
        "tomli; python_version<'3.11'",
    ]
    assert requirements(lines) == ["numpy", "pydantic-settings", "tomli"]


def test_the_application_needs_numpy_through_its_requirements_and_not_torch() -> None:
    found = needed()
    assert {"edge-mer", "numpy", "opencv-python-headless", "protobuf"} <= set(found)
    assert not {"torch", "pocketsphinx"} & set(found)
