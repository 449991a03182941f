"""Recover, trim, unseal: one recording out of another, and what of it can still be proven."""

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
from edge_mer.session import mcap_scan as blocks
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
    def test_two_hundred_random_cuts_give_every_whole_chunk(self, recorded: Path, tmp_path: Path) -> None:
        whole = recorded.read_bytes()
        layout = blocks.walk(memoryview(whole))
        chunks = [(p.end, [e.data for e in blocks.load(layout, memoryview(whole), p)]) for p in layout.chunks]
        verified = 0
        for number, end in enumerate(np.random.default_rng(0).integers(8, len(whole), CUTS)):
            cut, mended = tmp_path / f"{number}.cut", tmp_path / f"{number}.mcap"
            cut.write_bytes(whole[:end])
            trailer, faults = recover(cut, mended)
            again = Session(mended)
            assert again.check() == []
            expected = [data for place, entries in chunks if place <= end for data in entries]
            assert [e.data for e in again.entries()] == expected
            assert faults
            report = verify(mended, FAKE)
            assert report.equal == (trailer.unverifiable is None), report
            verified += report.equal
            cut.unlink()
            mended.unlink()
        assert verified > CUTS // 2, "what comes before a crash can mostly be proven"

    def test_a_damaged_chunk_is_named_and_the_rest_kept(self, recorded: Path, tmp_path: Path) -> None:
        data = bytearray(recorded.read_bytes())
        place = blocks.walk(memoryview(bytes(data))).chunks[3]
        data[place.end - 30] ^= 1
        (tmp_path / "bad.mcap").write_bytes(data)
        _, faults = recover(tmp_path / "bad.mcap", tmp_path / "good.mcap")
        assert any(f.startswith("chunk 3 at byte") for f in faults)
        assert len(read_all(tmp_path / "good.mcap")) > 100

    def test_no_changed_byte_comes_through(self, recorded: Path, tmp_path: Path) -> None:
        """In a cut file nothing but the chunk's own checksum can tell."""
        whole = recorded.read_bytes()
        place = blocks.walk(memoryview(whole)).chunks[4]
        sane = {e.data for e in Session(recorded).entries()}
        for number, at in enumerate(np.random.default_rng(1).integers(place.start, place.end, 60)):
            data = bytearray(whole[: place.end + 500])
            data[at] ^= 4
            (tmp_path / f"{number}.cut").write_bytes(data)
            _, faults = recover(tmp_path / f"{number}.cut", tmp_path / f"{number}.mcap")
            assert {e.data for e in Session(tmp_path / f"{number}.mcap").entries()} <= sane
            assert len(faults) > 1, f"byte {at - place.start} of the chunk"

    def test_a_damaged_opening_does_not_cost_the_rest(self, recorded: Path, tmp_path: Path) -> None:
        data = bytearray(recorded.read_bytes())
        at = data.index(b'"wall_offset_us"') if b'"wall_offset_us"' in data else data.index(b"wall_offset_us")
        data[at] ^= 1
        (tmp_path / "bad.mcap").write_bytes(data)
        trailer, _ = recover(tmp_path / "bad.mcap", tmp_path / "good.mcap")
        assert "its opening is lost" in str(trailer.unverifiable)
        assert len(read_all(tmp_path / "good.mcap")) == len(read_all(recorded))

    def test_nothing_is_overwritten(self, recorded: Path, tmp_path: Path) -> None:
        (tmp_path / "b.mcap").write_text("mine")
        with pytest.raises(SessionError, match="is not overwritten"):
            recover(recorded, tmp_path / "b.mcap")
        assert (tmp_path / "b.mcap").read_text() == "mine"


class TestTrim:
    def test_a_part_is_proven_from_where_it_is_in_step(self, tmp_path: Path) -> None:
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

    def test_once_in_step_a_difference_is_never_forgiven(self, tmp_path: Path) -> None:
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

    def test_too_short_a_part_proves_nothing(self, tmp_path: Path) -> None:
        path = long_run(tmp_path / "a.mcap", 120)
        trim(path, tmp_path / "b.mcap", 5 * SECOND, 8 * SECOND)
        report = verify(tmp_path / "b.mcap", FAKE)
        assert not report.equal
        assert "too short to come into step" in str(report.reason)

    @pytest.mark.parametrize(("start", "end"), [(500, 600), (5, 5), (9, 3)])
    def test_an_empty_range_is_refused(self, recorded: Path, tmp_path: Path, start: int, end: int) -> None:
        with pytest.raises(SessionError, match="nothing lies between"):
            trim(recorded, tmp_path / "b.mcap", start * SECOND, end * SECOND)
        assert not (tmp_path / "b.mcap").exists()

    def test_sealed_parts_stay_sealed_with_the_same_key(self, tmp_path: Path) -> None:
        store = KeyStore(tmp_path / "keys")
        path = long_run(tmp_path / "a.mcap", encrypt=True, keys=str(store.directory))
        trim(path, tmp_path / "b.mcap", 5 * SECOND, None, store)
        assert verify(tmp_path / "b.mcap", FAKE, store).equal
        told = Session(path).opening
        assert told is not None
        store.erase(told.session, "audio")
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
        assert report.entries - report.joining > 40

    def test_also_long_after_fusion_began_because_the_opening_is_repeated(self, tmp_path: Path) -> None:
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

    def test_one_that_lost_an_input_on_the_way_is_not(self, tmp_path: Path) -> None:
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


def test_an_unsealed_copy_can_be_read_without_keys_and_proves_the_same(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    path = long_run(tmp_path / "a.mcap", 80, encrypt=True, keys=str(store.directory))
    trailer = unsealed(path, tmp_path / "b.mcap", store)
    source = Session(path).trailer
    assert source is not None
    assert trailer.digest == source.digest
    assert Session(tmp_path / "b.mcap").sealed == ()
    assert verify(tmp_path / "b.mcap", FAKE).identical


def test_the_index_at_the_end_says_what_a_walk_finds(recorded: Path) -> None:
    data = memoryview(recorded.read_bytes())
    indexed, walked = blocks.index(data), blocks.walk(data)
    assert indexed is not None
    assert (indexed.chunks, indexed.channels, indexed.metadata) == (walked.chunks, indexed.channels, walked.metadata)
    assert set(indexed.channels.values()) == {
        e.channel for place in walked.chunks for e in blocks.load(walked, data, place)
    }


class TestTrouble:
    def test_a_foreign_mcap_file_is_refused_in_words(self, tmp_path: Path) -> None:
        with (tmp_path / "ros.mcap").open("wb") as file:
            foreign = Writer(file, enable_data_crcs=True)
            foreign.start("ros2", "somebody")
            channel = foreign.register_channel("/camera", "cdr", foreign.register_schema("x", "ros2msg", b""))
            foreign.add_message(channel, 5, b"data", 5)
            foreign.finish()
        assert Session(tmp_path / "ros.mcap").topics == frozenset()
        for make in (lambda a, b: trim(a, b, 0, None), unsealed):
            with pytest.raises(SessionError, match="opening"):
                make(tmp_path / "ros.mcap", tmp_path / "b.mcap")
        assert not verify(tmp_path / "ros.mcap", FAKE).equal
        assert not (tmp_path / "b.mcap").exists()

    def test_a_full_disk_leaves_nothing_behind(
        self, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("edge_mer.session.writer.SessionWriter.flush", fail)
        with pytest.raises(SessionError, match="No space left"):
            recover(recorded, tmp_path / "b.mcap")
        assert not (tmp_path / "b.mcap").exists()
