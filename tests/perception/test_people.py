"""Several people in view: each keeps a number, a context and rows of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.contract.clock import FakeClock
from edge_mer.contract.errors import InputError
from edge_mer.contract.messages import InputRef, Message, RawVideo, canonical, result_bytes
from edge_mer.contract.people import SeenPerson
from edge_mer.perception.crop import painted
from edge_mer.perception.detect import Face, FaceDetector, Image
from edge_mer.perception.encoder import Tokens, VideoFrame, people_of
from edge_mer.perception.face import FaceEncoder
from edge_mer.perception.load import load_encoder
from edge_mer.perception.people import PeopleEncoder
from edge_mer.perception.person import PeopleState
from edge_mer.perception.replay import replay
from edge_mer.perception.stream import FeatureStream, StreamState
from edge_mer.runtime.onnx import OnnxRuntime
from tests.perception.fakes import face_graph

SLOT = 200
WIDTH, HEIGHT, SIDE = 640, 360, 80
# Landmarks of a face of SIDE pixels, from its corner.
POINTS = np.array([(26.0, 32.0), (54.0, 32.0), (40.0, 48.0), (28.0, 60.0), (52.0, 60.0)])


def texture(number: int) -> Image:
    """A face that is unlike the others: [80, 80, 3], in focus."""
    random = np.random.default_rng(number)
    coarse = cv2.resize(random.integers(40, 215, (9, 9)).astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    fine = random.integers(-25, 25, (SIDE, SIDE))
    return np.repeat((coarse + fine).clip(0, 255).astype(np.uint8)[..., None], 3, 2)


@dataclass(frozen=True)
class Drawn:
    """A face in a picture: ``look`` is its texture; ``opened``: brightness of the mouth."""

    look: int
    x: int
    y: int = 120
    opened: int = 0


def picture(faces: Sequence[Drawn], grain: int = 0) -> Image:
    image = np.random.default_rng(grain).integers(100, 140, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    for face in faces:
        part = texture(face.look)
        part[56:66, 30:50] = face.opened
        shown = image[face.y : face.y + SIDE, max(0, face.x) : face.x + SIDE]
        shown[:] = part[: shown.shape[0], : shown.shape[1]]
    return image


class Seen(FaceDetector):
    """Finds the faces that are drawn, and looks from near only at pixels around a face."""

    def __init__(self) -> None:
        self.drawn: Sequence[Drawn] = ()
        self.near = 0

    def detect(self, image: Image) -> list[Face]:
        return [_face(d, 0.75) for d in self.drawn]

    def closer(self, image: Image, face: Face, roll: float) -> Face | None:
        self.near += 1
        hits = [_face(d) for d in self.drawn if abs(d.x - face.box[0]) < SIDE / 2 and abs(d.y - face.box[1]) < SIDE / 2]
        return min(hits, key=lambda f: abs(f.box[0] - face.box[0]), default=None)


def _face(drawn: Drawn, off: float = 0.0) -> Face:
    """``off``: by how much a glance is wrong."""
    return Face((drawn.x + off, float(drawn.y), float(SIDE), float(SIDE)), POINTS + np.array((drawn.x, drawn.y)))


class Room:
    """An encoder of several people, its state, and what the camera sees."""

    def __init__(self, most: int = 4) -> None:
        self.detector = Seen()
        self.encoder = PeopleEncoder(FaceEncoder(face_graph(), self.detector), most)
        self.state: PeopleState = self.encoder.initial()

    def __call__(self, time_ms: int, *faces: Drawn) -> Tokens:
        self.detector.drawn = faces
        self.state, tokens = self.encoder.step(self.state, VideoFrame(picture(faces, time_ms), time_ms * 1000))
        return tokens

    def slots(self, count: int, *faces: Drawn) -> Tokens:
        """``count`` slots more with these faces; the last tokens."""
        first = 0 if self.state.slot is None else (self.state.slot + 1) * SLOT
        return [self(first + SLOT * i, *faces) for i in range(count)][-1]

    def mask(self, *names: str, everybody: bool = False) -> None:
        self.state = self.encoder.masked(self.state, frozenset(names), everybody)


def named(tokens: Tokens) -> dict[str, SeenPerson]:
    assert tokens.people is not None
    return {p.person: p for p in tokens.people}


ANNA, BERT, CORA = Drawn(1, 60), Drawn(2, 260), Drawn(3, 460)


def test_everybody_has_a_row_of_their_own() -> None:
    room = Room()
    tokens = room.slots(3, ANNA, BERT, CORA)
    assert tokens.valid.tolist() == [True] * 3
    assert [(p.person, p.token) for p in tokens.people or ()] == [("p1", 0), ("p2", 1), ("p3", 2)]
    assert len({row.tobytes() for row in tokens.values}) == 3
    assert named(tokens)["p2"].box == pytest.approx((260 / 640, 120 / 360, 80 / 640, 80 / 360))


def test_one_face_gives_the_tokens_of_the_encoder_of_one_face() -> None:
    room = Room()
    one = FaceEncoder(face_graph(), room.detector)
    state = one.initial()
    for n in range(12):
        face = Drawn(1, 60 + 9 * n)
        here = room(n * 90, face)
        state, there = one.step(state, VideoFrame(picture([face], n * 90), n * 90_000))
        assert here.values.tobytes() == there.values.tobytes()
        assert (here.valid.tolist(), here.context, here.cut) == (there.valid.tolist(), there.context, there.cut)


def test_nobody_is_one_row_that_is_not_valid() -> None:
    tokens = Room().slots(1)
    assert (tokens.people, tokens.valid.tolist()) == ((), [False])


def test_at_most_as_many_as_configured_are_followed() -> None:
    assert len(named(Room(2).slots(4, ANNA, BERT, CORA))) == 2


def test_a_second_face_that_is_seen_once_is_nobody() -> None:
    room = Room()
    room.slots(2, ANNA)
    room.slots(1, ANNA, BERT)
    assert list(named(room.slots(3, ANNA))) == ["p1"]


def test_somebody_who_returns_after_two_seconds_is_somebody_new() -> None:
    room = Room()
    room.slots(3, ANNA, BERT)
    room.slots(12, BERT)
    tokens = room.slots(2, ANNA, BERT)
    assert list(named(tokens)) == ["p2", "p3"]


def test_somebody_who_was_hidden_for_a_moment_is_the_same() -> None:
    room = Room()
    before = named(room.slots(3, ANNA, BERT))
    assert named(room.slots(1, BERT))["p1"].reason == "no face"
    after = named(room.slots(1, ANNA, BERT))
    assert (after["p1"].context, after["p1"].reason) == (before["p1"].context, None)


def test_after_a_second_out_of_sight_the_context_is_new() -> None:
    room = Room()
    room.slots(3, ANNA, BERT)
    room.slots(6, BERT)
    assert named(room.slots(1, ANNA, BERT))["p1"].context == room.state.people[0].track.seen_us


def test_another_face_in_the_same_place_is_somebody_new_with_a_new_context() -> None:
    room = Room()
    room.slots(4, ANNA, BERT)
    other = Drawn(7, ANNA.x)
    first = named(room.slots(1, other, BERT))
    assert first["p1"].reason == "unbound", "no token while it is open whose it is"
    tokens = room.slots(1, other, BERT)
    assert set(named(tokens)) == {"p2", "p3"}
    assert named(tokens)["p3"].context == room.state.people[0].track.seen_us
    assert tokens.valid.all()


def test_two_people_who_cross_keep_their_numbers() -> None:
    room = Room()
    for n in range(12):
        left, right = Drawn(1, 60 + 40 * n, 100), Drawn(2, 540 - 40 * n, 130)
        near = abs(left.x - right.x) < SIDE * 0.7
        tokens = room.slots(1, *([right] if near else [left, right]))
    seen = named(tokens)
    assert list(seen) == ["p1", "p2"]
    assert seen["p1"].box[0] > seen["p2"].box[0], "each is on the other side now"


def test_a_picture_on_a_wall_is_told_and_a_person_is_not() -> None:
    room = Room()
    for n in range(32):
        tokens = room.slots(1, ANNA, Drawn(2, 260 + n % 2 * 2))
    reasons = {name: p.reason for name, p in named(tokens).items()}
    assert reasons == {"p1": "still picture", "p2": None}


def test_mouths_are_measured_at_every_frame() -> None:
    room = Room()
    assert not room.encoder.wants(replace(room.state, slot=1), 250_000), "nobody is there"
    room.slots(2, ANNA)
    assert room.encoder.wants(room.state, 250_000)
    room.slots(3, ANNA, BERT)
    assert room.encoder.wants(room.state, 850_000)
    for ms, opened in ((867, 0), (933, 200), (1000, 0)):
        tokens = room(ms, Drawn(1, 60, opened=opened), BERT)
    talking, silent = (named(tokens)[name].mouth for name in ("p1", "p2"))
    assert [o.at_us for o in talking] == [867_000, 933_000, 1_000_000]
    assert min(o.opening for o in talking[1:]) > 5 * max(o.opening for o in silent)


def test_a_head_that_moves_does_not_look_as_if_it_spoke() -> None:
    room = Room()
    room.slots(3, ANNA, BERT)
    moved = [Drawn(1, 60 + d) for d in (1, 3, 4)]
    for ms, face in zip((467, 533, 600), moved, strict=True):
        tokens = room(ms, face, BERT)
    spoken = Room()
    spoken.slots(3, ANNA, BERT)
    for ms, opened in ((467, 0), (533, 200), (600, 0)):
        other = spoken(ms, Drawn(1, 60, opened=opened), BERT)
    assert max(o.opening for o in named(tokens)["p1"].mouth) < max(o.opening for o in named(other)["p1"].mouth) / 2


def row(tokens: Tokens, name: str) -> tuple[SeenPerson, bytes, bool]:
    person = named(tokens)[name]
    assert person.token is not None
    return person, tokens.values[person.token].tobytes(), bool(tokens.valid[person.token])


@settings(max_examples=25, deadline=None)
@given(look=st.integers(2, 40), opened=st.lists(st.integers(0, 255), min_size=18, max_size=18))
def test_how_somebody_looks_changes_no_byte_of_somebody_else(look: int, opened: list[int]) -> None:
    one, other = Room(), Room()
    for n in range(18):
        here = one(n * 67, ANNA, BERT)
        there = other(n * 67, ANNA, Drawn(look, BERT.x, opened=opened[n]))
        if len(here) and n > 6:
            assert row(here, "p1") == row(there, "p1")


moves = st.lists(
    st.tuples(st.integers(-20, 20), st.integers(-10, 10), st.booleans(), st.sampled_from([0, 0, 0, 0, 0, 50])),
    min_size=6,
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(script=st.lists(moves, min_size=5, max_size=30), mask=st.sets(st.integers(1, 6)))
def test_numbers_are_never_used_again_and_contexts_never_go_back(
    script: list[list[tuple[int, int, bool, int]]], mask: set[int]
) -> None:
    """Random arrivals, leavings, crossings and swaps."""
    room = Room()
    faces = [[number, 60 + 90 * number, 100] for number in range(6)]
    gone: set[str] = set()
    contexts: dict[str, int] = {}
    before: list[str] = []
    for n, step in enumerate(script):
        if n == 3:
            room.mask(*(f"p{i}" for i in mask))
        drawn = []
        for face, (x, y, is_there, swap) in zip(faces, step, strict=True):
            face[0] += swap
            face[1], face[2] = min(max(face[1] + x, 0), WIDTH - SIDE), min(max(face[2] + y, 0), HEIGHT - SIDE)
            if is_there:
                drawn.append(Drawn(*face))
        tokens = room.slots(1, *drawn)
        people = named(tokens)
        assert len(people) == len(tokens.people or ()) <= 4
        assert not gone & people.keys(), "a number is used again"
        gone |= set(before) - people.keys()
        before = list(people)
        rows = sorted(p.token for p in people.values() if p.token is not None)
        assert rows == list(range(len(rows)))
        for name, person in people.items():
            assert person.context >= contexts.get(name, 0)
            contexts[name] = person.context
            if person.masked:
                assert (person.token, person.mouth, person.reason, person.yaw) == (None, (), None, 0.0)
            elif n >= 3:
                assert int(name[1:]) not in mask
        assert all(math.isfinite(v) for v in tokens.values.ravel())


def test_a_masked_person_has_a_place_and_nothing_else() -> None:
    room = Room()
    room.slots(4, ANNA, BERT)
    room.mask("p2")
    masked = next(p for p in room.state.people if p.name == "p2")
    assert (masked.track.looks, masked.track.face.points, masked.mouth, masked.openings) == ((), None, None, ())
    near = room.detector.near
    tokens = room.slots(1, ANNA, BERT)
    assert room.detector.near == near + 1, "nobody looks at a masked face from near"
    assert named(tokens)["p2"] == SeenPerson(
        "p2", named(tokens)["p2"].context, None, named(tokens)["p2"].box, masked=True
    )
    assert len(tokens) == 1


def test_a_mask_is_overwritten_and_then_lifted_with_a_new_context() -> None:
    stream = FeatureStream(Room().encoder)
    room = Room()
    room.slots(4, ANNA, BERT)
    looks = room.state.people[1].track.looks
    state = stream.masked(StreamState(room.state), frozenset({"p2"}))
    assert not any(look.any() for look in looks)
    room.state = state.encoder
    context = named(room.slots(2, ANNA, BERT))["p2"].context
    room.mask()
    after = named(room.slots(1, ANNA, BERT))["p2"]
    assert not after.masked
    assert after.context > context


def test_a_mask_that_is_lifted_at_once_is_seen_in_one_feature() -> None:
    room = Room()
    room.slots(3, ANNA)
    room.mask("p1")
    room.mask()
    assert named(room.slots(1, ANNA))["p1"].masked
    assert not named(room.slots(1, ANNA))["p1"].masked


@pytest.mark.parametrize(("x", "masked"), [(300, True), (560, False)])
def test_who_comes_where_a_masked_person_was_lost_is_masked(x: int, masked: bool) -> None:
    room = Room()
    there = Drawn(2, 220, 140)
    room.slots(3, there, Drawn(3, 400, 140))
    room.mask("p1")
    room.slots(1, there, Drawn(3, 400, 140))
    room.slots(1, Drawn(3, 400, 140))
    tokens = room.slots(2, Drawn(9, x, 140), Drawn(3, 400, 140))
    new = named(tokens).get("p3") or named(tokens)["p1"]
    assert new.masked is masked
    room.mask()
    room.slots(1, Drawn(9, x, 140), Drawn(3, 400, 140))
    assert not any(p.masked for p in named(room.slots(1, Drawn(9, x, 140), Drawn(3, 400, 140))).values())


def test_long_after_a_masked_person_was_lost_everybody_new_is_masked() -> None:
    room = Room()
    room.slots(3, Drawn(2, 220, 140))
    room.mask("p1")
    room.slots(30)
    assert [p.masked for p in named(room.slots(2, Drawn(5, 500, 20))).values()] == [True]


def test_who_was_lost_at_the_edge_may_come_back_anywhere() -> None:
    room = Room()
    room.slots(3, Drawn(2, 0, 140))
    room.mask("p1")
    room.slots(12)
    assert [p.masked for p in named(room.slots(2, Drawn(5, 500, 20))).values()] == [True]


def test_who_touches_a_masked_person_is_masked_too() -> None:
    room = Room()
    room.slots(3, ANNA, BERT)
    room.mask("p1")
    room.slots(1, ANNA, Drawn(2, ANNA.x + 190))
    tokens = room.slots(1, ANNA, Drawn(2, ANNA.x + 130))
    assert not named(tokens)["p2"].masked
    room.slots(1, ANNA, Drawn(2, ANNA.x + 110))
    tokens = room.slots(1, ANNA, Drawn(2, ANNA.x + 70))
    assert all(p.masked for p in named(tokens).values())


def test_everybody_means_everybody_who_comes() -> None:
    room = Room()
    room.mask(everybody=True)
    assert [p.masked for p in named(room.slots(3, ANNA, BERT)).values()] == [True, True]


def test_an_encoder_of_one_face_masks_nobody_alone() -> None:
    stream = FeatureStream(FaceEncoder(face_graph(), Seen()))
    state = stream.initial()
    assert stream.masked(state, frozenset()) is state
    with pytest.raises(InputError, match=r"video\.people"):
        stream.masked(state, frozenset({"p1"}))


def test_what_is_painted_over_leaves_the_own_face() -> None:
    image = np.full((100, 100, 3), 9, np.uint8)
    out = painted(image, (10.0, 10.0, 20.0, 20.0), [(60.0, 10.0, 20.0, 20.0), (25.0, 10.0, 20.0, 20.0)])
    assert (out[12:28, 12:28] == 9).all()
    assert (out[12:28, 62:78] == 127).all()
    assert (image == 9).all()


def test_the_name_of_the_encoder_says_how_many_it_follows() -> None:
    assert people_of(Room(3).encoder.spec.name) == 3
    assert people_of("face/yunet-1234") == 1


def test_a_real_face_beside_another_one_is_read_alike_whatever_the_other_looks_like(
    recordings: Path, models: Path
) -> None:
    photograph: Any = cv2.imread(str(recordings / "av_scenes" / "face_recognition_two_people.jpg"))
    image = np.asarray(cv2.resize(photograph, (640, 376)), np.uint8)
    encoder = load_encoder("video", OnnxRuntime(), models, people=4)

    def seen(change: Callable[[Image], Image], slots: int = 6) -> tuple[dict[str, SeenPerson], Tokens]:
        state = encoder.initial()
        for n in range(slots):
            shown = image.copy()
            if n > 2:
                left, top, width, height = other
                part = shown[top : top + height, left : left + width]
                part[:] = change(part)
            state, tokens = encoder.step(state, VideoFrame(shown, n * 200_000))
        return named(tokens), tokens

    other = (0, 0, 1, 1)
    people, _ = seen(lambda part: part)
    assert list(people) == ["p1", "p2"], "nobody takes a face that stays for another one"
    left, top, width, height = people["p2"].box
    rows, columns = image.shape[:2]
    other = round(left * columns), round(top * rows), round(width * columns), round(height * rows)
    _, tokens = seen(lambda part: part)
    _, changed = seen(lambda part: (part * 0.7).astype(np.uint8))
    assert row(tokens, "p2") != row(changed, "p2")
    assert row(tokens, "p1") == row(changed, "p1")


class Live:
    """A camera, and a perception worker that is told of masks between any two frames."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        bus = MemoryBus(MemoryBroker(), self.clock, "gate")
        self.gate = bus.publisher("raw/video", "gate")
        self.worker = bus.publisher("feature/video", "perception.video")
        self.detector = Seen()
        self.stream = FeatureStream(PeopleEncoder(FaceEncoder(face_graph(), self.detector)))
        self.state = self.stream.initial()
        self.raw: dict[InputRef, Message[Any]] = {}
        self.drawn: dict[int, Sequence[Drawn]] = {}
        self.features: list[Message[Any]] = []

    def frame(self, faces: Sequence[Drawn], epoch: int) -> None:
        ok, jpeg = cv2.imencode(".png", picture(faces))
        assert ok
        body = RawVideo(frame=0, width=WIDTH, height=HEIGHT, mask_epoch=epoch)
        message = self.gate.send(body, (np.asarray(jpeg, np.uint8).ravel(),), origin_us=self.clock.now_us())
        self.raw[message.ref], self.drawn[message.envelope.seq] = message, faces
        self.detector.drawn = faces
        self.state, draft = self.stream.step(self.state, message)
        if draft is not None:
            self.features.append(self.worker.send(draft.body, draft.payload, origin_us=draft.origin_us))
        self.clock.advance(66_000)


