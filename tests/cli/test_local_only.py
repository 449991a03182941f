"""Promise 7: nothing of ours, and nothing that we load, talks to anybody or leaves an identifier behind."""

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
    """Its first sign is the file .ses in the temporary directory, written when it is loaded; then come uploads."""
    quiet = {"ORT_DISABLE_TELEMETRY", "CI"}  # what would silence it anyway
    environment = {k: v for k, v in os.environ.items() if k not in quiet}
    places = {"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", LOAD], env={**environment, **places}, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []
