"""A variant of the toy modality that is derived from the camera's video."""

from __future__ import annotations

from dataclasses import replace

from tests.contract.pulse.rows import ROWS as MEASURED

ROWS = (replace(MEASURED[0], made_from=("video",)),)
