"""Features on one scale, measured on train rows only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
# Standard deviations beyond which a feature is cut: unscaled openSMILE features have very long tails.
CUT: Final = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """``mean`` and ``std`` float32 [d]."""

    mean: Floats
    std: Floats

    @classmethod
    def of(cls, values: Floats, mask: Floats | None = None) -> Scale:
        """Of all valid vectors of ``values`` [..., d]; ``mask`` [...] (1 = valid)."""
        flat = values.reshape(-1, values.shape[-1]) if mask is None else values[mask > 0]
        std = flat.std(0, dtype=np.float64)
        return cls(flat.mean(0, dtype=np.float64).astype(np.float32), np.maximum(std, 1e-4).astype(np.float32))

    def __call__(self, values: Floats) -> Floats:
        """Zero mean and unit deviation over the train rows, cut at 5."""
        scaled: Floats = np.clip((values - self.mean) / self.std, -CUT, CUT, dtype=np.float32)
        return scaled
