"""The fast paths of the alarm measurement give what fusion and the fold of events give step by step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.alarm_fit import LATE_S, BurstTrack, begun, found, logistic, settings_at, wrong
from calibration.alarm_sounds import Piece, cut
from calibration.alarm_streams import HOP_S, SETTINGS, Fusions, Stream, Track, estimates, hours_of, stream_of
from calibration.simulate_output import window_of
from edge_mer.contract.domain import EMOTIONS, MODALITIES, Combination, Modality, modalities_of
from edge_mer.contract.messages import Estimate, Presence
from edge_mer.events.evidence import Ratio
from edge_mer.events.fold import initial, step
from edge_mer.fusion.estimate import Pending, estimate
from edge_mer.fusion.presence import needed
from pipelines.encoders.shipped import MODELS
from pipelines.fusion.windows import TokenTrack

RATES = {"audio": 2, "video": 5, "text": 3}
RATIO = Ratio(0.5, 1.0, -3.0, 3.0)


@pytest.fixture(scope="module")
def fusions() -> Fusions:
    return Fusions(MODELS)


def piece(fusions: Fusions, modality: Modality, seed: int, seconds: float = 5.0, person: str = "p") -> Piece:
    random, n = np.random.default_rng(seed), int(seconds * RATES[modality])
    values = random.standard_normal((n, fusions.model.dims[modality])).astype(np.float32)
    if modality == "video":
        values = np.exp(values) / np.exp(values).sum(1, keepdims=True)
    track = TokenTrack(values, (np.arange(n) + 1) / RATES[modality], random.random(n) > 0.2)
    return Piece("source", "dev", person, {modality: track}, seconds)


def by_steps(fusions: Fusions, combination: Combination, stream: Stream) -> list[Estimate]:
    """The same windows through ``edge_mer.fusion.estimate``, one after the other."""
    out, previous = list[Estimate](), None
    for end in np.arange(HOP_S, stream.seconds, HOP_S):
        windows = {}
        for m in modalities_of(combination):
            values, at = stream.tokens[m]
            size = fusions.model.capacity[m]
            windows[m] = window_of(TokenTrack(values, at, np.ones(len(at), np.bool_)), float(end), size)
        is_there = all(w.tokens >= needed(m, fusions.model.capacity[m], SETTINGS) for m, w in windows.items())
        presence: dict[Modality, Presence] = {
            m: Presence("present" if is_there and m in windows else "absent", None, 0) for m in MODALITIES
        }
        done = estimate(Pending(0, windows if is_there else {}, presence, {}, 0, previous), SETTINGS, fusions.model)
        previous = done.smoothed
        assert done.estimate is not None
        out.append(done.estimate)
    return out


@pytest.mark.parametrize("combination", ["a", "v", "av"])
def test_batched_windows_give_the_estimates_of_fusion(fusions: Fusions, combination: Combination) -> None:
    shown = [{m: piece(fusions, m, seed) for m in modalities_of(combination)} for seed in range(6)]
    stream = stream_of(shown)
    track = fusions.track(combination, stream)
    expected = by_steps(fusions, combination, stream)
    assert len(expected) == len(track.shares)
    assert {e.combination for e in expected} == {combination, "none"}
    for made, body in zip(estimates(track), expected, strict=True):
        assert made.combination == body.combination
        assert (made.abstain is None) == (body.abstain is None)
        if body.probabilities is not None and made.probabilities is not None:
            assert made.probabilities == pytest.approx(body.probabilities, abs=1e-4)


def track(n: int, seed: int, people: int = 4) -> Track:
    """Random estimates of ``people`` people."""
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.full(7, 0.3), n)
    shares[random.random(n) < 0.2] = np.nan
    names = np.array([f"p{i}" for i in range(people)])
    return Track(
        combination="a",
        shares=shares,
        sentiment=np.full(n, np.nan),
        novel=random.random(n) < 0.2,
        withheld=random.random(n) < 0.4,
        piece=np.sort(random.integers(people, size=n)),
        sources=np.array(["x", "y"] * people)[:people],
        people=names,
        labels=np.array([""] * people),
        visits=np.arange(people),
    )


@pytest.mark.parametrize("seed", range(3))
def test_leaving_out_hops_without_evidence_changes_no_event(seed: int) -> None:
    random = track(800, seed)
    settings = settings_at(0.4, "a", {"angry": RATIO, "sad": RATIO})
    state, expected = initial(settings), list[tuple[str, int]]()
    for hop, one in enumerate(estimates(random)):
        state, changes = step(settings, state, (hop + 1) * SETTINGS.hop_us, one)
        expected += [(c.label, hop) for c in changes if c.phase == "begin"]
    assert expected
    assert sorted((b.label, b.hop) for b in begun(settings, random)) == sorted(expected)


def test_rates_count_wrong_events_by_person_and_without_any_the_limit_is_three_in_all_hours() -> None:
    random = track(7200, 1)
    settings = settings_at(0.4, "a", {"angry": RATIO})
    events = list(begun(settings, random))
    rate = wrong("angry", random, events)
    assert rate.events == len(events) > 0
    assert rate.low <= rate.per_hour == len(events) <= rate.high
    none = wrong("angry", random, [])
    assert (none.per_hour, none.high) == (0.0, 3.0)


def test_an_event_of_a_person_who_expresses_the_label_is_not_wrong() -> None:
    random = track(2000, 2)
    happy = replace(random, labels=np.array(["happy"] * 4))
    settings = settings_at(0.4, "a", {"happy": RATIO})
    events = list(begun(settings, happy))
    assert events
    assert wrong("happy", happy, events).events == 0


def test_a_burst_is_found_from_its_beginning_on_only() -> None:
    shares = np.full((40, 7), 0.02)
    shares[:, EMOTIONS.index("neutral")] = 0.88
    shares[20:30] = 0.02
    shares[20:30, EMOTIONS.index("angry")] = 0.88
    quiet = replace(track(40, 0), shares=shares, novel=np.zeros(40, np.bool_), withheld=np.zeros(40, np.bool_))
    settings = settings_at(1.0, "a", {"angry": RATIO})
    assert found(settings, [BurstTrack(quiet, "angry", 10.0, 10, "x", "p")], "angry") is not None
    early = found(settings, [BurstTrack(quiet, "angry", 10.0, 10, "x", "p")], "angry")
    assert early is not None
    assert early.recall == 1.0
    assert 0 < early.delay_s <= LATE_S
    late = found(settings, [BurstTrack(quiet, "angry", 16.0, 10, "x", "p")], "angry")
    assert late is not None
    assert late.recall == 0.0


def test_the_ratio_of_two_normal_classes_is_that_of_their_densities() -> None:
    random = np.random.default_rng(0)
    intercept, slope = logistic(random.normal(-1, 1, 20_000), random.normal(1, 1, 500))
    assert (intercept, slope) == (pytest.approx(0.0, abs=0.15), pytest.approx(2.0, abs=0.15))


def test_hours_hold_every_person_again_and_again(fusions: Fusions) -> None:
    pieces = [piece(fusions, "audio", seed, person=f"p{seed % 3}") for seed in range(6)]
    stream = hours_of({"audio": pieces}, 0.5, np.random.default_rng(0))
    assert stream.seconds >= 1800
    assert set(stream.people.tolist()) == {"p0", "p1", "p2"}


def test_a_burst_is_cut_from_its_first_sound_to_three_seconds() -> None:
    samples = np.zeros(80_000, np.float32)
    samples[16_000:] = 0.1
    begins, sound = cut(samples)
    assert begins == pytest.approx(1.0, abs=0.03)
    assert len(sound) == 48_000
