"""Where real recordings lie; tests that need them are skipped with the reason where they are absent."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def recordings() -> Path:
    root = Path(__file__).parents[3] / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"real recordings are absent: {root}")
    return root


@pytest.fixture(scope="session")
def models() -> Path:
    return Path(__file__).parents[2] / "edge_mer" / "models"
