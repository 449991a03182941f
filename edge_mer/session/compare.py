"""Compares a recorded result with a replayed one, field by field: to the byte, or within a tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

ABSENT = "(no such field)"


class Difference(Struct, frozen=True):
    """One field of one result as recorded and as replayed; ``field`` is a path: ``probabilities.sad``."""

    field: str
    recorded: Any
    replayed: Any


def differences(recorded: Any, replayed: Any, path: str = "") -> tuple[Difference, ...]:
    """Field by field; two numbers are equal only if their JSON is, as in the canonical bytes."""
    if isinstance(recorded, dict) and isinstance(replayed, dict):
        names = dict.fromkeys([*recorded, *replayed])
        pairs = [(f"{path}.{n}", recorded.get(n, ABSENT), replayed.get(n, ABSENT)) for n in names]
        return tuple(d for place, a, b in pairs for d in differences(a, b, place))
    if msgspec.json.encode(recorded) == msgspec.json.encode(replayed):
        return ()
    return (Difference(path.lstrip("."), recorded, replayed),)


def beyond(found: Sequence[Difference], tolerance: float) -> tuple[Difference, ...]:
    """The differences above the tolerance. A label may change while the probabilities stay close: a near tie."""
    return tuple(d for d in found if d.field not in ("label", "model") and size(d) > tolerance)


def size(difference: Difference) -> float:
    """How far apart two numbers are; infinite for anything else."""
    one, other = difference.recorded, difference.replayed
    if not (isinstance(one, (int, float)) and isinstance(other, (int, float))) or isinstance(one, bool):
        return float("inf")
    return float(abs(one - other))


def array_difference(name: str, recorded: NDArray[Any], replayed: NDArray[Any]) -> tuple[Difference, ...]:
    """The element that differs most, as in ``values[3, 17]``; another shape or type is reported as such."""
    if (recorded.dtype, recorded.shape) != (replayed.dtype, replayed.shape):
        kinds = [f"{a.dtype.name} {list(a.shape)}" for a in (recorded, replayed)]
        return (Difference(name, kinds[0], kinds[1]),)
    if recorded.tobytes() == replayed.tobytes():
        return ()
    apart = np.abs(recorded.astype(np.float64) - replayed.astype(np.float64))
    at = np.unravel_index(int(np.argmax(apart)), recorded.shape)
    place = f"{name}[{', '.join(map(str, at))}]"
    return (Difference(place, recorded[at].item(), replayed[at].item()),)
