"""From windows to an estimate: model, smoothing, revision by late text, finality. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from edge_mer.contract.domain import EMOTIONS, MODALITIES, Combination, Modality, combination_of
from edge_mer.contract.messages import Estimate, Latency, Presence
from edge_mer.fusion.abstention import abstention, is_doubtful, without_estimate
from edge_mer.fusion.affect import dimensions, without
from edge_mer.fusion.confidence import prediction_set
from edge_mer.fusion.model import FusionModel, Prediction
from edge_mer.fusion.presence import NOTHING, needed
from edge_mer.fusion.settings import FusionSettings
from edge_mer.fusion.window import ModalityTrack, TokenWindow, same, select

NO_LATENCY = Latency(0, 0, 0, 0, 0, 0)
LIMIT: Final = 3.0
# Why words are not used that are beside a voice or face.
UNFAMILIAR_WORDS: Final = "unlike the words it was tested on"


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """When the newest token of a window happened, and when its messages were created; for the latency figures."""

    event_us: int
    raw_created_us: int
    created_us: int


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """One estimate to publish; the node fills its delivery fields."""

    origin_us: int
    estimate: Estimate
    evidence: Evidence | None


@dataclass(frozen=True, slots=True)
class Smoothed:
    """A smoothed prediction; only estimates of the same combination continue from it."""

    combination: Combination
    prediction: Prediction


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """One tick's estimate until its horizon passes, with all data that a revision needs.

    ``previous`` is the prediction it was smoothed with: None after a cut. ``revisable``: the modalities that late
    segments may still change, each with its cut (us) as in ``ModalityTrack``. ``person``, ``focus``: as in Estimate.
    """

    tick_us: int
    windows: Mapping[Modality, TokenWindow]
    presence: Mapping[Modality, Presence]
    revisable: Mapping[Modality, int]
    mask_epoch: int
    previous: Smoothed | None
    prediction: Prediction | None = None
    smoothed: Smoothed | None = None
    revision: int = 0
    estimate: Estimate | None = None
    person: str | None = None
    focus: bool | None = None

    @property
    def combination(self) -> Combination:
        return combination_of(set(self.windows))

    def output(self, final: bool) -> Output:
        assert self.estimate is not None
        newest = max(self.windows.values(), key=lambda w: w.newest_us, default=None)
        evidence = None
        if newest is not None and newest.evidence is not None:
            piece = newest.evidence
            evidence = Evidence(newest.newest_us, piece.raw_created_us, piece.created_us)
        return Output(self.tick_us, msgspec.structs.replace(self.estimate, final=final), evidence)


def estimate(pending: Pending, settings: FusionSettings, model: FusionModel) -> Pending:
    """Run the model on the pending windows and smooth with ``pending.previous``.

    Unfamiliar words count as absent beside a voice or face, whose label they must not withhold.
    """
    prediction = None
    if pending.combination != "none":
        prediction = model.predict(pending.combination, pending.windows)
        if "text" in prediction.unfamiliar and len(pending.windows) > 1:
            windows: dict[Modality, TokenWindow] = {m: w for m, w in pending.windows.items() if m != "text"}
            presence = {**pending.presence, "text": Presence("absent", UNFAMILIAR_WORDS, 0)}
            pending = replace(pending, windows=windows, presence=presence)
            prediction = model.predict(pending.combination, windows)
    return _smooth(replace(pending, prediction=prediction), settings, model)


def revised(
    pending: tuple[Pending, ...], modality: Modality, track: ModalityTrack, settings: FusionSettings, model: FusionModel
) -> tuple[tuple[Pending, ...], list[Output]]:
    """Update the estimates that may still change with late segments; smoothing propagates changes to later ones."""
    done: list[Pending] = []
    outputs: list[Output] = []
    for entry in pending:
        window = _late_window(entry, modality, track, settings, model)
        chained = replace(entry, previous=done[-1].smoothed) if done and entry.previous else entry
        after = entry
        if not same(window, entry.windows.get(modality)):
            known: dict[Modality, TokenWindow | None] = {**entry.windows, modality: window}
            windows = {m: w for m in MODALITIES if (w := known.get(m)) is not None}
            presence = Presence("present", None, window.tokens) if window else _absent(entry, modality)
            after = replace(chained, windows=windows, presence={**entry.presence, modality: presence})
            after = estimate(after, settings, model)
        elif done and done[-1].revision > pending[len(done) - 1].revision:
            after = _smooth(chained, settings, model)
        if after.estimate != entry.estimate:
            number = entry.revision + 1
            assert after.estimate is not None
            after = replace(after, revision=number, estimate=msgspec.structs.replace(after.estimate, revision=number))
            outputs.append(after.output(final=False))
        done.append(after)
    return tuple(done), outputs


def finished(pending: tuple[Pending, ...], until_us: int) -> tuple[tuple[Pending, ...], list[Output]]:
    """Estimates whose horizon has passed become final. The newest is kept to smooth the next one."""
    final = [p.output(final=True) for p in pending if p.tick_us <= until_us and not _is_final(p)]
    kept = tuple(p if p.tick_us > until_us else _mark_final(p) for p in pending)
    return tuple(p for p in kept[:-1] if not _is_final(p)) + kept[-1:], final


def _is_final(pending: Pending) -> bool:
    return pending.estimate is not None and pending.estimate.final


def _mark_final(pending: Pending) -> Pending:
    assert pending.estimate is not None
    return replace(pending, estimate=msgspec.structs.replace(pending.estimate, final=True))


def _absent(entry: Pending, modality: Modality) -> Presence:
    was = entry.presence[modality]
    return Presence("absent", NOTHING[modality], 0) if was.state == "present" else was


def _late_window(
    entry: Pending, modality: Modality, track: ModalityTrack, settings: FusionSettings, model: FusionModel
) -> TokenWindow | None:
    """The text window of a tick, including segments that arrived late."""
    cut_us = entry.revisable.get(modality)
    if cut_us is None or _is_final(entry):
        return entry.windows.get(modality)
    window = select(
        track.pieces, entry.tick_us, settings.window_us, cut_us, model.capacity[modality], model.dims[modality]
    )
    is_recent = window.tokens > 0 and entry.tick_us - window.newest_us <= settings.max_age_us[modality]
    return window if is_recent else None


def _smooth(pending: Pending, settings: FusionSettings, model: FusionModel) -> Pending:
    """Exponential average of the output. It restarts when the combination changes."""
    now, was = pending.prediction, pending.previous
    if now is not None:
        if was is not None and was.combination == pending.combination:
            now = _mix(was.prediction, now, settings.smoothing)
        pending = replace(pending, smoothed=Smoothed(pending.combination, now))
    return replace(pending, estimate=_estimate(pending, now, settings, model))


def _mix(was: Prediction, now: Prediction, weight: float) -> Prediction:
    mixed = tuple(weight * a + (1 - weight) * b for a, b in zip(was.probabilities, now.probabilities, strict=True))
    sentiment = now.sentiment
    if sentiment is not None and was.sentiment is not None:
        sentiment = weight * was.sentiment + (1 - weight) * sentiment
    return replace(now, probabilities=mixed, sentiment=sentiment)


def _estimate(pending: Pending, result: Prediction | None, settings: FusionSettings, model: FusionModel) -> Estimate:
    fields = _fields_without(pending, settings) if result is None else _fields_of(pending, result, settings, model)
    return Estimate(
        combination=pending.combination,
        presence=dict(pending.presence),
        revision=pending.revision,
        final=False,
        biometric=any(w.biometric for w in pending.windows.values()),
        mask_epoch=pending.mask_epoch,
        model=model.name,
        runtime="",
        latency_ms=NO_LATENCY,
        person=pending.person,
        focus=pending.focus,
        **fields,
    )


def _fields_without(pending: Pending, settings: FusionSettings) -> dict[str, Any]:
    why = without_estimate(pending.presence)
    return {
        "probabilities": None,
        "label": None,
        "abstain": why,
        "confidence": None,
        "calibrated": False,
        "sentiment": None,
        "sentiment_reason": why,
        **without(settings.affect, why),
    }


def _fields_of(pending: Pending, result: Prediction, settings: FusionSettings, model: FusionModel) -> dict[str, Any]:
    """The result fields: no prediction set and no interval where no measured fit supports them."""
    confidence, fit = max(result.probabilities), result.fit if result.calibrated else None
    labels = prediction_set(result.probabilities, fit.set_limit) if fit and fit.set_limit is not None else None
    scarce = [m for m, w in pending.windows.items() if w.tokens < needed(m, model.capacity[m], settings)]
    why = abstention(pending.presence, scarce, result.unfamiliar, confidence, len(labels or ()), result.fit)
    unreadable = None if is_doubtful(why) else why
    affect = dimensions(settings.affect, pending.windows, result.probabilities, result.sentiment, unreadable)
    interval = None
    if result.sentiment is not None and fit is not None and fit.sentiment_radius is not None:
        low, high = (result.sentiment + side * fit.sentiment_radius for side in (-1, 1))
        interval = (max(-LIMIT, low), min(LIMIT, high))
    return {
        "probabilities": dict(zip(EMOTIONS, result.probabilities, strict=True)),
        "label": EMOTIONS[result.probabilities.index(confidence)] if why is None else None,
        "abstain": why,
        "confidence": confidence,
        "calibrated": result.calibrated,
        "sentiment": result.sentiment,
        "sentiment_reason": result.sentiment_reason,
        "prediction_set": labels,
        "sentiment_interval": interval,
        "coverage": fit.coverage if fit and (labels or interval) else None,
        **affect,
    }
