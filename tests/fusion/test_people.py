"""Several people in view: each has an estimate of their own, and nobody's content reaches anybody else's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Modality
from edge_mer.contract.messages import Estimate, EventChange, Feature, Message, People
from edge_mer.contract.people import OFF_SCREEN, MouthOpening, SeenPerson, VoiceCurve
from edge_mer.events.settings import EventSettings
from edge_mer.fusion.estimate import Output
from edge_mer.fusion.fold import Arrived, Fusion, ModalityPurged, Tick
from edge_mer.fusion.people import Company
from tests.fusion.scene import SETTINGS, START, HashModel, Scene, message, result, sensor, tokens
from tests.fusion.test_events import RULES, STEADY
from tests.fusion.test_speaking import FRAME_US, STEP_US, Loudness, syllables

HALF_US = SECOND // 2
STEADILY_SAD = EventSettings(HALF_US, 0.5, HALF_US, SECOND, ratios={"sad": STEADY}, rules={"sad": RULES})
BOX = (0.1, 0.1, 0.2, 0.2)
LARGER = (0.5, 0.1, 0.3, 0.3)


def silence(second: float) -> float:
    return 0.0


@dataclass
class Face:
    """Somebody in view: ``seed`` of the expression, ``mouth`` by whose loudness it moves."""

    person: str
    seed: int = 0
    mouth: Loudness = silence
    box: tuple[float, float, float, float] = BOX
    context: int = 1
    masked: bool = False
    values: float | None = None

    def row(self, begin_us: int, end_us: int, token: int) -> SeenPerson:
        if self.masked:
            return SeenPerson(self.person, self.context, None, self.box, masked=True)
        random = np.random.default_rng(self.seed)
        times = range(begin_us - begin_us % FRAME_US + FRAME_US, end_us + 1, FRAME_US)
        moved = tuple(
            MouthOpening(at, 0.05 + 0.15 * self.mouth((at - START - 50_000) / SECOND) + 0.02 * random.random())
            for at in times
        )
        return SeenPerson(self.person, self.context, token, self.box, mouth=moved)


def pictures(faces: Sequence[Face], end_us: int, epoch: int = 0) -> Message[Feature]:
    """One feature of the camera, of the fifth of a second before ``end_us``."""
    shown = [f for f in faces if not f.masked]
    n = max(1, len(shown))
    values = np.zeros((n, 7), np.float32)
    for i, f in enumerate(shown):
        values[i] = np.random.default_rng([f.seed, end_us]).standard_normal(7)
    places = {f.person: i for i, f in enumerate(shown)}
    rows = tuple(f.row(end_us - SECOND // 5, end_us, places.get(f.person, 0)) for f in faces)
    body = tokens("video", [end_us]).body
    body = msgspec.structs.replace(
        body, people=rows, context=max([f.context for f in faces], default=0), mask_epoch=epoch, watermark_us=end_us
    )
    ends = np.full(n, end_us, np.int64)
    payload = (values, ends, ends, np.full(n, bool(shown), np.uint8))
    sent = message("feature/video", body, payload, origin_us=end_us)
    for i, f in enumerate(shown):
        if f.values is not None:  # as no worker sends it
            values[i] = f.values
    return msgspec.structs.replace(sent, payload=(values, *sent.payload[1:]))


@dataclass
class Room:
    """A scene of people, hop by hop. ``views``: topic people of each tick; ``changes`` of events."""

    scene: Scene = field(default_factory=Scene)
    views: list[People] = field(default_factory=list)
    changes: list[EventChange] = field(default_factory=list)

    def hop(self, *faces: Face, voice: Loudness | None = None, seed: int = 0, text: bool = False) -> dict[Any, Output]:
        """Half a second; returns the newest estimate of each person."""
        begin = self.scene.now_us
        for end in range(begin + SECOND // 10, begin + HALF_US, SECOND // 5):
            self.scene.give(pictures(faces, end))
        if voice is not None:
            sound = tokens("audio", [*range(begin + SECOND // 8, begin + HALF_US + 1, SECOND // 8)], seed)
            steps = range(begin, begin + HALF_US, STEP_US)
            levels = tuple(round(-55 + 35 * voice((at - START) / SECOND)) for at in steps)
            curve = VoiceCurve(begin, STEP_US, levels)
            heard = msgspec.structs.replace(sound.body, voice=curve)
            self.scene.give(message("feature/audio", heard, sound.payload, origin_us=begin))
        if text:
            self.scene.give(tokens("text", [begin + HALF_US], seed, context=begin))
        self.scene.now_us += HALF_US
        self.scene.state, outcome = self.scene.fusion.step(self.scene.state, Tick(self.scene.now_us))
        self.scene.outputs += outcome.outputs
        self.views += [outcome.people] if outcome.people is not None else []
        self.changes += outcome.events
        first = [o for o in outcome.outputs if not o.estimate.final and not o.estimate.revision]
        assert sum(o.estimate.focus is True for o in first) == 1
        return {o.estimate.person: o for o in first}

    def hops(self, count: int, *faces: Face, **options: Any) -> dict[Any, Output]:
        for _ in range(count):
            newest = self.hop(*faces, **options)
        return newest


def combinations(outputs: Mapping[Any, Output]) -> dict[Any, str]:
    return {person: o.estimate.combination for person, o in outputs.items()}


@pytest.fixture
def room() -> Room:
    return Room()


VOICE = syllables(1)


def test_everybody_has_an_estimate_and_the_speaker_the_voice_and_the_focus(room: Room) -> None:
    newest = room.hops(14, Face("p1", 1, box=LARGER), Face("p2", 2, VOICE), voice=VOICE, text=True)
    assert combinations(newest) == {"p1": "v", "p2": "atv"}
    assert {p: o.estimate.focus for p, o in newest.items()} == {"p1": False, "p2": True}
    assert newest["p1"].estimate.presence["audio"].reason == "somebody else speaks"
    view = room.views[-1]
    assert view.voice == "p2"
    assert {p.person: p.speaking for p in view.people} == {"p1": "silent", "p2": "speaking"}


def test_a_voice_over_silent_faces_has_an_estimate_without_a_face(room: Room) -> None:
    newest = room.hops(12, Face("p1", 1, box=LARGER), Face("p2", 2), voice=VOICE)
    assert combinations(newest) == {"p1": "v", "p2": "v", OFF_SCREEN: "a"}
    assert newest["p1"].estimate.focus is True, "the largest face"
    assert room.views[-1].voice == OFF_SCREEN


def test_a_sole_person_has_the_voice_until_it_is_certainly_not_theirs(room: Room) -> None:
    assert combinations(room.hops(3, Face("p1", 1), voice=VOICE)) == {"p1": "av"}
    assert combinations(room.hops(9, Face("p1", 1), voice=VOICE)) == {"p1": "v", OFF_SCREEN: "a"}


def test_a_sole_person_who_speaks_keeps_the_voice(room: Room) -> None:
    for _ in range(14):
        newest = room.hop(Face("p1", 1, VOICE), voice=VOICE)
        assert set(newest) == {"p1"}
    assert combinations(newest) == {"p1": "av"}


def test_a_voice_that_fits_two_mouths_is_nobody_s(room: Room) -> None:
    newest = room.hops(12, Face("p1", 1, VOICE), Face("p2", 2, VOICE), voice=VOICE)
    assert combinations(newest) == {"p1": "v", "p2": "v", OFF_SCREEN: "a"}
    assert room.views[-1].voice == "unbound"
    assert newest["p1"].estimate.presence["audio"].reason == "not known who speaks"


def test_the_voice_changes_hands_without_the_words_of_the_other(room: Room) -> None:
    """Of two who speak in turn the second one's windows hold no token that ended while the first was certain."""
    one, other = syllables(1), syllables(2)
    room.hops(14, Face("p1", 1, one), Face("p2", 2), voice=one)
    assert room.views[-1].voice == "p1"
    certain_us = room.scene.now_us
    for _ in range(14):
        newest = room.hop(Face("p1", 1), Face("p2", 2, other), voice=other)
        certain_us = room.scene.now_us if room.views[-1].voice == "p1" else certain_us
        pending = room.scene.state.streams["p2"].pending[-1]
        if "audio" in pending.windows:
            window = pending.windows["audio"]
            oldest = pending.tick_us - int(window.age[window.mask > 0].max() * 1e6)
            assert oldest > certain_us - 2 * SECOND
    assert newest["p2"].estimate.combination == "av"


