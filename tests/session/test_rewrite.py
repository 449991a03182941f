"""Recover, trim, unseal: make one recording from another, and verify it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.writer import Writer

from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import SessionError
from edge_mer.fusion.journal import REPEAT_OPENING
from edge_mer.session import mcap_scan
from edge_mer.session.completeness import JOIN_US
from edge_mer.session.keys import KeyStore
from edge_mer.session.reader import Session
from edge_mer.session.recorder import Recorder, build
from edge_mer.session.rewrite import recover, trim, unsealed
from edge_mer.session.verifier import IN_STEP_US, verify
from tests.session.stage import FAKE, Home, busy_run, read_all

CUTS = 200


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return busy_run(tmp_path_factory.mktemp("rewrite") / "a.mcap", seed=4)


def long_run(path: Path, steps: int = 400, **record: Any) -> Path:
    home = Home(path, seed=2, **record)
    for _ in range(steps):
        home.step()
    return home.finish()


class TestRecover:
    def test_every_whole_chunk_is_recovered_from_two_hundred_random_cuts(self, recorded: Path, tmp_path: Path) -> None:
        whole = recorded.read_bytes()
        layout = mcap_scan.walk(memoryview(whole))
        chunks = [(p.end, [e.data for e in mcap_scan.load(layout, memoryview(whole), p)]) for p in layout.chunks]
        verified = 0
        for number, end in enumerate(np.random.default_rng(0).integers(8, len(whole), CUTS)):
            cut, recovered = tmp_path / f"{number}.cut", tmp_path / f"{number}.mcap"
            cut.write_bytes(whole[:end])
            trailer, faults = recover(cut, recovered)
            again = Session(recovered)
            assert again.check() == []
            expected = [data for place, entries in chunks if place <= end for data in entries]
            assert [e.data for e in again.entries()] == expected
            assert faults
            report = verify(recovered, FAKE)
            assert report.equal == (trailer.unverifiable is None), report
            verified += report.equal
            cut.unlink()
            recovered.unlink()
        assert verified > CUTS // 2, "the part before a crash can mostly be verified"

    def test_a_damaged_chunk_is_named_and_the_rest_kept(self, recorded: Path, tmp_path: Path) -> None:
        data = bytearray(recorded.read_bytes())
        place = mcap_scan.walk(memoryview(bytes(data))).chunks[3]
        data[place.end - 30] ^= 1
        (tmp_path / "bad.mcap").write_bytes(data)
        _, faults = recover(tmp_path / "bad.mcap", tmp_path / "good.mcap")
        assert any(f.startswith("chunk 3 at byte") for f in faults)
        assert len(read_all(tmp_path / "good.mcap")) > 100

    def test_chunk_with_a_changed_byte_is_not_recovered(self, recorded: Path, tmp_path: Path) -> None:
        """In a cut file only the checksum of the chunk detects the change."""
        whole = recorded.read_bytes()
        place = mcap_scan.walk(memoryview(whole)).chunks[4]
        sane = {e.data for e in Session(recorded).entries()}
        for number, at in enumerate(np.random.default_rng(1).integers(place.start, place.end, 60)):
            data = bytearray(whole[: place.end + 500])
            data[at] ^= 4
            (tmp_path / f"{number}.cut").write_bytes(data)
            _, faults = recover(tmp_path / f"{number}.cut", tmp_path / f"{number}.mcap")
            assert {e.data for e in Session(tmp_path / f"{number}.mcap").entries()} <= sane
            assert len(faults) > 1, f"byte {at - place.start} of the chunk"

    def test_messages_are_recovered_after_a_damaged_opening(self, recorded: Path, tmp_path: Path) -> None:
        data = bytearray(recorded.read_bytes())
        at = data.index(b'"wall_offset_us"') if b'"wall_offset_us"' in data else data.index(b"wall_offset_us")
        data[at] ^= 1
        (tmp_path / "bad.mcap").write_bytes(data)
        trailer, _ = recover(tmp_path / "bad.mcap", tmp_path / "good.mcap")
        assert "its opening is lost" in str(trailer.unverifiable)
        assert len(read_all(tmp_path / "good.mcap")) == len(read_all(recorded))

    def test_existing_target_is_not_overwritten(self, recorded: Path, tmp_path: Path) -> None:
        (tmp_path / "b.mcap").write_text("mine")
        with pytest.raises(SessionError, match="is not overwritten"):
            recover(recorded, tmp_path / "b.mcap")
        assert (tmp_path / "b.mcap").read_text() == "mine"


class TestTrim:
    def test_trimmed_part_verifies_from_where_it_is_in_step(self, tmp_path: Path) -> None:
        path = long_run(tmp_path / "a.mcap")
        trailer = trim(path, tmp_path / "b.mcap", 10 * SECOND, 32 * SECOND)
        assert trailer.origin == "trimmed"
        assert trailer.unverifiable is None
        report = verify(tmp_path / "b.mcap", FAKE)
        assert (report.equal, report.reason) == (True, None)
        assert 0 < report.joining < 30
        assert report.entries - report.joining > 10
        recorded = {m.ref for m in Session(path).messages()}
        kept = [m.ref for m in Session(tmp_path / "b.mcap").messages()]
        assert set(kept) < recorded

    def test_a_part_of_a_part_and_a_part_with_the_beginning(self, tmp_path: Path) -> None:
        path = long_run(tmp_path / "a.mcap")
        trim(path, tmp_path / "b.mcap", 5 * SECOND, None)
        trim(tmp_path / "b.mcap", tmp_path / "c.mcap", 4 * SECOND, 30 * SECOND)
        assert verify(tmp_path / "c.mcap", FAKE).equal
        trim(path, tmp_path / "d.mcap", 0, 12 * SECOND)
        report = verify(tmp_path / "d.mcap", FAKE)
        assert (report.identical, report.joining) == (True, 0)

    def test_a_forged_result_in_a_part_is_found(self, tmp_path: Path) -> None:
        path = long_run(tmp_path / "a.mcap")
        trim(path, tmp_path / "b.mcap", 5 * SECOND, None)

        class Louder:
            def __getattr__(self, name: str) -> Any:
                return getattr(FAKE.fusion("fake@1"), name)

            def predict(self, *args: Any) -> Any:
                same = FAKE.fusion("fake@1").predict(*args)
                return type(same)(same.probabilities, 0.5, None)

        report = verify(tmp_path / "b.mcap", type(FAKE)(lambda name: Louder()))
        assert not report.equal

    def test_difference_after_coming_into_step_is_found(self, tmp_path: Path) -> None:
        path = long_run(tmp_path / "a.mcap", 900)
        trim(path, tmp_path / "b.mcap", 5 * SECOND, None)
        joined = Session(tmp_path / "b.mcap").opening
        assert joined is not None

        class LaterLouder:
            def __getattr__(self, name: str) -> Any:
                return getattr(FAKE.fusion("fake@1"), name)

            def predict(self, combination: Any, windows: Any) -> Any:
                same = FAKE.fusion("fake@1").predict(combination, windows)
                newest = max(w.newest_us for w in windows.values())
                is_late = newest > joined.opened_us + IN_STEP_US + 5 * SECOND
                return type(same)(same.probabilities, 0.5 if is_late else same.sentiment, None)

        report = verify(tmp_path / "b.mcap", type(FAKE)(lambda name: LaterLouder()))
        assert not report.equal
        assert " of fusion fusion1: result " in str(report.reason)

    def test_part_that_is_too_short_does_not_verify(self, tmp_path: Path) -> None:
        path = long_run(tmp_path / "a.mcap", 120)
        trim(path, tmp_path / "b.mcap", 5 * SECOND, 8 * SECOND)
        report = verify(tmp_path / "b.mcap", FAKE)
        assert not report.equal
        assert "too short to come into step" in str(report.reason)

    @pytest.mark.parametrize(("start", "end"), [(500, 600), (5, 5), (9, 3)])
    def test_an_empty_range_is_refused(self, recorded: Path, tmp_path: Path, start: int, end: int) -> None:
        with pytest.raises(SessionError, match=r"the range from .* is empty"):
            trim(recorded, tmp_path / "b.mcap", start * SECOND, end * SECOND)
        assert not (tmp_path / "b.mcap").exists()

    def test_sealed_parts_stay_sealed_with_the_same_key(self, tmp_path: Path) -> None:
        store = KeyStore(tmp_path / "keys")
        path = long_run(tmp_path / "a.mcap", encrypt=True, keys=str(store.directory))
        trim(path, tmp_path / "b.mcap", 5 * SECOND, None, store)
        assert verify(tmp_path / "b.mcap", FAKE, store).equal
        opening = Session(path).opening
        assert opening is not None
        store.erase(opening.session, "audio")
        assert Session(tmp_path / "b.mcap", store).unreadable == ("audio",)


def join(home: Home, path: Path) -> Recorder:
    config = Config.model_validate({"record": {"path": str(path), "min_free_mb": 0, "encrypt": False}})
    return build(config, home.bus("late"), name="late", joins=True)


class TestJoined:
    def test_a_recorder_that_joins_later_makes_a_verifiable_session(self, tmp_path: Path) -> None:
        home = Home(tmp_path / "a.mcap", seed=8)
        for _ in range(70):
            home.step()
        late = join(home, tmp_path / "b.mcap")
        for step in range(400):
            home.step()
            late.turn()
            if step == 200:
                home.mask("video")
        home.turn()
        late.close()
        assert late.trailer is not None
        assert late.trailer.unverifiable is None
        report = verify(tmp_path / "b.mcap", FAKE)
        assert (report.equal, report.reason) == (True, None)
        assert report.entries - report.joining == report.proven > 40
        assert 0 < report.proven_results < report.results

    def test_a_joined_recording_is_in_step_within_twenty_seconds(self, tmp_path: Path) -> None:
        """Its average alone would hold on to what was before the recording for longer, where nothing cuts it."""
        home = Home(tmp_path / "a.mcap", seed=8)
        home.steady = True
        for _ in range(70):
            home.step()
        late = join(home, tmp_path / "b.mcap")
        for _ in range(400):
            home.step(drop=0)
            late.turn()
        late.close()
        report = verify(tmp_path / "b.mcap", FAKE)
        hop_s = 0.5
        assert report.equal
        assert 0 < report.before < report.joining
        assert (report.joining - report.before) * hop_s + JOIN_US / SECOND <= 20

    def test_recorder_that_joins_long_after_fusion_started_gets_a_repeated_opening(self, tmp_path: Path) -> None:
        home = Home(tmp_path / "a.mcap", seed=8)
        for _ in range(REPEAT_OPENING):
            home.clock.advance(SECOND // 2)
            home.node.turn()
        home.node._journal._log = type(home.node._journal._log)(list(home.node._journal._log)[-100:], maxlen=100)
        for _ in range(5):
            home.step()
        late = join(home, tmp_path / "b.mcap")
        for _ in range(300):
            home.step()
            late.turn()
        late.close()
        assert min(m.body.entry for m in read_all(tmp_path / "b.mcap", "journal")) > 300
        report = verify(tmp_path / "b.mcap", FAKE)
        assert (report.equal, report.reason) == (True, None)

    def test_joined_session_with_a_lost_input_is_not_verifiable(self, tmp_path: Path) -> None:
        home = Home(tmp_path / "a.mcap", seed=8)
        late = join(home, tmp_path / "b.mcap")
        for step in range(100):
            if step == 60:
                home.publish_feature("audio")
                late._sensed._receive()
            home.step()
            late.turn()
        late.close()
        assert late.trailer is not None
        assert "were not recorded" in str(late.trailer.unverifiable)


def test_unsealed_copy_is_readable_without_keys_and_verifies(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    path = long_run(tmp_path / "a.mcap", 80, encrypt=True, keys=str(store.directory))
    trailer = unsealed(path, tmp_path / "b.mcap", store)
    source = Session(path).trailer
    assert source is not None
    assert trailer.digest == source.digest
    assert Session(tmp_path / "b.mcap").sealed == ()
    assert verify(tmp_path / "b.mcap", FAKE).identical


def test_index_at_the_end_equals_the_result_of_a_walk(recorded: Path) -> None:
    data = memoryview(recorded.read_bytes())
    indexed, walked = mcap_scan.index(data), mcap_scan.walk(data)
    assert indexed is not None
    assert (indexed.chunks, indexed.channels, indexed.metadata) == (walked.chunks, indexed.channels, walked.metadata)
    assert set(indexed.channels.values()) == {
        e.channel for place in walked.chunks for e in mcap_scan.load(walked, data, place)
    }


class TestFailures:
    def test_mcap_file_of_another_program_is_refused(self, tmp_path: Path) -> None:
        with (tmp_path / "ros.mcap").open("wb") as file:
            foreign = Writer(file, enable_data_crcs=True)
            foreign.start("ros2", "recorder")
            channel = foreign.register_channel("/camera", "cdr", foreign.register_schema("x", "ros2msg", b""))
            foreign.add_message(channel, 5, b"data", 5)
            foreign.finish()
        assert Session(tmp_path / "ros.mcap").topics == frozenset()
        for make in (lambda a, b: trim(a, b, 0, None), unsealed):
            with pytest.raises(SessionError, match="opening"):
                make(tmp_path / "ros.mcap", tmp_path / "b.mcap")
        assert not verify(tmp_path / "ros.mcap", FAKE).equal
        assert not (tmp_path / "b.mcap").exists()

    def test_full_disk_leaves_no_partial_file(
        self, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("edge_mer.session.writer.SessionWriter.flush", fail)
        with pytest.raises(SessionError, match="No space left"):
            recover(recorded, tmp_path / "b.mcap")
        assert not (tmp_path / "b.mcap").exists()
