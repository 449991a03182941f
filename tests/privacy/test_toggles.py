"""Random toggles under load: not one byte after ``closed``, none in the recording, every receipt in order.

``python -m pytest tests/privacy/test_toggles.py --toggles 10000`` takes more of them (about a minute).
"""

from __future__ import annotations

import os
import random
from bisect import bisect_left
from collections import defaultdict
from pathlib import Path

import pytest

from edge_mer.bench.leak_probe import Spans
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.messages import Receipt
from edge_mer.privacy.switch.receipts import FILE, verify
from edge_mer.session.recorder import build
from tests.privacy.plant import Plant
from tests.session.stage import read_all


def test_random_toggles_under_load_leak_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    toggles = pytestconfig.getoption("--toggles")
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # what the disk does is not the question here
    rng = random.Random(5)
    (tmp_path / "state").mkdir()
    plant = Plant(
        tmp_path / "state", record={"path": str(tmp_path / "a.mcap"), "raw": True, "min_free_mb": 0, "encrypt": False}
    )
    bench = plant.bench
    recorder = build(bench.config, bench.bus("recorder-life"))
    plant.workers.append(recorder)
    published: dict[Modality, list[int]] = defaultdict(list)
    refused = masks = 0
    assert bench.switch is not None
    for n in range(toggles):
        modality = rng.choice(MODALITIES)
        masked = bench.switch.states()[modality].requested != "live"
        masks += not masked
        bench.ask("unmask" if masked else "mask", modality, requester=f"toggle {n}")
        for message in plant.step(rng.choice((12_000, 20_000, 31_000)), load=rng.choice((0, 1, 3))):
            if message.topic.startswith("raw/"):
                published[message.topic[4:]].append(message.envelope.created_us)  # type: ignore[index]
        answers = bench.answers()
        refused += sum(not a.ok for a in answers)
    assert refused == 0
    recorder.close()

    receipts = verify(bench.directory / FILE, bench.host_public).receipts
    closings = [r for r in receipts if r.requester.startswith("toggle")]
    assert len(closings) == masks > toggles // 3
    assert all(r.handle_closed and {"perception", "fusion"} <= set(r.purged) for r in closings)
    recorded = {m: [x.envelope.created_us for x in read_all(tmp_path / "a.mcap", f"raw/{m}")] for m in MODALITIES}
    for modality in MODALITIES:
        assert len(published[modality]) > toggles // 10, "there was something to leak"
        assert len(recorded[modality]) > toggles // 10
        masked_for = masked_spans([r for r in closings if r.modality == modality], bench.openings(modality))
        for stamps in (published[modality], recorded[modality]):
            assert [at for at in stamps if at in masked_for] == []
    in_file = [m.body for m in read_all(tmp_path / "a.mcap", "receipt")]
    assert [r.number for r in in_file if isinstance(r, Receipt)] == [r.number for r in receipts][-len(in_file) :]


def masked_spans(closings: list[Receipt], openings: list[int]) -> Spans:
    """From each ``closed`` to the next unmasking."""
    ends = [*sorted(openings), 2**62]
    return Spans((r.closed_us, ends[bisect_left(ends, r.closed_us)]) for r in closings)
