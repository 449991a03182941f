"""The row of the toy modality, and its raw message."""

from __future__ import annotations

from edge_mer.contract.modality_row import ModalityRow, Words
from edge_mer.contract.raw import Body


class RawPulse(Body, frozen=True):
    """Payload: float32 [1], beats a minute."""

    sample: int
    mask_epoch: int


ROWS = (
    ModalityRow(
        name="pulse",
        letter="p",
        raw=RawPulse,
        raw_rate_hz=1,
        raw_bytes=4_000,
        feature_rate_hz=1,
        feature_bytes=16_000,
        source="belt",
        process="belt",
        capture="tests.contract.pulse.belt",
        adapter="tests.contract.pulse.adapter",
        max_age_s=3.0,
        channel="physiology",
        words=Words(
            sensor="Pulse belt",
            channel="pulse",
            active="Counting",
            icon="M2 12h5l3-7 4 14 3-7h5",
            question="May the belt be read?",
            nothing="no pulse",
            stale="no recent pulse",
            indicator="on while the belt is read",
            large_encoder="none is known",
        ),
    ),
)
