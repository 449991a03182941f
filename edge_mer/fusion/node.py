"""The fusion node: reads features and sensor states, takes ticks, publishes estimates and the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

import msgspec

from edge_mer.bus import Bus, ReliablePublisher
from edge_mer.config import Config
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import ModelError
from edge_mer.contract.messages import CorrectionRef, EventChange, InputRef, Latency, PurgeRef
from edge_mer.contract.overwrite import overwrite
from edge_mer.events import corrections
from edge_mer.events.chosen import chosen_settings
from edge_mer.events.settings import EventSettings
from edge_mer.fusion.affect import LABELS, Affect, affect_of
from edge_mer.fusion.baseline import shifts
from edge_mer.fusion.baseline_file import read
from edge_mer.fusion.estimate import NO_LATENCY, Output
from edge_mer.fusion.explain import explain
from edge_mer.fusion.fold import Arrived, Corrected, Event, Fusion, ModalityPurged, Tick
from edge_mer.fusion.journal import InitialState, next_entry, opening_entry, origin_of, reference, topic_of
from edge_mer.fusion.model import FusionModel, GraphFusionModel, load_fusion_model
from edge_mer.fusion.settings import settings_from
from edge_mer.fusion.state import Outcome
from edge_mer.host.files import state_directory, state_path
from edge_mer.host.worker import HasNotes, Worker
from edge_mer.privacy.purge_client import PurgeClient
from edge_mer.runtime.select import models_directory, notes, open_backend

TOPICS = tuple(f"{kind}/{m}" for m in MODALITIES for kind in ("feature", "state"))


class FusionNode:
    """Owns the sockets of fusion; all decisions are made in the fold."""

    wake: tuple[int, ...] = ()

    def __init__(
        self,
        bus: Bus,
        config: Config,
        model: FusionModel,
        runtime: dict[str, str],
        notes: tuple[str, ...] = (),
        baseline: Mapping[Modality, tuple[float, ...]] | None = None,
        events: EventSettings | None = None,
        affect: Affect = LABELS,
    ) -> None:
        self._bus, self._clock = bus, bus.clock
        settings = settings_from(config.fusion, config.sensors)
        settings = msgspec.structs.replace(settings, baseline=dict(baseline or {}), affect=affect)
        self._fusion = Fusion(settings, model, events)
        self._runtime, self.notes = runtime["backend"], notes
        self._purges = PurgeClient(bus, "fusion", MODALITIES)
        self._reader = bus.reader(*TOPICS)
        self._estimates = {topic: bus.publisher(topic, "fusion") for topic in ("emotion", "person")}
        self._people = bus.publisher("people", "fusion")
        self._explain = bus.publisher("explain", "fusion")
        self._events = ReliablePublisher(bus, "event", "fusion")
        self._home = state_path(config.privacy.state)
        self._corrected = corrections.version(self._home)
        self._journal = ReliablePublisher(bus, "journal", "fusion")
        self._inputs: list[InputRef | PurgeRef | CorrectionRef] = []
        self._changes: list[EventChange] = []
        self._drops: Counter[str] = Counter()
        self._total: Counter[str] = Counter()
        start = self._boundary()
        self._state = self._fusion.initial(start)
        opening = InitialState(self._fusion.settings, model.name, runtime, start, events)
        self._entry = opening_entry(opening)
        self._opening = self._entry.opening
        self._journal.send(self._entry, origin_us=start)

    @property
    def counters(self) -> Counter[str]:
        return self._total + self._reader.counters

    def turn(self) -> int:
        self._purge()
        for message in self._reader.drain():
            self._fold(Arrived(message))
        due = self._boundary()
        if due > self._state.tick_us:
            self._correct()
            self._tick(due)
        self._journal.pump()
        self._events.pump()
        return self._state.tick_us + self._fusion.settings.hop_us - self._clock.now_us()

    def close(self) -> None:
        self._journal.pump()
        self._events.pump()

    def _boundary(self) -> int:
        """The newest hop boundary that has passed; boundaries lie on a fixed grid of the monotonic clock."""
        hop = self._fusion.settings.hop_us
        return self._clock.now_us() // hop * hop

    def _purge(self) -> None:
        for order in self._purges.orders():
            self._reader.require_epoch(order.modality, order.mask_epoch)
            before = self._state
            self._events.forget()
            self._fold(ModalityPurged(order.modality, order.mask_epoch))
            overwrite(before, keep=self._state)
            self._purges.done(order)

    def _correct(self) -> None:
        """Take over what the householder called wrong since the last tick; a damaged file changes nothing."""
        if self._fusion.events is None or (found := corrections.version(self._home)) == self._corrected:
            return
        self._corrected = found
        try:
            self._fold(Corrected(corrections.read(self._home).factors))
        except ModelError as error:
            self.notes = (*self.notes, f"events: {error}")

    def _fold(self, event: Event) -> Outcome:
        self._state, outcome = self._fusion.step(self._state, event)
        if (ref := reference(event)) is not None:
            self._inputs.append(ref)  # the reference only: purged content must not be kept here
        self._drops += outcome.drops
        for change in outcome.events:
            self._changes.append(change)
            self._events.send(change, origin_us=origin_of(change))
        return outcome

    def _tick(self, tick_us: int) -> None:
        missed = (tick_us - self._state.tick_us) // self._fusion.settings.hop_us - 1
        if missed:
            self._drops["tick.missed"] += missed
        began = self._clock.now_us()
        outcome = self._fold(Tick(tick_us))
        outputs = outcome.outputs
        fused = self._clock.now_us()
        for output in outputs:
            latency = self._latency(output, began, fused)
            body = msgspec.structs.replace(output.estimate, runtime=self._runtime, latency_ms=latency)
            self._estimates[topic_of(body)].send(body, origin_us=output.origin_us)
        if outcome.people is not None:
            self._people.send(outcome.people, origin_us=tick_us)
        if self._explain.wanted():  # after the estimates, so that explanations do not delay them
            self._explain.send(explain(self._state.pending[-1], self._fusion.model), origin_us=tick_us)
        self._entry = next_entry(
            self._entry, self._state, self._inputs, outcome, self._changes, self._drops, self._opening
        )
        self._journal.send(self._entry, origin_us=tick_us)
        self._total += self._drops
        self._inputs, self._changes, self._drops = [], [], Counter()

    def _latency(self, output: Output, began: int, fused: int) -> Latency:
        """Milliseconds per stage for the newest evidence; a stage cannot end before it began."""
        evidence = output.evidence
        if evidence is None:
            return NO_LATENCY
        now = self._clock.now_us()
        marks = (evidence.event_us, evidence.raw_created_us, evidence.created_us, began, fused, now)
        capture, encode, wait, fuse, publish = (max(0, b - a) / 1000 for a, b in pairwise(marks))
        return Latency(capture, encode, wait, fuse, publish, total=max(0, now - evidence.event_us) / 1000)


class CombinedWorker:
    """Fusion and perception in one process, for small machines: each turn runs all workers in sequence."""

    def __init__(self, workers: tuple[Worker, ...]) -> None:
        self._workers = workers
        self.wake = tuple(fd for w in workers for fd in w.wake)

    @property
    def counters(self) -> Counter[str]:
        return sum((Counter(w.counters) for w in self._workers), Counter[str]())

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(note for w in self._workers if isinstance(w, HasNotes) for note in w.notes))

    def turn(self) -> int:
        return min(w.turn() for w in self._workers)

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


def own_neutral(config: Config, model: GraphFusionModel) -> tuple[dict[Modality, tuple[float, ...]], tuple[str, ...]]:
    """Shifts of the personal baseline where the config enables it, and notes; a damaged baseline is not used."""
    if not config.fusion.baseline:
        return {}, ()
    try:
        found = read(state_directory(config.privacy.state))
    except ModelError as error:
        return {}, (f"fusion.baseline: {error}",)
    used = shifts(found, model.neutral, model.encoders)
    idle = [m for m in found if m not in used]
    messages = [f"fusion.baseline: {m} was learnt with other models; run: edge-mer baseline learn" for m in idle]
    return used, tuple(
        messages or ([] if found else ["fusion.baseline: nothing was learnt; run: edge-mer baseline learn"])
    )


def own_events(config: Config, model: str) -> tuple[EventSettings | None, tuple[str, ...]]:
    """Settings of events for this model, and notes; on doubt there are no events."""
    try:
        chosen, _, fault = chosen_settings(config, model)
    except ModelError as error:
        return None, (f"events are off: {error}",)
    return chosen, (f"events are off: {fault}",) if fault else ()


def build(config: Config, bus: Bus) -> Worker:
    backend = open_backend(config.models)
    models = models_directory(config.models.directory)
    model = load_fusion_model(backend, models)
    shifts, messages = own_neutral(config, model)
    events, remarks = own_events(config, model.name)
    messages = (*notes(backend), *messages, *remarks)
    node = FusionNode(
        bus, config, model, backend.describe(), messages, shifts, events, affect_of(models, model.encoders)
    )
    if config.perception.placement == "separate":
        return node
    from edge_mer.perception.node import PerceptionNode, wanted  # here: fusion alone needs no OpenCV

    encoders = tuple(PerceptionNode.open(m, config, bus) for m in wanted(config))
    return CombinedWorker((*encoders, node))
