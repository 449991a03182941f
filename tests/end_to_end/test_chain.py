"""The whole chain on the bundled session, in memory on a fake clock: file, gates, encoders, fusion, journal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge_mer.bench.in_memory import InMemoryChain
from edge_mer.bus import MemoryBroker, ReliableReader
from edge_mer.config import Config
from edge_mer.contract.domain import Modality
from edge_mer.contract.messages import Journal, Message, digest, result_bytes
from edge_mer.demo.config import SESSION, WORDS
from edge_mer.fusion.node import TOPICS
from edge_mer.fusion.replay import replay


class Chain(InMemoryChain):
    """The chain on the session. ``tamper`` may change the frames of any message in transit."""

    def __init__(self, state: Path, tamper: Callable[[str, list[bytes]], list[bytes]] | None = None) -> None:
        state.mkdir(mode=0o700, exist_ok=True)
        broker = MemoryBroker()
        if tamper is not None:
            deliver = broker.inject
            broker.inject = lambda topic, frames: deliver(topic, tamper(topic, frames))  # type: ignore[method-assign]
        config = {
            "audio": {"source": "file"},
            "video": {"source": "file", "live": False},
            "text": {"source": "recorded", "path": str(WORDS)},
            "file": {"path": str(SESSION), "loop": True},
            "privacy": {"state": str(state)},
        }
        super().__init__(Config.model_validate(config), broker)
        reader_bus = self.bus()
        self._published, self._inputs = reader_bus.reader("emotion", "person", "people"), reader_bus.reader(*TOPICS)
        self.published: list[Message[Any]] = []
        self._journal = ReliableReader(reader_bus, "journal")
        self.results: list[Message[Any]] = []
        self.entries: list[Message[Journal]] = []
        self.recorded: dict[Any, Message[Any]] = {}

    def run(self, seconds: float, each: Callable[[], object] = lambda: None) -> None:
        super().run(seconds, self._read)

    def _read(self) -> None:
        fresh = self._published.drain()
        self.published += fresh
        self.results += [m for m in fresh if m.topic == "emotion"]
        self.entries += self._journal.drain()
        self.recorded.update((m.ref, m) for m in self._inputs.drain())

    def combinations(self) -> list[str]:
        return [m.body.combination for m in self.results if not m.body.final]


@dataclass
class Tamper:
    """Reverses the payload bytes of one topic: different audio, or an undecodable image."""

    topic: str
    active: bool

    def __call__(self, topic: str, frames: list[bytes]) -> list[bytes]:
        return [*frames[:2], frames[2][::-1]] if self.active and topic == self.topic else frames


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Ten seconds of the session with a mask and an unmask."""
    chain = Chain(tmp_path_factory.mktemp("chain") / "state")
    chain.run(5)
    chain.command("mask", "video")
    chain.run(1.5)
    chain.command("unmask", "video")
    chain.run(4)
    return chain


def test_audio_video_and_text_give_one_estimate(played: Chain) -> None:
    best = next(m.body for m in played.results if m.body.combination == "atv")
    assert best.probabilities is not None
    assert abs(sum(best.probabilities.values()) - 1) < 1e-6
    assert -3 <= best.sentiment <= 3
    assert best.biometric
    assert all(p.tokens > 0 for p in best.presence.values())


def test_mask_removes_a_modality_and_unmask_restores_it(played: Chain) -> None:
    combinations = played.combinations()
    masked = combinations.index("at", combinations.index("atv"))
    assert "atv" in combinations[masked:]


def test_no_message_was_lost(played: Chain) -> None:
    lost = {k: v for w in played.workers for k, v in w.counters.items() if k in ("bad", "gap", "unusable", "late")}
    assert not any(lost.values()), lost


def test_run_replays_byte_for_byte(played: Chain) -> None:
    again = list(replay(played.entries, played.recorded.get, lambda name: played.model))
    live = [digest(result_bytes(m)) for m in played.published]
    assert [d for r in again for d in r.digests] == live


@pytest.mark.parametrize("modality", ["audio", "video"])
def test_data_from_before_a_mask_does_not_change_later_results(modality: Modality, tmp_path: Path) -> None:
    """Promise 3 for the whole chain: different raw content before the mask, the same bytes after it."""
    heads, tails = [], []
    for noise in (False, True):
        tamper = Tamper(f"raw/{modality}", active=noise)
        chain = Chain(tmp_path / f"{noise}", tamper)
        chain.run(2.5)
        chain.command("mask", modality)
        chain.run(0.5)
        tamper.active = False
        mark = len(chain.results)
        heads.append([result_bytes(m) for m in chain.results])
        chain.command("unmask", modality)
        chain.run(3)
        tails.append([result_bytes(m) for m in chain.results[mark:]])
        assert chain.results[-1].body.presence[modality].state == "present"
    assert heads[0] != heads[1], "different content changed the results before the mask"
    assert tails[0] == tails[1]
    assert len(tails[0]) > 5
