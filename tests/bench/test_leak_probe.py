"""The definition of a leak, as used by soak test, benchmark and tests on real processes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_mer.bench.leak_probe import Observer, Seen, Toggle, Toggler
from edge_mer.bus import ZmqBus

# Requested, closed, purged, answered with the receipt, and its end (us).
MASK = Toggle("video", 0, 10_000, 20_000, 30_000, 500_000)


@pytest.fixture
def toggler() -> Iterator[Toggler]:
    with tempfile.TemporaryDirectory(prefix="em", dir="/tmp") as place:
        bus = ZmqBus(Path(place))  # no request is sent in these tests
        found = Toggler(bus, Observer(Path("nowhere")))
        found.toggles.append(MASK)
        yield found
        bus.close()


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (Seen("raw/video", 9_000, 10_000, 31_000, 1), "fine"),
        (Seen("raw/video", 10_001, 10_500, 11_000, 1), "leak"),
        (Seen("feature/video", 19_000, 19_500, 21_000, 1), "fine"),
        (Seen("feature/video", 20_001, 20_500, 21_000, 1), "leak"),
        (Seen("raw/video", 9_000, 90_000, 91_000, 1), "leak"),
        (Seen("raw/video", 9_000, 70_000, 91_000, 1), "late"),
        (Seen("raw/audio", 90_000, 90_500, 91_000, 1), "fine"),
        (Seen("raw/video", 500_000, 500_500, 501_000, 1), "fine"),
        (Seen("raw/video", 500_500, 490_000, 501_000, 1), "fine"),
    ],
    ids=[
        "before",
        "made after closed",
        "derived before purged",
        "derived after purged",
        "in transit too long",
        "read late, arrival time unknown",
        "another sensor",
        "unmasked again",
        "no message while it was masked",
    ],
)
def test_message_of_a_masked_sensor_is_classified(toggler: Toggler, seen: Seen, verdict: str) -> None:
    toggler.observer.seen.append(seen)
    assert (toggler.leaks() == [seen], toggler.late_reads() == [seen]) == (verdict == "leak", verdict == "late")


def test_description_names_times_relative_to_the_mask(toggler: Toggler) -> None:
    text = toggler.describe(Seen("raw/video", 9_000, 90_000, 91_000, 7))
    assert text == "raw/video, 7 B: made -1.0 ms from closed, came between +60.0 and +61.0 ms from the receipt"
