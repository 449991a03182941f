"""The Prometheus metrics, computed from messages."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

import edge_mer
from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.messages import HealthReport, Latency, Privacy, PrivacyState, SensorState, WorkerHealth
from edge_mer.gateway.metrics import SHARE_US, STALE_US, Metrics
from edge_mer.gateway.outlet import as_public
from edge_mer.gateway.public_message import PublicMessage
from tests.gateway.caller import Caller
from tests.gateway.estimates import NONE_PRESENT, estimate


class MetricsBench:
    """Sends messages to ``metrics``."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self._bus = MemoryBus(MemoryBroker(), self.clock)
        self._publishers: dict[str, Any] = {}
        self.metrics = Metrics("Kitchen")

    def publish(self, topic: str, body: Any, origin_us: int | None = None) -> None:
        if topic not in self._publishers:
            self._publishers[topic] = self._bus.publisher(topic, "test")
        message = self._publishers[topic].send(body, origin_us=origin_us or self.clock.now_us())
        self.metrics.publish(PublicMessage(as_public(message)))

    def estimate(self, **fields: Any) -> None:
        self.publish("emotion", estimate(**{"revision": 0, "final": False, **fields}))

    def text(self) -> str:
        return self.metrics.exposition(self.clock.now_us()).decode()

    def samples(self) -> dict[tuple[str, ...], float]:
        """Samples by name and label values, in the order of the label names."""
        return {
            (s.name, *(v for k, v in s.labels.items() if k != "room")): s.value
            for f in text_string_to_metric_families(self.text())
            for s in f.samples
        }


@pytest.fixture
def bench() -> MetricsBench:
    return MetricsBench()


def test_each_window_is_counted_once_by_combination(bench: MetricsBench) -> None:
    bench.estimate(combination="atv")
    bench.estimate(combination="atv")
    bench.estimate(combination="av")
    bench.estimate(combination="av", revision=1)
    bench.estimate(combination="av", final=True)
    bench.publish("emotion", msgspec.structs.replace(NONE_PRESENT, revision=0, final=False))
    found = bench.samples()
    assert found["edge_mer_estimates_total", "atv"] == 2
    assert found["edge_mer_estimates_total", "av"] == 1
    assert found["edge_mer_revisions_total",] == 1
    assert found["edge_mer_combination_share", "atv"] == 0.5
    assert found["edge_mer_combination_share", "none"] == 0.25
    assert found["edge_mer_combination_share", "t"] == 0


def test_combination_share_covers_the_last_five_minutes(bench: MetricsBench) -> None:
    bench.estimate(combination="atv")
    bench.clock.advance(SHARE_US + 1)
    bench.estimate(combination="a")
    found = bench.samples()
    assert found["edge_mer_combination_share", "a"] == 1
    assert found["edge_mer_combination_share", "atv"] == 0
    assert found["edge_mer_estimates_total", "atv"] == 1


def test_stages_are_histograms_in_seconds(bench: MetricsBench) -> None:
    bench.estimate(latency_ms=Latency(capture=2, encode=30, wait=1, fuse=4, publish=0.5, total=37.5))
    found = bench.samples()
    assert found["edge_mer_stage_seconds_sum", "encode"] == pytest.approx(0.03)
    assert found["edge_mer_stage_seconds_count", "total"] == 1
    assert found["edge_mer_hop_to_estimate_seconds_count",] == 1


def test_window_without_modalities_has_no_latency(bench: MetricsBench) -> None:
    bench.estimate(combination="none")
    assert ("edge_mer_stage_seconds_count", "total") not in bench.samples()


def worker(state: str, restarts: int, **counters: int) -> WorkerHealth:
    return WorkerHealth(state, 1, restarts, 0, None, 0.25, 1000, counters)


def test_processes_drops_masks_and_sensors_are_exposed(bench: MetricsBench) -> None:
    bench.publish(
        "health", HealthReport(workers={"fusion": worker("running", 2, gap=3, decoded=50), "hub": worker("failed", 6)})
    )
    closing = PrivacyState("masked", "live", 0, 1, None, None)
    bench.publish(
        "privacy",
        Privacy(
            mask_epoch=1, modalities={"audio": closing, "video": PrivacyState("masked", "masked", 0, 1, None, None)}
        ),
    )
    bench.publish(
        "state/video",
        SensorState(
            modality="video", gate="live", health="frozen", reason=None, device="x", mask_epoch=1, rate_hz=1, dropped=7
        ),
    )
    found = bench.samples()
    assert found["edge_mer_process_up", "fusion"] == 1
    assert found["edge_mer_process_up", "hub"] == 0
    assert found["edge_mer_process_restarts_total", "fusion"] == 2
    assert found["edge_mer_drops_total", "gap", "fusion"] == 3
    assert not any("decoded" in key for key in found if key[0] == "edge_mer_drops_total")
    assert found["edge_mer_progress_total", "decoded", "fusion"] == 50
    assert found["edge_mer_masked", "audio"] == 0, "as measured, not as requested"
    assert found["edge_mer_masked", "video"] == 1
    assert found["edge_mer_sensor_ok", "video"] == 0
    assert found["edge_mer_sensor_dropped_total", "video"] == 7


def test_stale_values_are_left_out(bench: MetricsBench) -> None:
    bench.publish("health", HealthReport(workers={"fusion": worker("running", 0)}))
    bench.clock.advance(STALE_US + SECOND)
    assert ("edge_mer_process_up", "fusion") not in bench.samples()


def test_every_sample_names_the_room_and_one_the_version(bench: MetricsBench) -> None:
    bench.estimate()
    samples = [s for f in text_string_to_metric_families(bench.text()) for s in f.samples]
    assert {s.labels["room"] for s in samples} == {"Kitchen"}
    (build,) = [s for s in samples if s.name == "edge_mer_build_info"]
    assert (build.labels["version"], build.value) == (edge_mer.__version__, 1)


def test_no_emotion_is_exposed(bench: MetricsBench) -> None:
    bench.estimate(label="surprise")
    text = bench.text()
    assert not any(word in text for word in ("surprise", "happy", "sentiment", "confidence"))


def test_metrics_are_served_with_the_token(caller: Caller) -> None:
    def scraped() -> dict[str, Any]:
        caller.stage.publish("emotion", estimate(revision=0, final=False))
        status, headers, body = caller.request("GET", "/metrics")
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain")
        found = {s.name: s.value for f in text_string_to_metric_families(body.decode()) for s in f.samples}
        return found if found.get("edge_mer_estimates_total", 0) >= 1 and "edge_mer_masked" in found else {}

    found = caller.until(scraped)
    assert found["edge_mer_masked"] == 1
