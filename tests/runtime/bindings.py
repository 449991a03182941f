"""NVIDIA's real Python bindings of TensorRT over stub libraries: names can be looked up, nothing can be built.

``.ci/run`` downloads the wheels (1 MB each) into ``.tensorrt-bindings``; the libraries that they need are not on PyPI.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

PLACE: Final = Path(__file__).parents[2] / ".tensorrt-bindings"
# Distribution, version, and the number in the library names. 10.3 is JetPack 6's, 10.16 JetPack 7.2's, 11.4 the newest.
WHEELS: Final[Mapping[str, tuple[str, int]]] = {
    "10.3": ("tensorrt_cu12_bindings-10.3.0", 10),
    "10.16": ("tensorrt_cu13_bindings-10.16.1", 10),
    "11.4": ("tensorrt_cu13_bindings-11.4.0", 11),
}
_LIBRARIES: Final = ("nvinfer", "nvonnxparser", "nvinfer_plugin")
# All symbols that tensorrt.so needs when it is loaded.
_ENTRY_POINTS: Final = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)


def unpacked(version: str, place: Path) -> Path:
    """A directory from which ``import tensorrt`` gives the bindings of ``version``. Skips if the wheel is missing."""
    name, major = WHEELS[version]
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    wheels = sorted(PLACE.glob(f"{name}*-{tag}-*.whl"))
    if not wheels or shutil.which("gcc") is None:
        pytest.skip(f"needs gcc and the wheel {name} for {tag} in {PLACE.name}; .ci/run downloads it")
    zipfile.ZipFile(wheels[-1]).extractall(place)
    module = place / "tensorrt_bindings"
    source = place / "stub.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in _ENTRY_POINTS))
    for library in _LIBRARIES:
        soname = f"lib{library}.so.{major}"
        subprocess.run(["gcc", "-shared", "-fPIC", f"-Wl,-soname,{soname}", "-o", module / soname, source], check=True)
    module.rename(place / "tensorrt")
    return place


def run_script(place: Path, script: str, given: Any = None) -> Any:
    """Run ``script`` in a process that imports ``tensorrt`` from ``place``; it prints JSON, ``given`` is its input."""
    here = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": f"{place}:{here}", "LD_LIBRARY_PATH": str(place / "tensorrt")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        input=json.dumps(given),
        text=True,
        capture_output=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
