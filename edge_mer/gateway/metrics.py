"""The outlet to Prometheus: durations of stages, drops, restarts and masks. It never exposes an emotion.

It runs in the process ``page``, which serves /metrics.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import edge_mer
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import COMBINATIONS, MODALITIES, Combination, Modality
from edge_mer.contract.errors import missing_extra
from edge_mer.contract.messages import Envelope, Estimate, HealthReport, Latency, Privacy, SensorState
from edge_mer.gateway.outlet import Outlet
from edge_mer.gateway.public_message import PublicMessage

if TYPE_CHECKING:
    from prometheus_client.core import CollectorRegistry, Metric

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
SHARE_US = 300 * SECOND
STALE_US = 3 * SECOND
HEALTHY = "ok"
# Counters of processes that are no loss, by the last part of their name: work done, and what a mask closed.
PROGRESS = frozenset({"decoded", "played", "results", "silence_ms", "masked", "format_changes", "opposite_phase"})


class _InRoom:
    """A registry whose samples all have the label ``room``."""

    def __init__(self, registry: CollectorRegistry, room: str) -> None:
        self._registry, self._label = registry, {"room": room}

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [s._replace(labels={**s.labels, **self._label}) for s in metric.samples]
            yield metric


class Metrics(Outlet):
    """``exposition`` answers a scrape. It holds counts and durations summed over windows; a mask does not reset them.

    Histograms count each window once, when its estimate is first published. Values older than 3 s are left out instead
    of repeated, so that a dead process does not appear healthy.
    """

    name = "metrics"
    topics = ("emotion", "revision", "privacy", "health", *(f"state/{m}" for m in MODALITIES))

    def __init__(self, room: str) -> None:
        """``room`` labels every sample. Raises MissingExtra without prometheus-client."""
        try:
            import prometheus_client as prometheus
        except ImportError:
            raise missing_extra("prometheus-client", "hub") from None
        self._prometheus, self._room = prometheus, room
        self._registry = prometheus.CollectorRegistry()
        self.content_type: str = prometheus.CONTENT_TYPE_LATEST
        self._stage = prometheus.Histogram(
            "edge_mer_stage_seconds",
            "Time that a stage took for the newest evidence; total from event to message",
            ("stage",),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._hop = prometheus.Histogram(
            "edge_mer_hop_to_estimate_seconds",
            "Hop boundary to published estimate",
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._estimates = prometheus.Counter(
            "edge_mer_estimates", "Windows by combination of modalities", ("combination",), registry=self._registry
        )
        self._revisions = prometheus.Counter(
            "edge_mer_revisions", "Estimates that late words changed", registry=self._registry
        )
        self._recent: deque[tuple[int, Combination]] = deque()
        self._share: Counter[Combination] = Counter()
        self._newest: dict[str, PublicMessage] = {}
        self._now_us = 0
        self._registry.register(self)

    def publish(self, message: PublicMessage) -> None:
        if message.topic == "emotion":
            self._estimate(message.body, message.envelope)
        elif message.topic == "revision":
            self._revisions.inc(0 if message.body.final else 1)
        else:
            self._newest[message.topic] = message

    def forget(self, modalities: tuple[Modality, ...], mask_epoch: int) -> None:
        """Nothing to do: no estimate is kept, and the sums contain no emotion."""

    def exposition(self, now_us: int) -> bytes:
        """The text format of Prometheus."""
        self._now_us = now_us
        self._forget_share(now_us)
        return self._prometheus.generate_latest(_InRoom(self._registry, self._room))

    def _estimate(self, body: Estimate, envelope: Envelope) -> None:
        self._estimates.labels(body.combination).inc()
        self._hop.observe((envelope.created_us - envelope.origin_us) / SECOND)
        self._recent.append((envelope.created_us, body.combination))
        self._share[body.combination] += 1
        self._forget_share(envelope.created_us)
        if body.combination != "none":
            for stage in Latency.__struct_fields__:
                self._stage.labels(stage).observe(getattr(body.latency_ms, stage) / 1000)

    def _forget_share(self, now_us: int) -> None:
        while self._recent and self._recent[0][0] < now_us - SHARE_US:
            self._share[self._recent.popleft()[1]] -= 1

    def collect(self) -> Iterator[Metric]:
        """Called by prometheus-client for values that are states, not events."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        share = GaugeMetricFamily(
            "edge_mer_combination_share", "Share of windows, last 5 minutes", labels=("combination",)
        )
        for combination in (*COMBINATIONS, "none") if self._recent else ():
            share.add_metric((combination,), self._share[combination] / len(self._recent))
        masked = GaugeMetricFamily(
            "edge_mer_masked", "1 while the device of a modality is closed, as measured", labels=("modality",)
        )
        if isinstance(privacy := self._fresh("privacy"), Privacy):
            for modality, state in privacy.modalities.items():
                masked.add_metric((modality,), state.effective != "live")
        healthy = GaugeMetricFamily("edge_mer_sensor_ok", "1 while a sensor delivers", labels=("modality",))
        dropped = CounterMetricFamily("edge_mer_sensor_dropped", "Blocks that a sensor lost", labels=("modality",))
        for modality in MODALITIES:
            if isinstance(sensor := self._fresh(f"state/{modality}"), SensorState):
                healthy.add_metric((modality,), sensor.health == HEALTHY)
                dropped.add_metric((modality,), sensor.dropped)
        build = GaugeMetricFamily("edge_mer_build_info", "Always 1; the version is a label", labels=("version",))
        build.add_metric((edge_mer.__version__,), 1)
        yield from (build, share, masked, healthy, dropped, *self._workers())

    def _workers(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        up = GaugeMetricFamily("edge_mer_process_up", "1 while a process runs", labels=("process",))
        cpu = GaugeMetricFamily("edge_mer_process_cores", "CPU of a process, in cores", labels=("process",))
        rss = GaugeMetricFamily("edge_mer_process_resident_bytes", "Resident memory", labels=("process",))
        restarts = CounterMetricFamily("edge_mer_process_restarts", "Restarts of a process", labels=("process",))
        drops = CounterMetricFamily(
            "edge_mer_drops", "What was dropped, lost or refused, by process and kind", labels=("process", "kind")
        )
        progress = CounterMetricFamily(
            "edge_mer_progress", "What was done, by process and kind; no loss", labels=("process", "kind")
        )
        if isinstance(health := self._fresh("health"), HealthReport):
            for name, worker in health.workers.items():
                up.add_metric((name,), worker.state == "running")
                cpu.add_metric((name,), worker.cpu)
                rss.add_metric((name,), worker.rss)
                restarts.add_metric((name,), worker.restarts)
                for kind, count in worker.counters.items():
                    is_progress = kind.rpartition(".")[2] in PROGRESS
                    (progress if is_progress else drops).add_metric((name, kind), count)
        yield from (up, cpu, rss, restarts, drops, progress)

    def _fresh(self, topic: str) -> object:
        message = self._newest.get(topic)
        if message is None or self._now_us - message.envelope.created_us > STALE_US:
            return None
        return message.body
