"""Whose voice is heard, from the motion of mouths and the loudness of the voice."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.contract.clock import SECOND
from edge_mer.contract.people import OFF_SCREEN, MouthOpening, VoiceCurve
from edge_mer.fusion import speaking
from edge_mer.fusion.speaking import VoiceState

FRAME_US, STEP_US, HOP_US = SECOND // 15, 25_000, SECOND // 2
Loudness = Callable[[float], float]
"""Seconds -> share of full loudness."""


def syllables(seed: int) -> Loudness:
    """Words with pauses of a rhythm of their own."""
    random = np.random.default_rng(seed)
    edges = np.cumsum(random.uniform(0.15, 0.5, 80))
    return lambda second: float(np.searchsorted(edges, second) % 2)


def said(loudness: Loudness, until_us: int, begin_us: int = 0) -> VoiceCurve:
    steps = range(begin_us, until_us, STEP_US)
    return VoiceCurve(begin_us, STEP_US, tuple(round(-55 + 35 * loudness(at / SECOND)) for at in steps))


def moved(loudness: Loudness, until_us: int, seed: int = 0, rate: int = 1) -> tuple[MouthOpening, ...]:
    """A mouth that moves while it is loud, and a little always."""
    random = np.random.default_rng(seed)
    times = range(FRAME_US, until_us, rate * FRAME_US)
    return tuple(
        MouthOpening(at, 0.05 + 0.15 * loudness((at - 50_000) / SECOND) + 0.02 * random.random()) for at in times
    )


def still(until_us: int, seed: int = 9) -> tuple[MouthOpening, ...]:
    return moved(lambda second: 0.0, until_us, seed)


def decided(
    curve: VoiceCurve, mouths: Mapping[str, tuple[MouthOpening, ...]], ticks: int = speaking.AGREED_OFF_SCREEN
) -> VoiceState:
    """After some ticks of half a second, the last at the end of the curve."""
    state, end = speaking.heard(VoiceState(), curve), speaking.end_of(curve)
    for tick in range(end - (ticks - 1) * HOP_US, end + 1, HOP_US):
        known = {name: tuple(o for o in mouth if o.at_us <= tick) for name, mouth in mouths.items()}
        state = speaking.decide(state, known, tick)
    return state


END = 5 * SECOND


def test_a_voice_belongs_to_the_mouth_that_moves_with_it() -> None:
    voice = syllables(1)
    state = decided(said(voice, END), {"p1": still(END), "p2": moved(voice, END)})
    assert state.owner == "p2"
    assert (speaking.speaking(state, "p2"), speaking.speaking(state, "p1")) == ("speaking", "silent")


def test_two_spans_alone_are_not_certain() -> None:
    voice = syllables(1)
    state = decided(said(voice, END), {"p1": still(END), "p2": moved(voice, END)}, ticks=2)
    assert (state.candidate, state.owner) == ("p2", None)
    assert speaking.speaking(state, "p1") == "unknown"


def test_a_voice_over_still_mouths_is_off_screen() -> None:
    state = decided(said(syllables(1), END), {"p1": still(END, 3), "p2": still(END, 4)})
    assert state.owner == OFF_SCREEN
    assert speaking.speaking(state, "p1") == "silent"


def test_a_mouth_that_moves_to_other_words_gets_the_voice_in_at_most_one_of_twenty_scenes() -> None:
    owners = [
        decided(said(syllables(seed), END), {"p1": moved(syllables(100 + seed), END), "p2": still(END, seed)}).owner
        for seed in range(60)
    ]
    assert owners.count("p1") <= 3


def test_two_mouths_that_fit_alike_are_unknown() -> None:
    voice = syllables(1)
    state = decided(said(voice, END), {"p1": moved(voice, END, 1), "p2": moved(voice, END, 2)})
    assert (state.owner, state.is_heard) == (None, True)


def test_without_a_voice_everybody_is_silent() -> None:
    curve = VoiceCurve(0, STEP_US, (None,) * (END // STEP_US))
    state = decided(curve, {"p1": moved(syllables(1), END)})
    assert (state.owner, state.is_heard) == (None, False)
    assert speaking.speaking(state, "p1") == "silent"


def test_too_few_pictures_of_a_mouth_decide_nothing() -> None:
    voice = syllables(1)
    state = decided(said(voice, END), {"p1": moved(voice, END, rate=3)})
    assert (state.owner, state.is_heard) == (None, True)


def test_old_evidence_decides_nothing() -> None:
    voice = syllables(1)
    state = decided(said(voice, END), {"p1": moved(voice, END)})
    assert state.owner == "p1"
    assert speaking.decide(state, {"p1": moved(voice, END)}, END + 2 * SECOND).owner is None


def test_a_gap_forgets_the_voice_before_it() -> None:
    state = speaking.heard(VoiceState(), said(syllables(1), SECOND))
    assert len(speaking.heard(state, said(syllables(1), 2 * SECOND, SECOND)).curves) == 2
    assert len(speaking.heard(state, said(syllables(1), 3 * SECOND, 2 * SECOND)).curves) == 1


@pytest.mark.parametrize("delay_us", [0, 60_000, 120_000])
def test_sound_may_come_a_little_late(delay_us: int) -> None:
    voice = syllables(1)
    late = said(lambda second: voice(second - delay_us / SECOND), END)
    assert decided(late, {"p1": moved(voice, END), "p2": still(END)}).owner == "p1"


@given(
    levels=st.lists(st.none() | st.integers(-100, 0), max_size=200),
    openings=st.lists(st.floats(0, 10), max_size=80),
    tick=st.integers(0, 10 * SECOND),
)
def test_any_input_gives_a_decision_and_the_state_stays_small(
    levels: list[int | None], openings: list[float], tick: int
) -> None:
    state = speaking.heard(VoiceState(), VoiceCurve(0, STEP_US, tuple(levels)))
    mouth = tuple(MouthOpening(i * FRAME_US, opening) for i, opening in enumerate(openings))
    after = speaking.decide(state, {"p1": mouth, "p2": ()}, tick)
    assert after.owner in (None, "p1", OFF_SCREEN)
    assert speaking.decide(state, {"p1": mouth, "p2": ()}, tick) == after
    assert len(speaking.recent(mouth, mouth[-1:])) <= 4 * 15 + 1 if mouth else True
