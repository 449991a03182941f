"""What Home Assistant is shown, how soon, and how many rows it writes for it."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.config import MqttConfig
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import EMOTIONS
from edge_mer.contract.messages import Estimate, People
from edge_mer.contract.people import PersonInView
from edge_mer.gateway.mqtt.debounce import DebounceSettings
from edge_mer.gateway.mqtt.discovery import Names, entities, estimate_state
from edge_mer.gateway.mqtt.shown import (
    CHANGES,
    KNOWN,
    PEOPLE_US,
    SPEAKING_US,
    TOO_OFTEN,
    WHY_US,
    InView,
    Shown,
    forgotten,
    of_person,
    passed,
    seen,
    step,
)
from tests.gateway.estimates import NONE_PRESENT, estimate

HOP_US = SECOND // 2
DAY = 24 * 3600 * 2
DEFAULT = MqttConfig()
SETTINGS = DebounceSettings(round(DEFAULT.steady_s * SECOND), DEFAULT.min_confidence, round(DEFAULT.forget_s * SECOND))
FIELDS = ("emotion", "sentiment", "why", "people", "speaking")
BOX = (0.1, 0.1, 0.2, 0.2)


def company(count: int, speaks: bool = False, **first: Any) -> People:
    """So many people in view, the first of whom is in focus."""
    people = [
        PersonInView(f"p{n}", 0, BOX, "speaking" if speaks and n == 1 else "silent", "v", n == 1)
        for n in range(1, count + 1)
    ]
    if first:
        people[0] = msgspec.structs.replace(people[0], **first)
    return People(people=tuple(people), voice="p1" if speaks else None, biometric=True, mask_epoch=1)


def folded(estimates: Iterable[Estimate]) -> Iterable[Shown]:
    """One estimate every half second."""
    state = Shown()
    for n, each in enumerate(estimates, 1):
        state = seen(of_person(state, each), company(n % 7, n % 3 == 0), n * HOP_US)
        state = step(state, each, n * HOP_US, SETTINGS)
        yield state


def rows(states: Iterable[Shown]) -> Counter[str]:
    """What the recorder writes: a row per change of state of each entity that is on by default."""
    found, before = Counter[str](), dict.fromkeys(FIELDS, "unknown")
    for shown in states:
        now = {
            "emotion": str(shown.emotion),
            "sentiment": str(shown.sentiment),
            "why": shown.why,
            "people": json.dumps([shown.people.count, shown.people.persons]),  # attributes are a row too
            "speaking": str(shown.speaking),
        }
        found.update(name for name in FIELDS if now[name] != before[name])
        before = now
    return found


def test_the_counted_fields_are_those_of_all_entities_that_follow_estimates_and_are_on_by_default() -> None:
    names = Names("0", "homeassistant")
    followed = {e.key for e in entities(names) if e.enabled and e.fields.get("state_topic") == names.estimate}
    assert followed == set(FIELDS) <= set(estimate_state(Shown()))


def test_people_in_view_are_counted_and_the_first_four_described() -> None:
    state = of_person(Shown(), msgspec.structs.replace(estimate(label="happy"), person="p2"))
    state = seen(state, company(6, speaks=True, masked=True), 0)
    assert (state.people.count, state.speaking) == (6, True)
    assert list(state.people.persons) == ["p1", "p2", "p3", "p4"]
    assert state.people.persons["p1"] == {"masked": True}
    assert state.people.persons["p2"] == {"expressed": "happy", "speaking": "silent", "sensors": "v", "focus": False}
    assert len(json.dumps(state.people.persons)) < 1000


def test_who_is_in_view_changes_within_its_budget_and_is_then_the_newest() -> None:
    state = seen(Shown(), company(1), 0)
    state = seen(state, company(2, speaks=True), SPEAKING_US - 1)
    assert (state.people.count, state.speaking) == (1, False)
    state = seen(state, company(3, speaks=True), PEOPLE_US)
    assert (state.people.count, state.speaking) == (3, True)


def test_a_mask_leaves_nobody_in_view() -> None:
    state = forgotten(seen(of_person(Shown(), estimate(label="happy")), company(2, speaks=True), 0))
    assert (state.people, state.speaking, state.labels) == (InView(), None, {})


def test_a_day_of_flapping_writes_at_most_5000_rows() -> None:
    """Every emotion lasts exactly as long as it takes to be shown; sentiment and reasons change each time."""
    each = [estimate(label=e, sentiment=s) for e, s in (("happy", 3.0), ("sad", -3.0))]
    reasons = [estimate(label=None, abstain=f"reason {n}", confidence=None, sentiment=None) for n in range(2)]
    hold = round(DEFAULT.steady_s * 2) + 1
    steady_flapping = (each[n // hold % 2] for n in range(DAY))
    alternating_reasons = (reasons[n % 2] for n in range(DAY))
    both = (each[n // hold % 2] if n // (40 * hold) % 2 else reasons[n % 2] for n in range(DAY))
    for day in (steady_flapping, alternating_reasons, both):
        found = rows(folded(day))
        assert found.total() <= 5000, found


def test_a_day_of_random_estimates_writes_at_most_5000_rows() -> None:
    rng = random.Random(1)
    day: list[Estimate] = []
    while len(day) < DAY:
        kind = rng.choice([NONE_PRESENT, *(estimate(label=e, sentiment=rng.uniform(-3, 3)) for e in EMOTIONS)])
        day += [kind] * rng.choice([1, 2, 5, 6, 30])
    found = rows(folded(day))
    assert found["emotion"] > CHANGES, "the simulation reaches the limit"
    assert found.total() <= 5000, found


def test_an_emotion_is_shown_in_the_window_in_which_it_is_steady() -> None:
    states = list(folded([estimate(label="happy")] * 6))
    assert [s.emotion for s in states] == [None] * 4 + ["happy"] * 2
    assert [s.why == KNOWN for s in states] == [False] * 4 + [True] * 2


def test_beyond_the_budget_the_emotion_is_unknown_and_never_an_old_one() -> None:
    hold = round(DEFAULT.steady_s * 2) + 1
    labels = [("happy", "sad")[n // hold % 2] for n in range(DAY // 8)]
    states = list(folded(estimate(label=label) for label in (*labels, *["happy"] * 600)))
    assert all(s.emotion in (None, s.steady.shown) for s in states)
    assert any(s.why == TOO_OFTEN for s in states)
    assert states[-1].emotion == "happy"


def test_without_estimates_the_emotion_ends_and_says_why() -> None:
    *_, shown = folded([estimate(label="happy")] * 6)
    late = passed(shown, 3 * SECOND + SETTINGS.forget_us, SETTINGS)
    assert (late.emotion, late.why) == (None, "no estimate")


def test_sentiment_is_steady_and_in_tenths() -> None:
    rng = random.Random(2)
    states = folded(estimate(sentiment=1.0 + rng.uniform(-1, 1)) for _ in range(2000))
    shown = [s.sentiment for s in states][200:]
    assert all(s is not None and round(s, 1) == s and abs(s - 1) < 0.6 for s in shown)


def test_reasons_follow_abstention() -> None:
    *_, shown = folded([NONE_PRESENT] * (WHY_US // HOP_US + 2))
    assert shown.why == NONE_PRESENT.abstain


@given(st.integers(1, 50))
def test_a_mask_leaves_nothing_of_a_person_and_gives_no_new_budget(count: int) -> None:
    *_, shown = folded([estimate(label=("happy", "sad")[n // 5 % 2]) for n in range(count)])
    left = forgotten(shown)
    assert estimate_state(left) == estimate_state(Shown())
    assert (left.mean, left.steady) == (None, Shown().steady)
    assert left.left == shown.left
