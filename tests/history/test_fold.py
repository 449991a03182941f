"""Counting hours from public estimates: each window once, in its hour, under its label or its reason."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import COMBINATIONS, EMOTIONS, MODALITIES, modalities_of
from edge_mer.contract.messages import Estimate, Presence
from edge_mer.history.fold import HOUR_S, Counting, Hour, Tally, added, step
from tests.gateway.estimates import estimate, estimates

HOP_MS = 500
HOP_US = 500_000
OFFSET_US = 1_800_000_000 * SECOND


def counted(*bodies: Estimate, state: Counting | None = None, first_us: int = 0, boot: str = "b") -> Counting:
    found = state or Counting()
    for n, body in enumerate(bodies):
        found = step(found, body, boot, first_us + n * HOP_US, OFFSET_US, HOP_MS)
    return found


def first(**fields: Any) -> Estimate:
    return estimate(**{"revision": 0, "final": False, **fields})


def only(state: Counting) -> Hour:
    (hour,) = state.hours.values()
    return hour


def test_labels_and_reasons_are_counted_by_combination() -> None:
    unsure = {"label": None, "abstain": "low confidence"}
    hour = only(counted(first(), first(), first(**unsure), first(combination="v", label="sad")))
    assert hour.tallies == {"at": Tally({"happy": 1000}, {"low confidence": 500}), "v": Tally({"sad": 500}, {})}


def test_only_the_first_publication_of_a_window_counts() -> None:
    state = step(Counting(), first(), "b", 0, OFFSET_US, HOP_MS)
    for again in (first(revision=1), first(revision=1, final=True), first(final=True)):
        assert step(state, again, "b", 0, OFFSET_US, HOP_MS) == state
    assert only(state).tallies["at"].total_ms == HOP_MS


def test_final_estimates_count_where_nothing_was_published_before() -> None:
    """Without a horizon a window is published once, as final."""
    assert only(counted(first(final=True), first(final=True))).tallies["at"].total_ms == 2 * HOP_MS


def test_restarted_fusion_counts_on() -> None:
    state = counted(first(), first())
    assert only(counted(first(), state=state, boot="c")).tallies["at"].total_ms == 3 * HOP_MS


def test_window_counts_in_its_hour() -> None:
    last = HOUR_S * SECOND - HOP_US - OFFSET_US % (HOUR_S * SECOND)
    state = counted(first(), first(), first(), first_us=last)
    starts = sorted(state.hours)
    assert starts[1] - starts[0] == HOUR_S
    assert [state.hours[s].tallies["at"].total_ms for s in starts] == [500, 1000]


def test_masked_time_is_counted_without_anything_estimated() -> None:
    presence = {m: Presence("masked", "masked by anna", 0) for m in MODALITIES}
    none = first(combination="none", label=None, abstain="no modality present", presence=presence)
    hour = only(counted(none, none))
    assert hour.masked_ms == {m: 1000 for m in MODALITIES}  # noqa: C420
    assert hour.tallies == {"none": Tally({}, {"no modality present": 1000})}


@given(st.lists(estimates(), max_size=20), st.integers(0, 20))
def test_counting_in_two_parts_is_counting_at_once(bodies: list[Estimate], cut: int) -> None:
    whole = counted(*bodies)
    before = counted(*bodies[:cut])
    after = counted(*bodies[cut:], state=Counting({}, before.boot, before.newest_us), first_us=cut * HOP_US)
    assert added(before.hours, after.hours) == whole.hours
    assert sum(t.total_ms for h in whole.hours.values() for t in h.tallies.values()) == HOP_MS * sum(
        not b.revision for b in bodies
    )


@given(st.sampled_from(MODALITIES))
def test_without_a_modality_nothing_that_it_took_part_in_is_left(modality: str) -> None:
    hour = Hour({c: Tally({EMOTIONS[0]: 1}) for c in (*COMBINATIONS, "none")})
    left = hour.without([modality]).tallies
    assert set(left) == {c for c in (*COMBINATIONS, "none") if modality not in modalities_of(c)}
