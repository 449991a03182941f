"""The services table is complete and consistent."""

from __future__ import annotations

import msgspec
import pytest

from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.messages import DELIVERY, Estimate, delivery_fields
from edge_mer.contract.services import SERVICES, derived_from, masked_with


def test_no_topic_is_a_prefix_of_another() -> None:
    assert not [(a, b) for a in SERVICES for b in SERVICES if a != b and b.startswith(a)]


def test_public_topics_exclude_raw_and_features() -> None:
    assert not [t for t, s in SERVICES.items() if s.public and t.startswith(("raw/", "feature/", "journal"))]


@pytest.mark.parametrize("topic", sorted(SERVICES))
def test_every_row_has_a_schema_and_parents_that_exist(topic: str) -> None:
    row = SERVICES[topic]
    assert set(row.parents) <= set(SERVICES)
    assert msgspec.json.schema(row.body)
    assert row.schema.endswith(f"/{row.version}")


def test_a_high_water_mark_covers_ten_seconds() -> None:
    assert all(s.high_water_mark >= 10 * s.rate_hz for s in SERVICES.values())


@pytest.mark.parametrize("modality", MODALITIES)
def test_lineage_reaches_the_estimate(modality: Modality) -> None:
    assert {f"feature/{modality}", "emotion"} <= derived_from(f"raw/{modality}")


def test_audio_mask_masks_recognised_words_and_not_typed_ones() -> None:
    assert masked_with("audio", transcribed=True) == {"audio", "text"}
    assert masked_with("audio", transcribed=False) == {"audio"}
    assert masked_with("text", transcribed=True) == {"text"}


def test_delivery_fields_are_marked() -> None:
    assert delivery_fields(Estimate) == {"runtime", "latency_ms"}
    assert DELIVERY.extra == {"part": "delivery"}
