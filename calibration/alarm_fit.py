"""Fits the evidence of events, and finds by the real fold how often they are wrong and how many bursts they find."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration.alarm_streams import HOP_S, SETTINGS, Floats, Track, estimates
from edge_mer.contract.domain import EMOTIONS, Combination, EventLabel
from edge_mer.events.evidence import EMOTION_OF, EXTREMES, LEAST, Ratio
from edge_mer.events.fold import initial, step
from edge_mer.events.settings import EventSettings, Point, Rule

THRESHOLDS: Final = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0)
MINIMUM_US, GAP_US = 1_000_000, 2_000_000
# A person may be unlike all others: so many of a hundred are within the mean factor of 1.
WITHIN: Final = 0.95
RIDGE: Final = 0.01
# Negative windows of one fit.
MOST_QUIET: Final = 20_000
# Where in a burst its estimates are taken as positive, and how long after its beginning an event still counts: s.
FULL_S, LATE_S = (1.5, 3.5), 5.0
DRAWS: Final = 1000
# Sources whose label is not wrong.
LAUGHTER: Final[Mapping[str, EventLabel]] = {"laughing faces": "happy"}


@dataclass(frozen=True, slots=True, eq=False)
class BurstTrack:
    """Estimates around one burst, which begins at ``onset_s`` of the track."""

    track: Track
    label: str
    onset_s: float
    ratio_db: int
    corpus: str
    person: str


def scores(label: EventLabel, track: Track) -> Floats:
    """``edge_mer.events.evidence.score_of`` for every hop, NaN without one."""
    if label in EXTREMES:
        return np.asarray(EXTREMES[label] * track.sentiment, np.float64)
    shares = np.clip(track.shares[:, EMOTIONS.index(EMOTION_OF[label])], LEAST, 1 - LEAST)
    return np.asarray(np.log(shares / (1 - shares)), np.float64)


def fit(label: EventLabel, track: Track, bursts: Sequence[BurstTrack]) -> Ratio | None:
    """The ratio of one label on negatives and bursts; None where there is too little of either."""
    quiet = scores(label, track)
    names = np.char.add(track.people, np.char.add(" / ", track.sources))
    people = np.unique(names, return_inverse=True)[1][track.piece]
    usable = ~np.isnan(quiet) & ~express(label, track)
    quiet, people, places = quiet[usable], people[usable], track.piece[usable]
    loud, clips = list[float](), 0
    for burst in bursts:
        if burst.label == label and burst.ratio_db >= 10:
            at = (np.arange(len(burst.track.shares)) + 1) * HOP_S - burst.onset_s
            some = scores(label, burst.track)[(at >= FULL_S[0]) & (at <= FULL_S[1])]
            some = some[~np.isnan(some)]
            loud += some.tolist()
            clips += bool(len(some))
    known = len(np.unique(people))
    if clips < 8 or known < 8:
        return None
    intercept, slope = logistic(quiet[:: 1 + len(quiet) // MOST_QUIET], np.array(loud))
    raw = Ratio(intercept, slope, -math.log(clips), math.log(min(len(np.unique(places)), known * 8)))
    nats = np.clip(raw.intercept + raw.slope * quiet, raw.floor, raw.cap)
    nats = np.where(track.novel[usable], np.minimum(nats, 0), nats)
    _, index = np.unique(people, return_inverse=True)
    mean = np.bincount(index, np.exp(nats)) / np.bincount(index)
    shift = max(0.0, math.log(float(np.quantile(mean, WITHIN))))
    return Ratio(round(raw.intercept - shift, 4), round(slope, 4), round(raw.floor, 4), round(raw.cap - shift, 4))


def logistic(quiet: Floats, loud: Floats) -> tuple[float, float]:
    """Intercept and slope >= 0 of the log-likelihood ratio: both classes weigh the same (Brümmer and du Preez 2006)."""
    x = np.concatenate([quiet, loud])
    y = np.concatenate([np.zeros(len(quiet)), np.ones(len(loud))])
    weight = np.concatenate([np.full(len(quiet), 0.5 / len(quiet)), np.full(len(loud), 0.5 / len(loud))])
    design, beta = np.column_stack([np.ones(len(x)), x]), np.zeros(2)
    for _ in range(20):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        slope = design.T @ (weight * (p - y)) + RIDGE * np.array([0, beta[1]]) * 0.01
        curve = (design * (weight * p * (1 - p))[:, None]).T @ design + 1e-6 * np.eye(2)
        beta = beta - np.linalg.solve(curve, slope)
    return float(beta[0]), max(0.0, float(beta[1]))


def express(label: EventLabel, track: Track) -> NDArray[np.bool_]:
    """Hops where an event of ``label`` would be right."""
    return np.asarray((np.char.find(track.labels, label) >= 0)[track.piece], np.bool_)


@dataclass(frozen=True, slots=True)
class Begun:
    """An event that began at hop ``hop``."""

    label: EventLabel
    hop: int


def settings_at(threshold: float, combination: Combination, ratios: Mapping[EventLabel, Ratio]) -> EventSettings:
    """Every label at one threshold."""
    rule = Rule(threshold, 1.0, 1.0)
    return EventSettings(
        hop_us=SETTINGS.hop_us,
        weight=SETTINGS.hop_us / SETTINGS.window_us,
        minimum_us=MINIMUM_US,
        gap_us=GAP_US,
        ratios={label: {combination: r} for label, r in ratios.items()},
        rules={label: {combination: rule} for label in ratios},
    )


def added(label: EventLabel, ratio: Ratio, track: Track) -> Floats:
    """What the fold adds at every hop (nats), 0 without an estimate."""
    values = scores(label, track)
    nats = np.clip(ratio.intercept + ratio.slope * np.nan_to_num(values), ratio.floor, ratio.cap)
    nats = np.where(track.novel, np.minimum(nats, 0), nats)
    nats[np.isnan(values)] = 0
    return np.asarray(nats * SETTINGS.hop_us / SETTINGS.window_us, np.float64)


def begun(settings: EventSettings, track: Track) -> Iterator[Begun]:
    """The events of a track by the real fold, label by label.

    It is run only where the sum of ``added``, which never is below what the fold holds, reaches the threshold: from
    where this sum last was zero until the fold holds nothing and the sum is zero again.
    """
    for label, ratios in settings.ratios.items():
        alone = msgspec.structs.replace(settings, ratios={label: ratios})
        threshold = settings.rules[label][track.combination].threshold
        total = np.cumsum(added(label, ratios[track.combination], track))
        held = total - np.minimum(np.minimum.accumulate(total), 0)
        zero, high = np.flatnonzero(held == 0), np.flatnonzero(held >= threshold - 1e-6)
        hop = 0
        while (place := np.searchsorted(high, hop)) < len(high):
            before = np.searchsorted(zero, high[place]) - 1
            hop = max(hop, int(zero[before]) + 1 if before >= 0 else 0)
            for found in _folded(alone, track, hop, held):
                if isinstance(found, int):
                    hop = found
                else:
                    yield found


def _folded(settings: EventSettings, track: Track, hop: int, held: Floats) -> Iterator[Begun | int]:
    """Events from ``hop`` on, and at last the hop from which on nothing is held."""
    state = initial(settings)
    while hop < len(held):
        for estimate in estimates(track, slice(hop, hop + 16)):
            state, changes = step(settings, state, (hop + 1) * SETTINGS.hop_us, estimate)
            yield from (Begun(c.label, hop) for c in changes if c.phase == "begin")
            hop += 1
            if not state.evidence and held[hop - 1] == 0:
                yield hop
                return
    yield hop


@dataclass(frozen=True, slots=True)
class Wrong:
    """Wrong events per hour of a label, with its 95 % interval when whole people are drawn anew."""

    per_hour: float
    low: float
    high: float
    events: int
    hours: float
    people: int


def wrong(label: EventLabel, track: Track, events: Sequence[Begun], only: str | None = None) -> Wrong:
    """Of the sources that contain ``only``. Without events the upper limit is that of three events in all hours."""
    rows = ~express(label, track)
    if only is not None:
        rows &= (track.sources == only)[track.piece]
    names, of_piece = np.unique(track.people, return_inverse=True)
    index = of_piece[track.piece]
    hours = np.bincount(index, rows, len(names)) * HOP_S / 3600
    count = np.zeros(len(names))
    for event in events:
        if event.label == label and rows[event.hop]:
            count[index[event.hop]] += 1
    kept = hours > 0
    hours, count = hours[kept], count[kept]
    total = float(hours.sum())
    if not total:
        return Wrong(0.0, 0.0, math.inf, 0, 0.0, 0)
    drawn = np.random.default_rng(0).integers(len(hours), size=(DRAWS, len(hours)))
    rates = count[drawn].sum(1) / hours[drawn].sum(1)
    low, high = np.quantile(rates, [0.025, 0.975])
    return Wrong(
        float(count.sum()) / total, float(low), max(float(high), 3 / total), int(count.sum()), total, len(hours)
    )


@dataclass(frozen=True, slots=True)
class Found:
    """Of ``bursts`` of a label: the share found, and the median delay of these, s."""

    recall: float
    delay_s: float
    bursts: int


def found(
    settings: EventSettings, bursts: Sequence[BurstTrack], label: EventLabel, ratio_db: int = 10, corpus: str = ""
) -> Found | None:
    """None without bursts. An event of the label counts from the burst's beginning to 2 s after its end."""
    delays, n = list[float](), 0
    for burst in bursts:
        if burst.label != label or burst.ratio_db != ratio_db or not burst.corpus.startswith(corpus):
            continue
        n += 1
        times = [(b.hop + 1) * HOP_S - burst.onset_s for b in begun(settings, burst.track) if b.label == label]
        if hits := [t for t in times if 0 <= t <= LATE_S]:
            delays.append(hits[0])
    return Found(len(delays) / n, float(np.median(delays)) if delays else math.nan, n) if n else None


def curve(
    combination: Combination, ratios: Mapping[EventLabel, Ratio], track: Track, bursts: Sequence[BurstTrack]
) -> dict[EventLabel, tuple[Point, ...]]:
    """Points of every label, by growing threshold."""
    points: dict[EventLabel, list[Point]] = {label: [] for label in ratios}
    for threshold in THRESHOLDS:
        settings = settings_at(threshold, combination, ratios)
        events = list(begun(settings, track))
        for label in ratios:
            rate, hit = wrong(label, track, events), found(settings, bursts, label)
            points[label].append(
                Point(threshold, round(rate.per_hour, 5), round(rate.high, 5), round(hit.recall, 3) if hit else None)
            )
    return {label: tuple(some) for label, some in points.items()}
