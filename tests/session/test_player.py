"""The player: recorded topics on the live workers' sockets, at the original or another spacing, moved to now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_mer.bus import MemoryBroker, MemoryBus, Reader
from edge_mer.config import Config
from edge_mer.contract.clock import FakeClock
from edge_mer.contract.errors import ConfigError, EndpointInUse, SessionError
from edge_mer.contract.messages import ClockReport, InputRef, Message
from edge_mer.contract.services import SERVICES
from edge_mer.session.keys import KeyStore
from edge_mer.session.player import SLACK_US, Player, Speed, build, in_order
from edge_mer.session.reader import Session
from edge_mer.session.shift_times import shifted
from tests.session.stage import FAKE, Home, read_all, record_run

TOPICS = tuple(s.topic for s in SERVICES.values() if s.policy == "latest")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_run(tmp_path_factory.mktemp("player") / "a.mcap", seed=5, steps=40)


class Stage:
    """A bus with one player and one listener; time advances only by the waits of the player."""

    def __init__(self, recorded: Path, speed: Speed = 1.0, topics: tuple[str, ...] = (), **more: Any) -> None:
        self.clock, self.broker = FakeClock(monotonic_us=77_000_000_000), MemoryBroker()
        self.listener: Reader = MemoryBus(self.broker, self.clock, "listener").reader(*TOPICS)
        self.bus = MemoryBus(self.broker, self.clock, "player")
        self.player = Player(Session(recorded), self.bus, speed, topics, **more)
        self.received: list[tuple[int, Message[Any]]] = []

    def play_for(self, seconds: float) -> None:
        end = self.clock.now_us() + round(seconds * 1e6)
        while self.clock.now_us() < end:
            wait = self.player.turn()
            self.received += [(self.clock.now_us(), m) for m in self.listener.drain()]
            self.bus.wait(min(wait, end - self.clock.now_us()))

    def play(self) -> list[tuple[int, Message[Any]]]:
        while not self.player.done:
            wait = self.player.turn()
            self.received += [(self.clock.now_us(), m) for m in self.listener.drain()]
            self.bus.wait(wait)
        return self.received


def numbered(messages: Iterable[Message[Any]]) -> Iterator[tuple[int, Message[Any]]]:
    """Number of the source instance of each message: 0, 1, ... in order of appearance on its topic."""
    instances: dict[str, list[str]] = {}
    for m in messages:
        known = instances.setdefault(m.topic, [])
        if m.envelope.boot not in known:
            known.append(m.envelope.boot)
        yield known.index(m.envelope.boot), m


@pytest.mark.parametrize(("speed", "factor"), [(1.0, 1), (0.5, 2), (4.0, 0.25)])
def test_message_spacing_is_the_original_divided_by_the_speed(recorded: Path, speed: float, factor: float) -> None:
    made = {(m.topic, m.envelope.seq, i): m.envelope.created_us for i, m in numbered(read_all(recorded))}
    received = Stage(recorded, speed).play()
    first_at, first_us = received[0][0], min(t for (topic, *_), t in made.items() if topic in TOPICS)
    for (at, _), (i, m) in zip(received, numbered(m for _, m in received), strict=True):
        assert at - first_at == round((made[m.topic, m.envelope.seq, i] - first_us) * factor)


def test_max_speed_plays_everything_at_once_in_the_same_order(recorded: Path) -> None:
    slow, fast = Stage(recorded), Stage(recorded, "max")
    assert [m.ref for _, m in fast.play()] == [m.ref for _, m in slow.play()]
    assert fast.received[0][0] == fast.received[-1][0]


def test_every_latest_topic_is_played_and_no_reliable_one(recorded: Path) -> None:
    stage = Stage(recorded)
    recorded_messages = [m for m in read_all(recorded) if m.topic in TOPICS]
    received = [m for _, m in stage.play()]
    assert len(received) == len(recorded_messages) == stage.player.counters["played"]
    assert {m.topic for m in received} == {m.topic for m in recorded_messages}
    assert not any(endpoint.startswith("server:") for endpoint in stage.broker.owners)


@pytest.mark.parametrize("speed", [1.0, 0.5, 3.0])
def test_played_messages_pass_all_checks_of_a_reader(recorded: Path, speed: float) -> None:
    stage = Stage(recorded, speed)
    for at, message in stage.play():
        assert message.envelope.created_us == at
        assert 0 <= at - message.envelope.origin_us < 5_000_000
    assert stage.listener.counters["gap"] == stage.listener.counters["bad"] == stage.listener.counters["old"] == 0
    newest = stage.listener.read_latest("emotion", 2_000_000)
    assert newest.envelope.source == "fusion"


def test_content_is_the_recorded_content(recorded: Path) -> None:
    recorded_messages = {
        (m.topic, m.envelope.source, m.envelope.seq, m.envelope.created_us): m for m in read_all(recorded)
    }
    stage = Stage(recorded)
    shift = 77_000_500_000 - min(m.envelope.created_us for m in recorded_messages.values() if m.topic in TOPICS)
    for _, m in stage.play():
        original = recorded_messages[m.topic, m.envelope.source, m.envelope.seq, m.envelope.created_us - shift]
        if m.topic.startswith("feature/"):
            values, start, end, valid = m.payload
            assert values.tobytes() == original.payload[0].tobytes()
            assert np.array_equal(start - shift, original.payload[1])
            assert np.array_equal(end - shift, original.payload[2])
            assert valid.tobytes() == original.payload[3].tobytes()
            assert m.body.watermark_us - shift == original.body.watermark_us
        elif m.topic == "emotion":
            assert m.body == original.body


def test_second_playback_has_new_instance_ids_so_that_readers_accept_it(recorded: Path) -> None:
    stage = Stage(recorded)
    first = stage.play()
    stage.bus.close()
    again = MemoryBus(stage.broker, stage.clock, "player again")
    stage.player, stage.bus, stage.received = Player(Session(recorded), again), again, []
    assert len(stage.play()) == len(first)
    assert not {m.envelope.boot for _, m in first} & {m.envelope.boot for _, m in stage.received}


def test_a_live_worker_keeps_its_socket(recorded: Path) -> None:
    broker, clock = MemoryBroker(), FakeClock()
    MemoryBus(broker, clock, "live").publisher("feature/audio", "perception.audio")
    with pytest.raises(EndpointInUse, match="feature/audio"):
        Player(Session(recorded), MemoryBus(broker, clock, "player"))
    Player(Session(recorded), MemoryBus(broker, clock, "other"), topics=["feature/video"])


def test_only_the_chosen_topics_are_played(recorded: Path) -> None:
    assert {m.topic for _, m in Stage(recorded, topics=("emotion",)).play()} == {"emotion"}
    with pytest.raises(SessionError, match="raw/audio"):
        Stage(recorded, topics=("raw/audio",))


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_invalid_speed_is_refused(recorded: Path, speed: float) -> None:
    with pytest.raises(ConfigError, match="speed"):
        Stage(recorded, speed)


def test_build_reads_the_replay_section(recorded: Path) -> None:
    config = Config.model_validate({"replay": {"path": str(recorded), "speed": "max"}})
    player = build(config, MemoryBus(MemoryBroker(), FakeClock()))
    assert not player.done
    with pytest.raises(SessionError, match=r"replay\.path"):
        build(Config(), MemoryBus(MemoryBroker(), FakeClock()))


def test_after_the_end_the_sockets_stay_until_the_player_is_closed(recorded: Path) -> None:
    stage = Stage(recorded, "max")
    stage.play()
    assert stage.player.turn() == 1_000_000
    assert stage.broker.owners
    stage.player.close()
    assert not stage.broker.owners


def test_messages_are_played_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    home = Home(tmp_path / "a.mcap")
    made = []
    for _ in range(5):
        made.append(home.publish_feature("audio"))
        home.clock.advance(1000)
        made.append(home.publish_state("video"))
        home.clock.advance(1000)
    shuffled = [made[i] for i in (1, 3, 0, 2, 4, 9, 8, 6, 5, 7)]
    assert [m.ref for _, m in in_order((home.clock.now_us(), m) for m in shuffled)] == [m.ref for m in made]


def test_wall_time_is_unchanged() -> None:
    bus = MemoryBus(MemoryBroker(), FakeClock())
    message = bus.publisher("clock", "supervisor").send(
        ClockReport(boot_id="b", offset_us=5_000, uncertainty_us=7), origin_us=100
    )
    header = json.loads(shifted(message, 1_000, "x")[1])
    assert header["offset_us"] + header["origin_us"] == 5_100
    assert header["uncertainty_us"] == 7
    assert header["boot"] != message.envelope.boot


def test_links_between_messages_move_with_them(recorded: Path) -> None:
    feature = next(m for m in read_all(recorded) if m.topic == "feature/audio")
    header = json.loads(shifted(feature, 1, "x")[1])
    assert header["raw_boot"] == header["boot"] != "sensors"  # both were "sensors"
    assert InputRef("feature/audio", header["source"], "sensors", header["seq"]) == feature.ref


@pytest.mark.parametrize("created", [0, 10**15, -(10**15)])
def test_impossible_creation_time_is_moved_to_the_recording_time(recorded: Path, created: int) -> None:
    recorded_messages = [(t, m) for t, m in Session(recorded).timed("state/audio")]
    envelope = msgspec.structs.replace(recorded_messages[2][1].envelope, created_us=created)
    strange = msgspec.structs.replace(recorded_messages[2][1], envelope=envelope)
    found = list(in_order([*recorded_messages[:2], (recorded_messages[2][0], strange), *recorded_messages[3:]]))
    at = next(t for t, m in found if m is strange)
    assert recorded_messages[2][0] - SLACK_US <= at <= recorded_messages[2][0]


class TestControls:
    """Pause, seek, range, loop and another speed, on a fake clock."""

    def test_pause_stops_playback_and_resume_continues_it(self, recorded: Path) -> None:
        stage = Stage(recorded)
        stage.play_for(1.0)
        before, position = len(stage.received), stage.player.position_us
        stage.player.pause()
        stage.play_for(30)
        assert len(stage.received) == before
        assert stage.player.position_us == position
        stage.player.resume()
        stage.play()
        assert len(stage.received) == len(Stage(recorded).play())
        at, message = stage.received[before]
        assert message.envelope.created_us == at, "messages after a pause are stamped as created now"

    @pytest.mark.parametrize("position", [0, 1_000_000, 2_500_000])
    def test_seek_continues_from_there_with_new_instance_ids(self, recorded: Path, position: int) -> None:
        stage = Stage(recorded)
        stage.play_for(2.0)
        old = {m.envelope.boot for _, m in stage.received}
        stage.received.clear()
        stage.player.seek(position)
        first = next(m for t, m in made(recorded) if t >= position)
        stage.play()
        assert stage.received[0][1].topic == first.topic
        assert len(stage.received) == sum(t >= position for t, _ in made(recorded))
        assert not old & {m.envelope.boot for _, m in stage.received}
        assert stage.listener.counters["old"] == stage.listener.counters["gap"] == 0

    def test_seek_is_limited_to_the_recording(self, recorded: Path) -> None:
        stage = Stage(recorded)
        stage.player.seek(-5_000_000)
        assert stage.player.position_us == 0
        stage.player.seek(10**12)
        stage.play()
        assert stage.player.done

    def test_a_range_is_played_and_nothing_else(self, recorded: Path) -> None:
        stage = Stage(recorded, start_us=1_000_000, end_us=2_000_000)
        received = stage.play()
        assert len(received) == sum(1_000_000 <= t < 2_000_000 for t, _ in made(recorded)) > 5
        assert stage.listener.counters["old"] == 0

    def test_a_loop_begins_again_until_it_is_stopped(self, recorded: Path) -> None:
        stage = Stage(recorded, start_us=1_000_000, end_us=2_000_000, loop=True)
        stage.play_for(4.6)
        once = sum(1_000_000 <= t < 2_000_000 for t, _ in made(recorded))
        assert len(stage.received) > 3 * once
        assert not stage.player.done
        assert stage.listener.counters["old"] == 0

    def test_loop_continues_after_a_seek_to_its_end(self, recorded: Path) -> None:
        stage = Stage(recorded, start_us=1_000_000, end_us=2_000_000, loop=True)
        stage.play_for(0.5)
        stage.player.seek(3_900_000)
        stage.received.clear()
        stage.play_for(1.5)
        assert stage.received
        assert not stage.player.done

    def test_an_empty_loop_ends(self, recorded: Path) -> None:
        stage = Stage(recorded, "max", start_us=3_900_000_000, loop=True)
        assert stage.player.turn() == 1_000_000
        assert stage.player.done

    def test_another_speed_changes_the_spacing_from_there_on(self, recorded: Path) -> None:
        stage = Stage(recorded)
        stage.play_for(1.5)
        stage.player.speed = 4.0
        left, now = 4_000_000 - stage.player.position_us, stage.clock.now_us()
        stage.play()
        assert abs(stage.received[-1][0] - now - left / 4) < 300_000
        stage.player.speed = "max"
        with pytest.raises(ConfigError, match="speed"):
            stage.player.speed = 0

    @pytest.mark.parametrize(("start", "end"), [(-1, None), (5, 5), (5, 4)])
    def test_empty_range_is_refused(self, recorded: Path, start: int, end: int | None) -> None:
        with pytest.raises(ConfigError, match=r"the range from .* is empty"):
            Stage(recorded, start_us=start, end_us=end)

    def test_an_erased_modality_is_played_as_absent(self, tmp_path: Path) -> None:
        store = KeyStore(tmp_path / "keys")
        home = Home(tmp_path / "a.mcap", seed=2, encrypt=True, keys=str(store.directory))
        for _ in range(40):
            home.step()
        opening = Session(home.finish()).opening
        assert opening is not None
        store.erase(opening.session, "audio")
        session = Session(home.path, store)
        bus = MemoryBus(MemoryBroker(), FakeClock())
        received: list[Message[Any]] = []
        player = Player(session, bus, "max", played=received.append, components=FAKE)
        while not player.done:
            bus.wait(player.turn())
        estimates = [m.body for m in received if m.topic == "emotion"]
        assert len(estimates) > 5
        assert not any("a" in e.combination.replace("none", "") for e in estimates)
        assert all(e.presence["audio"].state == "absent" for e in estimates)
        assert not any(m.topic == "feature/audio" for m in received)


def made(path: Path) -> list[tuple[int, Message[Any]]]:
    """All messages to be played, with their positions."""
    recorded_messages = list(in_order((t, m) for t, m in Session(path).timed() if m.topic in TOPICS))
    return [(t - recorded_messages[0][0], m) for t, m in recorded_messages]
