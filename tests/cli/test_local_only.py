"""Local only: neither edge_mer nor a library it loads connects anywhere or stores an identifier."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LOAD = (
    "from edge_mer.runtime.select import models_directory, open_backend;"
    "from edge_mer.config import ModelsConfig;"
    "open_backend(ModelsConfig()).load(models_directory(None) / 'audio.onnx')"
)


def test_onnx_runtime_is_loaded_without_its_telemetry(tmp_path: Path) -> None:
    """Telemetry starts with the file .ses in the temporary directory, written on load; uploads follow."""
    quiet = {"ORT_DISABLE_TELEMETRY", "CI"}  # either of them turns it off anyway
    environment = {k: v for k, v in os.environ.items() if k not in quiet}
    places = {"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", LOAD], env={**environment, **places}, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []
