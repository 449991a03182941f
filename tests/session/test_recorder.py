"""The recorder: records permitted messages, never masked ones, and reports when it has to stop."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_mer.config import Config
from edge_mer.contract import wire
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import SessionError
from edge_mer.contract.messages import Envelope, InputRef, Message, Privacy, PrivacyState, RawAudio, RawVideo
from edge_mer.privacy.consent.consent_file import ConsentScope
from edge_mer.privacy.consent_setup import agree
from edge_mer.session.completeness import Completeness, Sequences
from edge_mer.session.reader import Session
from edge_mer.session.recorder import SKIPS, build
from tests.session.stage import Home, frames_of, read_all, remade
from tests.session.studio import Studio
from tests.switch_bench import TODAY, SwitchBench

RAW = RawAudio(rate=16_000, sample_index=0, overflows=0, mask_epoch=1)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "a.mcap")


def trailer_of(home: Home) -> Any:
    trailer = Session(home.finish()).trailer
    assert trailer is not None
    return trailer


def test_published_messages_are_recorded_byte_for_byte(home: Home) -> None:
    sent = [home.publish_feature("audio"), home.publish_state("video"), home.publish_feature("text")]
    for _ in range(10):
        home.step()
    recorded = read_all(home.finish())
    kept = {m.ref: frames_of(m) for m in recorded}
    assert [kept.get(m.ref) for m in sent] == [frames_of(m) for m in sent]
    assert {m.topic for m in recorded} >= {"feature/audio", "state/video", "feature/text", "journal", "emotion"}


def test_opening_describes_the_runtime_and_trailer_the_content(home: Home) -> None:
    for _ in range(20):
        home.step()
    session = Session(home.finish())
    assert session.finished
    assert session.opening is not None
    assert session.trailer is not None
    assert session.opening.boot_id
    assert session.opening.versions["mcap"]
    assert session.opening.wall_offset_us == home.clock.wall_us() - home.clock.now_us()
    assert session.opening.config["fusion"]["window_s"] == 4.0
    assert "OMP_NUM_THREADS" in session.opening.threads
    assert session.trailer.unverifiable is None
    assert session.trailer.entries == session.trailer.messages["journal"] == len(read_all(home.path, "journal"))
    assert session.trailer.results == sum(len(m.body.results) for m in read_all(home.path, "journal"))
    assert session.trailer.models["feature/audio"] == "fake fake audio"


def test_camera_credentials_are_not_recorded(tmp_path: Path) -> None:
    home = Home(tmp_path / "a.mcap")
    config = Config.model_validate(
        {
            "record": {"path": str(tmp_path / "b.mcap"), "min_free_mb": 0},
            "video": {"device": "rtsp://me:s3cret@camera/stream?user=me&pwd=s3cret"},
        }
    )
    build(config, home.bus("other")).close()
    opening = Session(tmp_path / "b.mcap").opening
    assert opening is not None
    assert opening.config["video"]["device"] == "rtsp://camera"
    assert b"s3cret" not in (tmp_path / "b.mcap").read_bytes()


@pytest.mark.parametrize(
    ("raw", "consent", "kept"), [(False, ("audio",), 0), (True, ("audio",), 1), (True, ("video",), 0)]
)
def test_raw_media_needs_the_setting_and_the_consent(
    tmp_path: Path, raw: bool, consent: tuple[ConsentScope, ...], kept: int
) -> None:
    home = Home(tmp_path / "a.mcap")
    agree(str(tmp_path / "state"), consent, "Anna", TODAY)
    config = {
        "record": {"path": str(tmp_path / "b.mcap"), "min_free_mb": 0, "raw": raw, "encrypt": False},
        "privacy": {"state": str(tmp_path / "state")},
    }
    recorder = build(Config.model_validate(config), home.bus("other"))
    home.bus("microphone").publisher("raw/audio", "microphone").send(RAW, [np.zeros(512, np.int16)], origin_us=1)
    recorder.turn()
    recorder.close()
    assert len(read_all(tmp_path / "b.mcap", "raw/audio")) == kept


def test_no_picture_is_recorded_while_a_person_is_masked(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    record = {"path": str(tmp_path / "a.mcap"), "min_free_mb": 0, "raw": True, "encrypt": False}
    bench = SwitchBench(tmp_path / "state", record=record)
    camera, microphone = bench.bus("camera"), bench.bus("microphone")
    pictures, sound = camera.publisher("raw/video", "camera"), microphone.publisher("raw/audio", "microphone")
    recorder = build(bench.config, bench.bus("recorder"))

    def step(frame: int) -> None:
        picture = RawVideo(frame=frame, width=2, height=2, mask_epoch=10)
        pictures.send(picture, [np.zeros(4, np.uint8)], origin_us=bench.clock.now_us())
        sound.send(
            msgspec.structs.replace(RAW, mask_epoch=10), [np.zeros(512, np.int16)], origin_us=bench.clock.now_us()
        )
        bench.run(100_000, recorder)

    step(1)
    bench.ask("mask", persons=("all",))
    bench.turn(recorder)
    assert bench.answers()[0].ok
    assert SKIPS in recorder.notes
    step(2)
    under_way = wire.encode(
        "raw/video",
        Envelope(
            schema="edge_mer.raw.video/1",
            source="camera",
            boot=camera.boot,
            seq=pictures.seq,
            origin_us=bench.clock.now_us(),
            created_us=bench.clock.now_us(),
            payload=wire.specs_of([np.zeros(4, np.uint8)]),
        ),
        RawVideo(frame=9, width=2, height=2, mask_epoch=10),
        [np.zeros(4, np.uint8)],
    )
    pictures.seq += 1
    bench.clock.advance(1)
    bench.ask("unmask", persons=("all",))
    bench.turn(recorder)
    assert SKIPS not in recorder.notes
    pictures.forward(under_way)
    step(3)
    recorder.close()
    assert [m.body.frame for m in read_all(tmp_path / "a.mcap", "raw/video")] == [1, 3]
    assert len(read_all(tmp_path / "a.mcap", "raw/audio")) == 3


def test_an_existing_file_is_never_overwritten(home: Home) -> None:
    home.finish()
    before = home.path.read_bytes()
    with pytest.raises(SessionError, match=r"a\.mcap exists and is not overwritten"):
        build(home.config, home.bus("second"))
    assert home.path.read_bytes() == before
    home.path.write_text("my diary")
    with pytest.raises(SessionError, match="exists"):
        build(home.config, home.bus("third"))
    assert home.path.read_text() == "my diary"


def test_after_kill_9_the_next_recorder_continues_in_the_next_file(home: Home) -> None:
    home.step()
    home.bus("recorder").close()
    again = build(home.config, home.bus("recorder2"))
    again.close()
    assert Session(home.path.with_name("a.2.mcap")).finished


def test_missing_record_path_is_an_error_that_names_the_setting(home: Home) -> None:
    with pytest.raises(SessionError, match=r"record\.path"):
        build(Config(), home.bus("x"))
    with pytest.raises(SessionError, match="/nowhere is not a folder"):
        build(Config.model_validate({"record": {"path": "/nowhere/a.mcap", "min_free_mb": 0}}), home.bus("y"))


def test_a_crash_loses_at_most_the_last_second(home: Home) -> None:
    for _ in range(50):
        home.step()
        on_disk = Session(home.path)
        newest = max((m.envelope.created_us for m in on_disk.messages()), default=home.clock.now_us() - SECOND)
        assert home.clock.now_us() - newest <= SECOND + 100_000
        assert not on_disk.finished


class TestMask:
    def test_nothing_from_below_the_mask_epoch_is_written_after_the_purge_was_acknowledged(self, home: Home) -> None:
        home.step(drop=0)
        epoch = home.mask("audio")
        home.turn()
        assert ("recorder", "audio", epoch) in home.purged
        late = [home.publish_feature("audio", epoch=epoch - 1) for _ in range(5)]
        kept = home.publish_feature("video")
        home.turn()
        recorded = {m.ref for m in read_all(home.finish())}
        assert kept.ref in recorded
        assert not recorded & {m.ref for m in late}
        assert home.recorder.counters["masked"] == 5

    def test_after_the_acknowledgement_nothing_older_is_held_in_memory(self, home: Home) -> None:
        before = home.publish_feature("audio")
        home.turn()
        home.mask("audio")
        home.turn()
        on_disk = {m.ref for m in Session(home.path).messages("feature/audio")}
        assert before.ref in on_disk

    def test_state_of_a_masked_gate_is_recorded(self, home: Home) -> None:
        home.turn()
        epoch = home.mask("audio")
        home.turn()
        state = home.publish_state("audio", "masked", epoch=epoch - 1)
        home.turn()
        assert state.ref in {m.ref for m in read_all(home.finish())}

    def test_privacy_topic_masks_when_no_purge_arrives(self, home: Home) -> None:
        state = PrivacyState(
            requested="masked", effective="masked", since_us=0, mask_epoch=9, last_seq=None, reason=None
        )
        privacy = home.bus("switch2").publisher("privacy", "switch")
        privacy.send(Privacy(mask_epoch=9, modalities={"audio": state}), origin_us=0)
        home.recorder.turn()
        late = home.publish_feature("audio", epoch=8)
        home.recorder.turn()
        assert late.ref not in {m.ref for m in read_all(home.finish())}

    def test_an_unmasked_sensor_is_recorded_again(self, home: Home) -> None:
        home.turn()
        home.mask("audio")
        home.turn()
        fresh = home.publish_feature("audio")
        home.turn()
        assert fresh.ref in {m.ref for m in read_all(home.finish())}

    def test_no_raw_media_from_before_a_mask_is_written_after_it(self, tmp_path: Path) -> None:
        studio = Studio(tmp_path / "a.mcap")
        studio.run(1)
        before = studio.epochs["video"]
        studio.mask("video")
        studio.turn()
        before_mask = len(list(Session(studio.path).messages("raw/video")))
        studio.epochs["video"] = before  # a gate that has not received the mask yet
        studio.run(1)
        assert len(read_all(studio.finish(), "raw/video")) == before_mask > 3
        assert read_all(studio.path, "raw/audio")[-1].envelope.created_us > studio.clock.now_us() - 100_000


class TestFailures:
    def test_full_disk_stops_only_the_recording_with_an_error(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        home = Home(tmp_path / "a.mcap")
        room = [10**9]
        home.config = Config.model_validate({"record": {"path": str(tmp_path / "b.mcap"), "min_free_mb": 100}})
        home.recorder = build(home.config, home.bus("other"), free=lambda folder: room[0])
        for _ in range(15):
            home.step()
        room[0] = 99 * 10**6
        with caplog.at_level(logging.ERROR):
            for _ in range(25):
                home.step()
        assert "recording stopped, the application continues" in caplog.text
        assert "99 MB free" in caplog.text
        assert home.recorder.counters["stopped"] == 1
        assert home.recorder.counters["unrecorded"] > 0
        home.recorder.close()
        session = Session(tmp_path / "b.mcap")
        assert session.finished
        assert session.trailer is not None
        assert "stopped early" in str(session.trailer.unverifiable)
        epoch = home.mask("audio")
        home.turn()
        assert ("recorder", "audio", epoch) in home.purged

    def test_too_little_space_at_the_start_is_an_error(self, home: Home) -> None:
        config = Config.model_validate({"record": {"path": str(home.path.with_name("b.mcap")), "min_free_mb": 100}})
        with pytest.raises(SessionError, match=r"record\.min_free_mb"):
            build(config, home.bus("other"), free=lambda folder: 0)

    def test_a_write_error_stops_the_recording_and_leaves_the_whole_chunks(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home = Home(tmp_path / "a.mcap")
        for _ in range(25):
            home.step()
        whole = list(Session(home.path).messages())

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("edge_mer.session.writer.SessionWriter.flush", fail)
        for _ in range(15):
            home.step()
        assert home.recorder.counters["stopped"] == 1
        home.recorder.close()
        recovered = list(Session(home.path).messages())
        assert [m.ref for m in recovered][: len(whole)] == [m.ref for m in whole] != []

    def test_a_lost_journal_entry_makes_the_session_unverifiable(self, home: Home) -> None:
        for step in range(80):
            home.step()
            if step == 14:
                home.clock.advance(SECOND // 2)
                home.node.turn()
                for inbox in home.broker.clients.values():
                    inbox.clear()
                home.node._journal._log.clear()  # as for a reader that is more than 2,000 entries behind
        assert "follows a gap: expected entry 3" in trailer_of(home).unverifiable

    def test_an_input_that_was_not_recorded_makes_the_session_unverifiable(self, home: Home) -> None:
        lost = home.publish_feature("audio")
        home.recorder._sensed._receive()
        for _ in range(10):
            home.step()
        assert f"first feature/audio {lost.envelope.seq} " in trailer_of(home).unverifiable

    def test_recorder_that_joins_late_reports_the_missing_beginning(self, home: Home) -> None:
        for _ in range(10):
            home.step()
        home.config = Config.model_validate({"record": {"path": str(home.path.with_name("b.mcap")), "min_free_mb": 0}})
        home.recorder, home.path = build(home.config, home.bus("late")), home.path.with_name("b.mcap")
        for _ in range(10):
            home.step()
        assert "were not recorded" in trailer_of(home).unverifiable

    def test_bad_messages_are_counted_and_not_recorded(self, home: Home) -> None:
        home.broker.inject("feature/audio", [b"feature/audio", b"{}"])
        home.broker.inject("emotion", [b"emotion", b"\xff"])
        home.turn()
        assert home.recorder.counters["bad"] == 2
        assert Session(home.finish()).check() == []


class TestCompleteness:
    def test_sequences_are_ranges_with_holes(self) -> None:
        seen = Sequences()
        for seq in (3, 4, 5, 9, 7, 7):
            seen.add(seq)
        assert [n for n in range(12) if n in seen] == [3, 4, 5, 7, 9]

    def test_input_that_arrives_after_its_entry_is_not_missing(self, home: Home) -> None:
        message = home.publish_feature("audio")
        completeness = Completeness()
        completeness.entry(self.entry(home, message.ref))
        completeness.recorded(message.ref)
        completeness.close()
        assert completeness.unverifiable is None

    def test_without_any_journal_nothing_is_verifiable(self) -> None:
        completeness = Completeness()
        completeness.close()
        assert "no journal" in str(completeness.unverifiable)

    @staticmethod
    def entry(home: Home, *inputs: InputRef) -> Message[Any]:
        home.turn()
        return remade(read_all(home.finish(), "journal")[0], inputs=inputs)
