"""The toy modality as it would be if it were read from the camera's picture."""

from __future__ import annotations

from dataclasses import replace

from tests.contract.pulse.rows import ROWS as MEASURED

ROWS = (replace(MEASURED[0], made_from=("video",)),)
