"""The calibration file beside the fusion graphs: the fits of each combination, protected by a hash.

It belongs to one set of weights: graphs with other weights refuse it, so a fit is not used after a new training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from edge_mer.contract.domain import COMBINATIONS, EMOTIONS, Combination, Modality
from edge_mer.contract.errors import ModelError
from edge_mer.contract.messages import digest
from edge_mer.fusion.confidence import Scaling
from edge_mer.fusion.novelty import Novelty
from edge_mer.runtime.backend import Graph, origin

FILE: Final = "fusion.confidence.json"
FIX: Final = "run: python -m calibration.confidence"


class Fit(Struct, frozen=True):
    """One combination. ``measured``: on windows recorded jointly; else ``scaling`` only lowers confidence.

    ``set_limit``: of edge_mer.fusion.confidence.prediction_set, for ``coverage``. ``sentiment_radius``: the truth is
    within this distance of the estimate with the same coverage; None without annotated scores. ``samples`` in
    ``groups``.
    No label is given below the confidence ``floor``, nor for a set of more than ``largest_set`` labels.
    """

    scaling: Scaling
    measured: bool
    samples: int
    groups: int
    coverage: float
    set_limit: float | None
    sentiment_radius: float | None
    floor: float = 0.0
    largest_set: int = len(EMOTIONS)


class Calibration(Struct, frozen=True):
    """``weights``: which graphs these fits belong to, as ``weights_of`` names them.

    ``novelty``: distribution of the windows of each modality at the fit. ``neutral``: the mean token of neutral
    people, as edge_mer.fusion.baseline describes tokens.
    """

    weights: str
    fits: dict[Combination, Fit]
    novelty: dict[Modality, Novelty] = {}
    neutral: dict[Modality, tuple[float, ...]] = {}


class _Sealed(Struct, frozen=True):
    sha256: str
    calibration: msgspec.Raw


def weights_of(graphs: Mapping[Combination, Graph]) -> str:
    """Digest of the FP32 files of all graphs: the same for every precision of the weights."""
    return digest("|".join(origin(graphs[c]) for c in COMBINATIONS).encode())


def write(directory: Path, calibration: Calibration) -> Path:
    """Write atomically."""
    body = msgspec.json.encode(calibration, order="sorted")
    sealed = _Sealed(hashlib.sha256(body).hexdigest(), msgspec.Raw(body))
    path = directory / FILE
    partial = path.with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(sealed) + b"\n")
    partial.replace(path)
    return path


def read(directory: Path, weights: str) -> Calibration | None:
    """The calibration of ``weights``, None where there is no file: raw confidence is then published as uncalibrated.

    Raises ModelError for a file that is damaged, was changed, belongs to other weights, or has the fit of another
    combination.
    """
    path = directory / FILE
    if not path.exists():
        return None
    try:
        sealed = msgspec.json.decode(path.read_bytes(), type=_Sealed)
        body = bytes(sealed.calibration)
        if (found := hashlib.sha256(body).hexdigest()) != sealed.sha256:
            raise ModelError(
                f"{path}: was changed after the fit (sha256 {found[:16]}, expected {sealed.sha256[:16]}); "
                f"restore the file, or {FIX}"
            )
        calibration = msgspec.json.decode(body, type=Calibration)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"{path}: not a usable calibration ({error}); {FIX}") from error
    if calibration.weights != weights:
        raise ModelError(
            f"{path}: fitted for the weights {calibration.weights[:16]}, the fusion graphs have "
            f"{weights[:16]}; {FIX}, or remove the file to publish uncalibrated confidence"
        )
    for combination, fit in calibration.fits.items():
        if fit.scaling.combination != combination:
            raise ModelError(f"{path}: gives {combination!r} the calibration of {fit.scaling.combination!r}; {FIX}")
    for modality, novelty in calibration.novelty.items():
        if novelty.modality != modality:
            raise ModelError(f"{path}: gives {modality} the novelty of {novelty.modality}; {FIX}")
    return calibration
