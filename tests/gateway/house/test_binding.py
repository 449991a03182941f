"""One voice is one event, in the nearest room; two voices are two; a tie is unbound. The fold replays exactly."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mer.contract.errors import SessionError
from edge_mer.contract.house import VOICE_STEP_US, HeardVoice, RoomInput, Voice
from edge_mer.contract.messages import Envelope, InputRef, Message
from edge_mer.gateway.house.binding import GAP, LAG, WAIT, Binding, Levels, Purged
from edge_mer.gateway.house.journal import Journalled, refold
from tests.gateway.house.voices import heard, speech

CHUNK = 5
PAUSE = (None,) * (GAP + WAIT + 15)


def run(lag: int = LAG, fold: Binding | None = None, **rooms: tuple[int | None, ...]) -> list[HeardVoice]:
    """Levels of each room from step 0 on, given as rooms do, five at a time."""
    fold, found = fold or Binding(), []
    for step in range(0, max(map(len, rooms.values())), CHUNK):
        inputs = tuple(Levels(n, step, levels[step : step + CHUNK], lag) for n, levels in rooms.items())
        found += fold.step(step + CHUNK, inputs)
    return found


def utterances(seeds: range, gain_db: float, noise: int, late: int = 0) -> tuple[int | None, ...]:
    """One utterance for each seed, with pauses between them, as a room of this gain hears them."""
    parts: list[int | None] = [None] * late
    for seed in seeds:
        parts += heard(speech(seed, 8 + seed * 7 % 33), gain_db, seed + noise)
        parts += PAUSE
    return tuple(parts)


def test_200_utterances_at_0_and_minus_20_db_are_200_events_in_the_near_room() -> None:
    found = run(near=utterances(range(200), 0, 1000), far=utterances(range(200), -20, 2000, late=1))
    assert [v.room for v in found] == ["near"] * 200


def test_ten_rooms_hear_one_voice_and_it_is_one_event() -> None:
    rooms = {f"r{n}": utterances(range(20), -5.0 * n, 1000 * n) for n in range(10)}
    assert [v.room for v in run(**rooms)] == ["r0"] * 20


def test_voice_as_loud_in_two_rooms_is_unbound() -> None:
    found = run(a=utterances(range(20), -3, 1000), b=utterances(range(20), -3, 2000))
    assert [v.room for v in found] == [None] * 20
    assert found[0].unbound == "heard equally loud in a, b" or found[0].unbound == "heard equally loud in b, a"


def test_two_people_who_speak_at_once_in_two_rooms_are_two_events() -> None:
    longer = {n: tuple(heard(speech(seed, 60), 0, seed)) + PAUSE for n, seed in (("a", 7), ("b", 8))}
    assert {v.room for v in run(**longer)} == {"a", "b"}


def test_room_whose_messages_come_late_makes_no_second_event() -> None:
    near, far = utterances(range(1), 0, 1), utterances(range(1), -20, 2)
    fold, end = Binding(), len(near)
    first = run(fold=fold, near=near)
    later = [v for s in range(0, end, CHUNK) for v in fold.step(end, (Levels("far", s, far[s : s + CHUNK], LAG),))]
    later += fold.step(end + WAIT + 1, ())
    assert [v.room for v in first] == ["near"]
    assert not later


def test_speech_without_a_pause_is_cut_and_no_part_is_twice() -> None:
    levels = speech(3, 600)
    found = run(near=heard(levels, 0, 1) + PAUSE, far=heard(levels, -15, 2) + PAUSE)
    assert {v.room for v in found} == {"near"}
    assert all(a.end_us <= b.start_us for a, b in itertools.pairwise(found))
    assert 3 <= len(found) <= 8


def test_masked_room_is_forgotten() -> None:
    fold = Binding()
    near, far = utterances(range(1), 0, 1), utterances(range(1), -20, 2)
    fold.step(40, (Levels("near", 0, near[:40], LAG), Levels("far", 0, far[:40], LAG)))
    fold.step(41, (Purged("near"),))
    found = [v for now in range(42, 42 + 2 * WAIT) for v in fold.step(now, ())]
    assert all("near" not in v.levels for v in found)


def test_events_ask_which_room_a_voice_belongs_to() -> None:
    fold = Binding()
    run(fold=fold, near=utterances(range(1), 0, 1), far=utterances(range(1), -20, 2))
    assert fold.nearest("far", 0, 5 * VOICE_STEP_US) == "near"
    assert fold.nearest("near", 0, 5 * VOICE_STEP_US) == "near"
    assert fold.nearest("attic", 0, 5 * VOICE_STEP_US) == "attic"


Chunk = st.lists(st.one_of(st.none(), st.integers(-100, 0)), max_size=20)
ANY = st.lists(st.tuples(st.sampled_from("abc"), st.integers(-50, 400), Chunk, st.integers(0, 9)), max_size=60)


@settings(max_examples=60, deadline=None)
@given(ANY)
def test_no_input_raises_and_no_utterance_of_a_room_is_in_two_events(
    messages: list[tuple[str, int, list[int | None], int]],
) -> None:
    fold, found = Binding(), list[HeardVoice]()
    for now, (room, step, levels, lag) in enumerate(messages):
        found += fold.step(now * 5, (Levels(room, step, tuple(levels), lag),))
    for now in range(len(messages) * 5, len(messages) * 5 + 500, 5):
        found += fold.step(now, ())
    spans = [(v.start_us, v.end_us, room) for v in found for room in v.levels]
    assert len(spans) == len(set(spans))
    assert all(v.levels for v in found)


def messages(room: str, levels: tuple[int | None, ...], begin_us: int) -> list[Message[Voice]]:
    found = []
    for seq, step in enumerate(range(0, len(levels), CHUNK)):
        at = begin_us + step * VOICE_STEP_US
        envelope = Envelope(schema="edge_mer.voice/1", source="voice", boot=room, seq=seq, origin_us=at, created_us=at)
        body = Voice(levels=levels[step : step + CHUNK], mask_epoch=1)
        found.append(Message("voice", envelope, body, (), b""))
    return found


def test_journal_and_the_rooms_sessions_give_the_same_utterances_again() -> None:
    # The monotonic clocks of the rooms began hours apart; the house knows their offsets.
    begins = {"near": 7_000_000_000, "far": 123_456_789}
    sessions = {
        "near": messages("near", utterances(range(5), 0, 1), begins["near"]),
        "far": messages("far", utterances(range(5), -20, 2), begins["far"]),
    }
    live, entries, found = Journalled(), [], []
    for now, (near, far) in enumerate(zip(sessions["near"], sessions["far"], strict=True)):
        for room, message in (("far", far), ("near", near)):
            live.take(RoomInput(room, message.ref, 50_000_000 - begins[room] + 13_000, 40_000), message)
        voices, entry = live.tick(50_000_000 + (now + 1) * CHUNK * VOICE_STEP_US)
        found += voices
        entries.append(entry)
    assert [v.room for v in found] == ["near"] * 5

    def lookup(room: str, ref: InputRef) -> Message[Voice] | None:
        return next((m for m in sessions[room] if m.ref == ref), None)

    assert refold(entries, lookup) == found
    swapped = [*entries[:3], entries[4], entries[3], *entries[5:]]
    with pytest.raises(SessionError, match="entry 3"):
        refold(swapped, lookup)
    quieter = msgspec.structs.replace(sessions["near"][2].body, levels=(-60,) * CHUNK)
    sessions["near"][2] = msgspec.structs.replace(sessions["near"][2], body=quieter)
    with pytest.raises(SessionError, match="differ"):
        refold(entries, lookup)
    del sessions["near"][2]
    with pytest.raises(SessionError, match="is missing"):
        refold(entries, lookup)
