"""What Prometheus is told, from messages alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.messages import HealthReport, Latency, Privacy, PrivacyState, SensorState, WorkerHealth
from edge_mer.gateway.metrics import SHARE_US, STALE_US, Metrics
from edge_mer.gateway.public_message import PublicMessage
from tests.gateway.caller import Caller
from tests.gateway.estimates import NOTHING, estimate


class Told:
    """Sends messages through a bus to ``metrics``."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self._bus = MemoryBus(MemoryBroker(), self.clock)
        self._publishers: dict[str, Any] = {}
        self.metrics = Metrics()

    def say(self, topic: str, body: Any, origin_us: int | None = None) -> None:
        if topic not in self._publishers:
            self._publishers[topic] = self._bus.publisher(topic, "test")
        message = self._publishers[topic].send(body, origin_us=origin_us or self.clock.now_us())
        self.metrics.publish(PublicMessage(message))

    def estimate(self, **fields: Any) -> None:
        self.say("emotion", estimate(**{"revision": 0, "final": False, **fields}))

    def text(self) -> str:
        return self.metrics.exposition(self.clock.now_us()).decode()

    def samples(self) -> dict[tuple[str, ...], float]:
        """By name and the values of the labels, which come in the order of their names."""
        return {
            (s.name, *s.labels.values()): s.value
            for f in text_string_to_metric_families(self.text())
            for s in f.samples
        }


@pytest.fixture
def told() -> Told:
    return Told()


def test_each_window_counts_once_by_its_combination(told: Told) -> None:
    told.estimate(combination="atv")
    told.estimate(combination="atv")
    told.estimate(combination="av")
    told.estimate(combination="av", revision=1)
    told.estimate(combination="av", final=True)
    told.say("emotion", msgspec.structs.replace(NOTHING, revision=0, final=False))
    found = told.samples()
    assert found["edge_mer_estimates_total", "atv"] == 2
    assert found["edge_mer_estimates_total", "av"] == 1
    assert found["edge_mer_revisions_total",] == 1
    assert found["edge_mer_combination_share", "atv"] == 0.5
    assert found["edge_mer_combination_share", "none"] == 0.25
    assert found["edge_mer_combination_share", "t"] == 0


def test_the_share_is_that_of_the_last_five_minutes(told: Told) -> None:
    told.estimate(combination="atv")
    told.clock.advance(SHARE_US + 1)
    told.estimate(combination="a")
    found = told.samples()
    assert found["edge_mer_combination_share", "a"] == 1
    assert found["edge_mer_combination_share", "atv"] == 0
    assert found["edge_mer_estimates_total", "atv"] == 1


def test_stages_are_histograms_in_seconds(told: Told) -> None:
    told.estimate(latency_ms=Latency(capture=2, encode=30, wait=1, fuse=4, publish=0.5, total=37.5))
    found = told.samples()
    assert found["edge_mer_stage_seconds_sum", "encode"] == pytest.approx(0.03)
    assert found["edge_mer_stage_seconds_count", "total"] == 1
    assert found["edge_mer_hop_to_estimate_seconds_count",] == 1


def test_a_window_of_nothing_has_no_latency(told: Told) -> None:
    told.estimate(combination="none")
    assert ("edge_mer_stage_seconds_count", "total") not in told.samples()


def worker(state: str, restarts: int, **counters: int) -> WorkerHealth:
    return WorkerHealth(state, 1, restarts, 0, None, 0.25, 1000, counters)


def test_processes_drops_masks_and_sensors(told: Told) -> None:
    told.say("health", HealthReport(workers={"fusion": worker("running", 2, gap=3), "hub": worker("failed", 6)}))
    held = PrivacyState("masked", "live", 0, 1, None, None)
    told.say(
        "privacy",
        Privacy(mask_epoch=1, modalities={"audio": held, "video": PrivacyState("masked", "masked", 0, 1, None, None)}),
    )
    told.say(
        "state/video",
        SensorState(
            modality="video", gate="live", health="frozen", reason=None, device="x", mask_epoch=1, rate_hz=1, dropped=7
        ),
    )
    found = told.samples()
    assert found["edge_mer_process_up", "fusion"] == 1
    assert found["edge_mer_process_up", "hub"] == 0
    assert found["edge_mer_process_restarts_total", "fusion"] == 2
    assert found["edge_mer_drops_total", "gap", "fusion"] == 3
    assert found["edge_mer_masked", "audio"] == 0, "as measured, not as asked"
    assert found["edge_mer_masked", "video"] == 1
    assert found["edge_mer_sensor_ok", "video"] == 0
    assert found["edge_mer_sensor_dropped_total", "video"] == 7


def test_what_is_old_is_left_out(told: Told) -> None:
    told.say("health", HealthReport(workers={"fusion": worker("running", 0)}))
    told.clock.advance(STALE_US + SECOND)
    assert ("edge_mer_process_up", "fusion") not in told.samples()


def test_an_emotion_is_never_told(told: Told) -> None:
    told.estimate(label="surprise")
    text = told.text()
    assert not any(word in text for word in ("surprise", "happy", "sentiment", "confidence"))


def test_prometheus_reads_it_with_the_token(caller: Caller) -> None:
    def scraped() -> dict[str, Any]:
        caller.stage.say("emotion", estimate(revision=0, final=False))
        status, headers, body = caller.ask("GET", "/metrics")
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain")
        found = {s.name: s.value for f in text_string_to_metric_families(body.decode()) for s in f.samples}
        return found if found.get("edge_mer_estimates_total", 0) >= 1 and "edge_mer_masked" in found else {}

    found = caller.until(scraped)
    assert found["edge_mer_masked"] == 1
