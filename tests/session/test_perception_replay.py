"""Recorded raw media is encoded again: every feature is reproduced byte for byte, or the first difference named."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mer.config import Config
from edge_mer.contract.control import MaskPersons
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.messages import Message, Privacy
from edge_mer.contract.people import MaskedPeople
from edge_mer.session.reader import Session
from edge_mer.session.replay_components import ReplayComponents, installed
from edge_mer.session.verifier import Report, verify
from tests.session.golden import GOLDEN
from tests.session.stage import read_all, remade, rewrite
from tests.session.studio import Studio, film

Change = Callable[[list[Message[Any]]], Iterable[Message[Any]]]


@pytest.fixture(scope="module")
def components() -> ReplayComponents:
    return installed(Config())


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("film") / "a.mcap")


@pytest.fixture
def forge(filmed: Path, tmp_path: Path, components: ReplayComponents) -> Callable[[Change], Report]:
    return lambda change: verify(rewrite(filmed, tmp_path / "forged.mcap", change), components)


def test_every_feature_is_reproduced_over_masks_restarts_and_late_media(
    filmed: Path, components: ReplayComponents
) -> None:
    report = verify(filmed, components)
    assert (report.identical, report.reason) == (True, None)
    recorded = [m for modality in MODALITIES for m in read_all(filmed, f"feature/{modality}")]
    assert report.features == len(recorded) > 100
    assert report.features_unproven == 0
    assert any(m.body.raw_skipped for m in recorded), "no late media: the test scene proves nothing"
    assert sum(m.body.began for m in recorded) > len(MODALITIES)


def test_golden_session_results_are_unchanged(components: ReplayComponents) -> None:
    """For an intended change of results: python -m tests.session.golden, and give the reason in the commit."""
    report = verify(GOLDEN, components)
    assert report.reason is None
    assert report.equal
    assert report.identical or report.elsewhere, "on the runtime of the recording not one byte may differ"
    assert report.features > 100
    assert {m.body.combination for m in read_all(GOLDEN, "emotion")} >= {"t", "v", "tv", "atv"}


def test_changed_audio_is_found_in_the_feature_that_it_changes(forge: Callable[[Change], Report]) -> None:
    def louder(messages: list[Message[Any]]) -> Iterable[Message[Any]]:
        for m in messages:
            if m.topic == "raw/audio" and m.envelope.seq == 60:
                m = remade(Message(m.topic, m.envelope, m.body, (np.flip(m.payload[0]) // 2,), m.header))
            yield m

    report = forge(louder)
    assert not report.equal
    assert "feature/audio" in str(report.reason)
    assert "differs" in str(report.reason)
    assert any(d.field.startswith("values[") and d.recorded != d.replayed for d in report.differences)


def test_gap_in_the_raw_media_is_named(forge: Callable[[Change], Report]) -> None:
    report = forge(lambda messages: [m for m in messages if (m.topic, m.envelope.seq) != ("raw/video", 5)])
    assert not report.equal
    assert "raw/video 5 " in str(report.reason)
    assert "was not recorded" in str(report.reason)


def test_media_from_before_the_recording_leaves_features_unproven(forge: Callable[[Change], Report]) -> None:
    report = forge(lambda messages: [m for m in messages if m.topic != "raw/audio" or m.envelope.seq >= 30])
    assert report.equal
    assert report.features_unproven > 0
    assert report.features > 50


def test_pictures_that_a_mask_of_a_person_left_out_leave_features_unproven(
    tmp_path: Path, components: ReplayComponents
) -> None:
    studio = Studio(tmp_path / "a.mcap")
    privacy = studio.bus("privacy").publisher("privacy", "switch")

    def mask(*persons: str) -> None:
        epoch = 7 - len(persons)
        people = MaskedPeople(persons, boot="perception1", mask_epoch=epoch)
        privacy.send(Privacy(mask_epoch=epoch, modalities={}, people=people), origin_us=studio.clock.now_us())
        order = MaskPersons(mask_epoch=epoch, boot="perception1", persons=persons, everybody=False)
        for peer in studio.peers.values():
            studio.switch.send(peer, order)

    studio.run(3)
    mask("p1")
    studio.run(1)
    mask()
    studio.run(2)
    report = verify(studio.finish(), components)
    assert (report.identical, report.reason) == (True, None)
    recorded = read_all(studio.path, "feature/video")
    assert 0 < report.features_unproven < len(recorded)
    pictures = [m.envelope.seq for m in read_all(studio.path, "raw/video")]
    assert len(pictures) < pictures[-1] - pictures[0] + 1, "pictures were left out"


def test_feature_that_the_media_does_not_reproduce_is_found(forge: Callable[[Change], Report]) -> None:
    def shifted(messages: list[Message[Any]]) -> Iterable[Message[Any]]:
        for m in messages:
            if m.topic == "feature/text" and m.envelope.seq == 8:
                m = remade(m, raw_skipped=(type(m.body.raw_skipped)()), raw_last=m.body.raw_last - 1)
            yield m

    assert not forge(shifted).equal


def test_another_encoder_is_named(filmed: Path, components: ReplayComponents) -> None:
    class Other:
        def __init__(self, inner: Any) -> None:
            self.inner = inner
            self.spec = type(inner.spec)(
                **{
                    **{f: getattr(inner.spec, f) for f in ("name", "modality", "rate_hz", "dim", "latency_us")},
                    "model": "another",
                }
            )

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    assert components.encoder is not None
    encoder = components.encoder
    report = verify(
        filmed, ReplayComponents(components.fusion, lambda m, people: Other(encoder(m, people)), components.runtime)
    )
    assert "configured is edge-mer-audio/people-4 another" in str(report.reason)


def test_without_raw_media_only_fusion_is_verified(forge: Callable[[Change], Report]) -> None:
    report = forge(lambda messages: [m for m in messages if not m.topic.startswith("raw/")])
    assert report.identical
    assert report.features == 0


def test_raw_media_is_stored_byte_for_byte(filmed: Path) -> None:
    session = Session(filmed)
    assert {"raw/audio", "raw/video", "raw/text"} <= session.topics
    assert all(m.payload[0].tobytes()[:2] == b"\xff\xd8" for m in session.messages("raw/video"))
