"""Decides whether an estimate abstains, and why. Pure: the first rule that applies gives the reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from edge_mer.contract.domain import Modality
from edge_mer.contract.messages import Presence
from edge_mer.fusion.calibration import Fit
from edge_mer.fusion.presence import FEW, WARMING

NOTHING: Final = "no modality present"
UNBOUND: Final = "unbound"  # as the face encoder reports it
UNKNOWN_LANGUAGE: Final = "unknown language"  # as the text encoder reports it
NOVEL, LARGE, LOW = "out of distribution", "set too large", "low confidence"


def without_estimate(presence: Mapping[Modality, Presence]) -> str:
    """Why no estimate exists: several faces, words of a language that the encoder does not know, a sensor that just
    started, too few valid tokens, or no modality."""
    reasons = [p.reason for p in presence.values()]
    return next((r for r in (UNBOUND, UNKNOWN_LANGUAGE, WARMING, FEW) if r in reasons), NOTHING)


def abstention(
    presence: Mapping[Modality, Presence],
    scarce: Collection[Modality],
    unfamiliar: Collection[Modality],
    confidence: float,
    labels: int,
    fit: Fit | None,
) -> str | None:
    """Why the label of an estimate is withheld; None where it is given.

    ``scarce``: present modalities with fewer tokens than presence requires. ``unfamiliar``: modalities out of
    distribution. ``labels``: size of the conformal set. Without a ``fit`` no confidence threshold exists, so low
    confidence does not withhold the label.
    """
    if any(p.reason == UNBOUND for p in presence.values()):
        return UNBOUND  # the voice may belong to either face
    if scarce:
        return f"{FEW} ({', '.join(scarce)})"
    if unfamiliar:
        return f"{NOVEL} ({', '.join(unfamiliar)})"
    if fit is not None and labels > fit.largest_set:
        return f"{LARGE} ({labels} labels)"
    if fit is not None and confidence < fit.floor:
        return LOW
    return None


def is_doubtful(reason: str | None) -> bool:
    """Whether a label is withheld only because several are likely: the input itself can be read."""
    return reason is not None and reason.startswith((LARGE, LOW))