happenings = st.lists(
    st.tuples(
        st.sampled_from(["", "", "", "p1", "p2", "p1 p2", "lift", "epoch", "everybody"]),
        st.lists(st.sampled_from([ANNA, BERT, CORA, Drawn(9, 60)]), max_size=3, unique_by=lambda d: d.x),
    ),
    min_size=8,
    max_size=40,
)


@settings(max_examples=25, deadline=None)
@given(script=happenings)
def test_raw_video_gives_the_same_features_again_whoever_was_masked_when(
    script: list[tuple[str, list[Drawn]]],
) -> None:
    live, epoch = Live(), 1
    for what, faces in script:
        if what == "epoch":
            epoch += 1
        elif what == "everybody":
            live.state = live.stream.masked(live.state, frozenset(), everybody=True)
        elif what:
            live.state = live.stream.masked(live.state, frozenset(what.replace("lift", "").split()))
        for _ in range(2):
            live.frame(faces, epoch)
    again = FeatureStream(PeopleEncoder(FaceEncoder(face_graph(), live.detector)))

    def raw(ref: InputRef) -> Message[Any]:
        message = live.raw[ref]
        live.detector.drawn = live.drawn[message.envelope.seq]
        return message

    encoded = list(replay(live.features, raw, again))
    assert len(encoded) == len(live.features)
    for one in encoded:
        draft = one.draft
        assert draft is not None
        assert canonical(draft.origin_us, draft.body, draft.payload) == result_bytes(one.feature)


def test_a_new_source_after_a_personal_mask_masks_everybody_until_it_is_lifted() -> None:
    live = Live()
    for _ in range(8):
        live.frame([ANNA, BERT], 1)
    live.state = live.stream.masked(live.state, frozenset({"p2"}))
    for _ in range(8):
        live.frame([ANNA, BERT], 2)
    assert all(p.masked for p in live.features[-1].body.people or ())
