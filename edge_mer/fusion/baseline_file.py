"""The file of the personal neutral in the state directory: readable by its owner only, and erasable."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from edge_mer.contract.errors import ModelError
from edge_mer.fusion.baseline import Baseline
from edge_mer.host.files import write_atomic

FILE: Final = "baseline.json"


def write(directory: Path, baseline: Baseline) -> Path:
    """Written atomically with mode 0600."""
    path = directory / FILE
    write_atomic(path, msgspec.json.encode(baseline))
    return path


def read(directory: Path) -> Baseline:
    """Empty where nothing was learnt. Raises ModelError for a damaged file, which is not used."""
    path = directory / FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Baseline)
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"{path} is damaged ({error}); run: edge-mer baseline erase") from error
    if not all(np.isfinite(n.level).all() for n in found.values()):
        raise ModelError(f"{path} holds numbers that are not finite; run: edge-mer baseline erase")
    return found


def erase(directory: Path) -> bool:
    """Returns whether the file existed."""
    path = directory / FILE
    existed = path.exists()
    path.unlink(missing_ok=True)
    return existed