@pytest.mark.parametrize("delayed", ["audio", "video"])
def test_mouths_and_voice_are_compared_at_the_calibrated_offset(delayed: Modality) -> None:
    late_us = SECOND
    shifted = msgspec.structs.replace(SETTINGS, delay_us={delayed: late_us})
    for fold, is_bound in ((SETTINGS, False), (shifted, True)):
        voice = apart(Scene(fold), delayed, late_us).voice
        assert voice.is_heard
        assert (voice.owner == "p2") is is_bound


def apart(scene: Scene, delayed: Modality, late_us: int) -> Company:
    """Two faces, of which p2 speaks; what ``delayed`` senses is stamped ``late_us`` too late."""
    for _ in range(16):
        begin = scene.now_us
        for end in range(begin + SECOND // 10, begin + HALF_US, SECOND // 5):
            frame = pictures((Face("p1", 1), Face("p2", 2, VOICE)), end)
            scene.give(later(frame, late_us) if delayed == "video" else frame)
        levels = tuple(round(-55 + 35 * VOICE((at - START) / SECOND)) for at in range(begin, begin + HALF_US, STEP_US))
        sound = tokens("audio", [*range(begin + SECOND // 8, begin + HALF_US + 1, SECOND // 8)])
        body = msgspec.structs.replace(sound.body, voice=VoiceCurve(begin, STEP_US, levels))
        heard = message("feature/audio", body, sound.payload, origin_us=begin)
        scene.give(later(heard, late_us) if delayed == "audio" else heard)
        scene.tick()
    company = scene.state.company
    assert company is not None
    return company


def later(feature: Message[Feature], by_us: int) -> Message[Feature]:
    """The same, all of it stamped later."""
    body, (values, start, end, valid) = feature.body, feature.payload
    people = None
    if body.people is not None:
        people = tuple(
            msgspec.structs.replace(p, mouth=tuple(MouthOpening(o.at_us + by_us, o.opening) for o in p.mouth))
            for p in body.people
        )
    voice = body.voice and msgspec.structs.replace(body.voice, begin_us=body.voice.begin_us + by_us)
    moved = msgspec.structs.replace(body, people=people, voice=voice, watermark_us=body.watermark_us + by_us)
    return msgspec.structs.replace(feature, body=moved, payload=(values, start + by_us, end + by_us, valid))


def test_a_camera_that_sends_no_more_leaves_nobody_in_view(room: Room) -> None:
    room.hops(8, Face("p1", 1, VOICE), voice=VOICE)
    for _ in range(5):
        room.scene.give(tokens("audio", [room.scene.now_us + HALF_US - 1], 1))
        room.scene.now_us += HALF_US
        room.scene.state, outcome = room.scene.fusion.step(room.scene.state, Tick(room.scene.now_us))
    assert outcome.people is not None
    assert outcome.people.people == ()
    newest = outcome.outputs[-1].estimate
    assert (newest.person, newest.combination, newest.focus) == (OFF_SCREEN, "a", True)


def test_an_event_of_somebody_ends_when_the_camera_fails() -> None:
    scene = Scene()
    scene.fusion = Fusion(SETTINGS, HashModel(), STEADILY_SAD)
    scene.state = scene.fusion.initial(START)
    begun = set[str]()
    for _ in range(6):
        scene.give(pictures([Face("p1", 1)], scene.now_us + HALF_US // 2))
        scene.now_us += HALF_US
        scene.state, outcome = scene.fusion.step(scene.state, Tick(scene.now_us))
        begun |= {c.event for c in outcome.events if c.phase == "begin"}
    assert begun
    scene.state, outcome = scene.fusion.step(scene.state, Arrived(sensor("video", health="failed")))
    assert {c.event for c in outcome.events if c.phase == "end"} == begun
    assert {c.person for c in outcome.events} == {"p1"}


def test_an_event_of_the_voice_off_screen_ends_with_the_voice(room: Room) -> None:
    room.scene.fusion = Fusion(SETTINGS, HashModel(), STEADILY_SAD)
    room.scene.state = room.scene.fusion.initial(START)
    room.hops(14, Face("p1", 1), Face("p2", 2), voice=VOICE)
    begun = {c.event for c in room.changes if c.phase == "begin" and c.person == OFF_SCREEN}
    assert begun
    room.hops(12, Face("p1", 1), Face("p2", 2))
    assert begun == {c.event for c in room.changes if c.phase == "end" and c.person == OFF_SCREEN}


def test_nobody_in_view_leaves_the_voice(room: Room) -> None:
    room.hops(4, Face("p1", 1), voice=VOICE)
    newest = room.hop(voice=VOICE)
    assert combinations(newest) == {OFF_SCREEN: "a"}
    assert newest[OFF_SCREEN].estimate.focus is True


def test_nobody_and_nothing_gives_none(room: Room) -> None:
    room.hops(2, Face("p1"))
    newest = room.hops(10)
    assert combinations(newest) == {None: "none"}


def test_another_face_in_the_same_place_begins_anew(room: Room) -> None:
    room.hops(6, Face("p1", 1))
    assert len(room.scene.state.streams["p1"].pending) > 1
    newest = room.hop(Face("p1", 2, context=2))
    fresh = Room(Scene(now_us=room.scene.now_us - HALF_US))
    assert result(newest["p1"]) == result(fresh.hop(Face("p1", 2, context=2))["p1"])


def test_somebody_masked_has_no_tokens_no_voice_and_no_focus(room: Room) -> None:
    room.hops(4, Face("p1", 1, box=LARGER), Face("p2", 2))
    newest = room.hop(Face("p1", masked=True, box=LARGER), Face("p2", 2))
    assert combinations(newest) == {"p1": "none", "p2": "v"}
    assert newest["p1"].estimate.presence["video"].state == "masked"
    assert newest["p2"].estimate.focus is True
    assert not room.scene.state.company.persons["p1"].track.pieces  # type: ignore[union-attr]


def test_a_mask_of_the_camera_forgets_everybody(room: Room) -> None:
    room.hops(6, Face("p1", 1), Face("p2", 2), voice=VOICE)
    room.scene.give(ModalityPurged("video", 5), sensor("video", "masked", "absent", 5))
    state = room.scene.state
    assert state.company is not None
    assert not state.company.persons
    assert set(state.streams) <= {OFF_SCREEN}
    room.scene.now_us += HALF_US
    outputs = room.scene.give(Tick(room.scene.now_us))
    assert outputs[-1].estimate.presence["video"].state == "masked"


def test_a_mask_of_the_microphone_forgets_the_voice(room: Room) -> None:
    room.hops(14, Face("p1", 1), Face("p2", 2, VOICE), voice=VOICE)
    room.scene.give(ModalityPurged("audio", 5), sensor("audio", "masked", "absent", 5))
    assert room.scene.state.company is not None
    assert room.scene.state.company.voice.curves == ()
    assert set(combinations(room.hop(Face("p1", 1), Face("p2", 2))).values()) == {"v"}


def test_the_largest_face_is_the_focus_of_a_quiet_room(room: Room) -> None:
    assert room.hops(3, Face("p1"), Face("p2", box=LARGER))["p2"].estimate.focus is True
    assert room.hops(3, Face("p1", box=LARGER), Face("p2"))["p1"].estimate.focus is True


def test_late_words_revise_the_estimate_of_who_had_the_voice() -> None:
    room = Room()
    room.hops(14, Face("p1", 1), Face("p2", 2, VOICE), voice=VOICE)
    spoken = room.scene.now_us - HALF_US
    room.scene.give(tokens("text", [spoken], 3, context=7))
    room.scene.now_us += HALF_US
    outputs = room.scene.give(Tick(room.scene.now_us))
    revised = {o.estimate.person for o in outputs if o.estimate.revision and not o.estimate.final}
    assert revised == {"p2"}


Person = st.tuples(st.integers(0, 3), st.booleans())


@settings(max_examples=30)
@given(
    script=st.lists(st.sets(st.sampled_from(["p2", "p3", "p4"])), min_size=4, max_size=14),
    content=st.sampled_from([0.0, 1e30, float("nan"), float("inf"), None]),
    seed=st.integers(1, 99),
)
def test_what_others_express_changes_no_bit_of_one_person(
    script: list[set[str]], content: float | None, seed: int
) -> None:
    """Others come and go; the mouths are the same in both rooms, so that the voice is given alike."""
    mine: list[list[bytes]] = []
    for of_others, values in ((5, None), (seed, content)):
        room, found = Room(), list[bytes]()
        for present in script:
            others = [Face(p, of_others, context=len(p), values=values) for p in sorted(present)]
            newest = room.hop(Face("p1", 1, VOICE, box=LARGER), *others, voice=VOICE)
            found.append(result(newest["p1"]))
        mine.append(found)
    assert mine[0] == mine[1]


@settings(max_examples=30)
@given(script=st.lists(st.tuples(st.sets(st.sampled_from(["p1", "p2", "p3"])), st.booleans()), max_size=16))
def test_any_coming_and_going_gives_one_focus_and_keeps_nothing_of_who_left(
    script: list[tuple[set[str], bool]],
) -> None:
    room = Room()
    room.hop(Face("p1"))
    for present, is_loud in script:
        faces = [Face(p, 1, VOICE if p == "p1" else silence) for p in sorted(present)]
        newest = room.hop(*faces, voice=VOICE if is_loud else None)
        assert set(newest) <= {*present, OFF_SCREEN, None}
        company = room.scene.state.company
        assert company is not None
        assert set(company.persons) == present
        assert set(room.scene.state.streams) <= {*present, OFF_SCREEN}
        assert [p.person for p in room.views[-1].people] == sorted(present)


def test_features_without_people_are_fused_as_ever() -> None:
    scene = Scene()
    output = scene.settle("audio", "video")
    assert isinstance(output.estimate, Estimate)
    assert (output.estimate.person, output.estimate.focus) == (None, None)
    assert scene.state.company is None


def test_the_same_events_give_the_same_bytes() -> None:
    def run() -> list[bytes]:
        room = Room()
        room.hops(8, Face("p1", 1), Face("p2", 2, VOICE), voice=VOICE, text=True)
        return [result(o) for o in room.scene.outputs]

    assert run() == run()


def test_a_row_beyond_the_payload_is_no_token(room: Room) -> None:
    good = pictures([Face("p1")], START + SECOND // 10)
    assert good.body.people is not None
    far = msgspec.structs.replace(good.body.people[0], token=9)
    body = msgspec.structs.replace(good.body, people=(far,))
    room.scene.give(Arrived(message("feature/video", body, good.payload, origin_us=START)))
    assert room.scene.state.company is not None
    assert not room.scene.state.company.persons["p1"].track.pieces
    assert HashModel.dims["video"] == 7
