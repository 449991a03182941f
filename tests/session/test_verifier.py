"""``replay --verify``: succeeds only if every result is reproduced byte for byte, and names differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mer.config import Config
from edge_mer.contract.messages import Message, digest, result_bytes
from edge_mer.fusion.model import FusionModel, Prediction
from edge_mer.session.compare import array_difference, beyond, differences
from edge_mer.session.reader import Session
from edge_mer.session.replay_components import ReplayComponents, installed
from edge_mer.session.verifier import verify
from tests.session.stage import FAKE, FakeModel, Home, read_all, record_run, remade, rewrite

Change = Callable[[list[Message[Any]]], Iterable[Message[Any]]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_run(tmp_path_factory.mktemp("verify") / "a.mcap", seed=3)


@pytest.fixture
def forge(recorded: Path, tmp_path: Path) -> Callable[[Change], Any]:
    return lambda change: verify(rewrite(recorded, tmp_path / "forged.mcap", change), FAKE)


@given(
    seed=st.integers(0, 2**32),
    script=st.lists(st.sampled_from(["mask", "restart", "late", "flood", "gone"]), max_size=6),
)
@settings(max_examples=25, deadline=None)
def test_every_run_verifies_with_any_events(
    tmp_path_factory: pytest.TempPathFactory, seed: int, script: list[str]
) -> None:
    home = Home(tmp_path_factory.mktemp("run") / "a.mcap", seed)
    modalities = ("audio", "video", "text")
    for number, event in enumerate(["", *script]):
        modality = modalities[(seed + number) % 3]
        if event == "mask":
            home.mask(modality)
            home.turn()
            home.publish_state(modality, "masked")
        elif event == "restart":
            home.restart_fusion()
        elif event == "late":
            home.clock.advance(700_000)
        elif event == "flood":
            for _ in range(40):
                home.publish_feature(modality)
        elif event == "gone":
            home.publish_state(modality, health="absent")
        for _ in range(12):
            home.step()
    report = verify(home.finish(), FAKE)
    assert (report.identical, report.reason) == (True, None)
    assert report.results >= report.estimates > 0
    assert report.entries > 1
    assert report.unproven == 0


def test_an_untouched_copy_verifies(forge: Callable[[Change], Any]) -> None:
    assert forge(lambda messages: messages).identical


def test_two_swapped_journal_entries_fail(forge: Callable[[Change], Any]) -> None:
    def swap(messages: list[Message[Any]]) -> list[Message[Any]]:
        a, b = [i for i, m in enumerate(messages) if m.topic == "journal"][2:4]
        messages[a], messages[b] = messages[b], messages[a]
        return messages

    report = forge(swap)
    assert not report.identical
    assert "entry" in report.reason
    assert "fusion" in report.reason


def test_two_swapped_instances_of_the_fusion_node_fail(forge: Callable[[Change], Any]) -> None:
    def swap(messages: list[Message[Any]]) -> list[Message[Any]]:
        journal = [m for m in messages if m.topic == "journal"]
        boots = list(dict.fromkeys(m.envelope.boot for m in journal))
        assert len(boots) == 2
        rest = [m for m in messages if m.topic != "journal"]
        return rest + [m for boot in reversed(boots) for m in journal if m.envelope.boot == boot]

    assert "is older than the one before it" in forge(swap).reason


def test_swapped_inputs_in_an_entry_fail(forge: Callable[[Change], Any]) -> None:
    def swap(messages: list[Message[Any]]) -> Iterable[Message[Any]]:
        done = False
        for m in messages:
            if m.topic == "journal" and len(m.body.inputs) > 3 and not done:
                done = True
                m = remade(m, inputs=m.body.inputs[::-1])
            yield m

    assert not forge(swap).identical


def test_a_missing_input_is_named(forge: Callable[[Change], Any]) -> None:
    def drop(messages: list[Message[Any]]) -> list[Message[Any]]:
        return [m for m in messages if not (m.topic == "feature/video" and m.envelope.seq == 7)]

    report = forge(drop)
    assert not report.identical
    assert "feature/video" in report.reason
    assert "7" in report.reason


def test_a_missing_beginning_is_named(forge: Callable[[Change], Any]) -> None:
    def drop(messages: list[Message[Any]]) -> list[Message[Any]]:
        return [m for m in messages if not (m.topic == "journal" and m.body.entry < 3)]

    assert "its opening" in forge(drop).reason


def test_duplicate_input_is_found(forge: Callable[[Change], Any]) -> None:
    def double(messages: list[Message[Any]]) -> list[Message[Any]]:
        first = next(m for m in messages if m.topic == "feature/audio")
        return [*messages, first]

    assert "occurs twice" in forge(double).reason


def test_changed_features_are_reported_field_by_field(forge: Callable[[Change], Any]) -> None:
    def louder(messages: list[Message[Any]]) -> Iterable[Message[Any]]:
        for m in messages:
            if m.topic == "feature/audio":
                values = m.payload[0] * 2
                m = remade(Message(m.topic, m.envelope, m.body, (values, *m.payload[1:]), m.header))
            yield m

    report = forge(louder)
    assert not report.identical
    assert "differs" in report.reason
    changed = {d.field for d in report.differences}
    assert "probabilities.happy" in changed or "sentiment" in changed
    assert all(d.recorded != d.replayed for d in report.differences)
    assert "model" not in changed
    assert "origin_us" not in changed


@pytest.mark.parametrize("field", ["sentiment", "mask_epoch", "confidence"])
def test_a_changed_recorded_estimate_is_reported_with_its_field(forge: Callable[[Change], Any], field: str) -> None:
    def change(messages: list[Message[Any]]) -> Iterable[Message[Any]]:
        chosen = [m for m in messages if m.topic == "emotion"][8]
        for m in messages:
            if m is chosen:
                m = remade(m, **{field: 9})
            yield m

    report = forge(change)
    assert not report.identical
    assert "is in no journal entry" in report.reason
    assert [d.field for d in report.differences] == [field]
    assert report.differences[0].recorded == 9


def test_delivery_fields_may_differ(forge: Callable[[Change], Any]) -> None:
    def elsewhere(messages: list[Message[Any]]) -> Iterable[Message[Any]]:
        for m in messages:
            yield remade(m, runtime="another host") if m.topic == "emotion" else m

    assert forge(elsewhere).identical


def test_a_missing_end_of_the_journal_is_found(forge: Callable[[Change], Any]) -> None:
    def shorter(messages: list[Message[Any]]) -> list[Message[Any]]:
        gone = [m for m in messages if m.topic == "journal"][-3:]
        return [m for m in messages if m not in gone]

    assert "the end of its journal is missing" in forge(shorter).reason


def test_another_model_does_not_verify(recorded: Path) -> None:
    class Other(FakeModel):
        def predict(self, *args: Any) -> Prediction:
            same = super().predict(*args)
            return Prediction(same.probabilities, -(same.sentiment or 0.0), same.sentiment_reason)

    def load(name: str) -> FusionModel:
        return Other()

    report = verify(recorded, ReplayComponents(load))
    assert not report.identical
    assert [d.field for d in report.differences] == ["sentiment", "valence"], "half of valence is sentiment"


def test_missing_model_is_reported(recorded: Path) -> None:
    report = verify(recorded, installed(Config.model_validate({"models": {"directory": "/nowhere"}})))
    assert not report.identical
    assert "/nowhere" in report.reason


def test_unfinished_recording_does_not_verify(tmp_path: Path) -> None:
    home = Home(tmp_path / "a.mcap")
    for _ in range(30):
        home.step()
    report = verify(home.path, FAKE)
    assert not report.identical
    assert report.reason


def test_session_marked_unverifiable_by_the_recorder_is_not_verified(tmp_path: Path) -> None:
    home = Home(tmp_path / "a.mcap")
    home.publish_feature("audio")
    home.recorder._sensed._receive()
    for _ in range(10):
        home.step()
    assert "unverifiable: 1 inputs" in str(verify(home.finish(), FAKE).reason)


def test_estimates_just_before_a_crash_are_counted_as_unproven(tmp_path: Path) -> None:
    home = Home(tmp_path / "a.mcap")
    for _ in range(20):
        home.step()
    home.clock.advance(500_000)
    home.node.turn()
    for inbox in home.broker.clients.values():
        inbox.clear()
    home.fusion_bus.close()
    report = verify(record_end(home), FAKE)
    assert report.identical
    assert report.unproven > 0


def record_end(home: Home) -> Path:
    home.recorder.turn()
    home.recorder.close()
    return home.path


def test_the_trailer_digest_is_that_of_the_results(recorded: Path) -> None:
    results = [r for m in read_all(recorded, "journal") for r in m.body.results]
    trailer = Session(recorded).trailer
    assert trailer is not None
    assert trailer.digest == digest("\n".join(results).encode())
    assert {digest(result_bytes(m)) for m in read_all(recorded, "emotion")} <= set(results)


def test_differences_are_named_by_their_path() -> None:
    found = differences({"a": {"b": 1, "c": 0.5}, "d": None}, {"a": {"b": 1, "c": 0.25}, "e": 1})
    assert [msgspec.to_builtins(d) for d in found] == [
        {"field": "a.c", "recorded": 0.5, "replayed": 0.25},
        {"field": "d", "recorded": None, "replayed": "(no such field)"},
        {"field": "e", "recorded": "(no such field)", "replayed": 1},
    ]


class TestElsewhere:
    """On another backend, version or processor: compared within the tolerance, which is reported."""

    @staticmethod
    def off_by(much: float, runtime: dict[str, str]) -> ReplayComponents:
        class Other(FakeModel):
            def predict(self, *args: Any) -> Prediction:
                same = super().predict(*args)
                probabilities = list(same.probabilities)
                probabilities[0] += much
                probabilities[1] -= much
                return Prediction(tuple(probabilities), (same.sentiment or 0.0) + much, same.sentiment_reason)

        return ReplayComponents(lambda name: Other(), None, runtime)

    def test_small_differences_are_equal_but_never_called_identical(self, recorded: Path) -> None:
        report = verify(recorded, self.off_by(1e-5, {"backend": "tensorrt"}))
        assert (report.equal, report.identical, report.reason) == (True, False, None)
        assert report.elsewhere == {"backend": ("test", "tensorrt")}
        assert report.tolerance == 1e-3
        assert 0 < report.largest <= 1e-4

    def test_large_differences_are_not_equal(self, recorded: Path) -> None:
        report = verify(recorded, self.off_by(0.05, {"backend": "tensorrt"}))
        assert not report.equal
        assert "differs" in str(report.reason)

    def test_on_the_runtime_of_the_recording_not_one_byte_may_differ(self, recorded: Path) -> None:
        report = verify(recorded, self.off_by(1e-9, {"backend": "test"}))
        assert (report.equal, report.tolerance, report.elsewhere) == (False, 0.0, {})

    def test_another_model_name_is_a_difference(self, recorded: Path) -> None:
        class Renamed(FakeModel):
            name = "fake@2"

        report = verify(recorded, ReplayComponents(lambda name: Renamed()))
        assert not report.equal
        assert [d.field for d in report.differences] == ["model"]

    def test_tolerance_can_be_set_or_disabled(self, recorded: Path) -> None:
        assert verify(recorded, self.off_by(1e-5, {"backend": "test"}), tolerance=1e-3).equal
        assert not verify(recorded, self.off_by(1e-5, {"backend": "tensorrt"}), tolerance=0.0).equal

    def test_the_same_bytes_elsewhere_are_identical(self, recorded: Path) -> None:
        report = verify(recorded, ReplayComponents(FAKE.fusion, None, {"backend": "tensorrt"}))
        assert report.identical
        assert report.elsewhere

    def test_tolerance_applies_to_numbers_only(self) -> None:
        found = differences({"combination": "at", "n": 1, "b": True}, {"combination": "a", "n": 1.0001, "b": False})
        assert [d.field for d in beyond(found, 0.01)] == ["combination", "b"]

    def test_arrays_name_their_worst_element(self) -> None:
        a = np.zeros((3, 4), np.float32)
        b = a.copy()
        b[2, 1] = 0.5
        (found,) = array_difference("values", a, b)
        assert (found.field, found.recorded, found.replayed) == ("values[2, 1]", 0.0, 0.5)
        (found,) = array_difference("values", a, b[:2])
        assert found.replayed == "float32 [2, 4]"


def test_trailer_describes_the_runtime_of_the_recording(recorded: Path) -> None:
    session = Session(recorded)
    assert session.trailer is not None
    assert session.opening is not None
    assert session.trailer.models["fusion"] == FakeModel.name
    assert set(session.trailer.threads) >= {"OMP_NUM_THREADS", "inference"}
    assert len(session.trailer.config) == len(session.trailer.runtime) == 32
    assert session.opening.host["cpu"]
