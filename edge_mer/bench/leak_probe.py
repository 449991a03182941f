"""Masks and unmasks a running instance repeatedly, observed by an independent subscriber.

Used by the soak test, the benchmark and the tests on real processes. A leak is sensor data published after ``closed``,
derived data published after ``purged``, or any of them that arrives more than 50 ms after the receipt.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from edge_mer.bus import ReliableReader, ZmqBus
from edge_mer.client import SwitchClient
from edge_mer.contract.clock import SECOND, SystemClock
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.messages import Receipt
from edge_mer.session.reader import Session

ARRIVAL_US = SECOND // 20
PATIENCE_US = 20 * SECOND


@dataclass(frozen=True, slots=True)
class Seen:
    """One message from the wire. It arrived between ``empty_us``, when no message was waiting, and ``read_us``."""

    topic: str
    created_us: int
    empty_us: int
    read_us: int
    size: int

    @property
    def modality(self) -> str:
        return self.topic.partition("/")[2]


class Observer:
    """A plain ZeroMQ subscriber of ``raw/*`` and ``feature/*`` in its own thread, independent of our reader."""

    def __init__(self, directory: Path) -> None:
        self.seen: list[Seen] = []
        self._directory, self._clock = directory, SystemClock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="observer")

    @contextmanager
    def listening(self) -> Iterator[Observer]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join()

    def count(self, modality: Modality) -> int:
        return sum(s.modality == modality for s in self.seen)

    def _listen(self) -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RECONNECT_IVL, 20)
            socket.setsockopt(zmq.RCVHWM, 10_000)
            for modality in MODALITIES:
                for kind in ("raw", "feature"):
                    socket.connect(f"ipc://{self._directory}/{kind}.{modality}")
                    socket.subscribe(f"{kind}/{modality}".encode())
            empty_us = self._clock.now_us()
            while not self._stop.is_set():
                now = self._clock.now_us()
                if not socket.poll(0):
                    empty_us = now
                if socket.poll(50):
                    self._note(socket.recv_multipart(), empty_us, self._clock.now_us())

    def _note(self, frames: list[bytes], empty_us: int, read_us: int) -> None:
        created = json.loads(frames[1])["created_us"]
        self.seen.append(Seen(frames[0].decode(), created, empty_us, read_us, sum(map(len, frames))))


@dataclass(frozen=True, slots=True)
class Toggle:
    """Times of one mask (us): requested, closed, purged, answered with the receipt, and its end."""

    modality: Modality
    requested_us: int
    closed_us: int
    purged_us: int
    answered_us: int
    until_us: int

    @property
    def closed_ms(self) -> float:
        return (self.closed_us - self.requested_us) / 1000

    @property
    def receipt_ms(self) -> float:
        return (self.answered_us - self.requested_us) / 1000


class Spans:
    """Disjoint spans of time; ``in`` tests whether a time lies strictly inside one."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        self._spans = sorted(span for span in spans if span[0] < span[1])
        self._starts = [start for start, _ in self._spans]

    def __contains__(self, at_us: int) -> bool:
        return self.of(at_us) is not None

    def of(self, at_us: int) -> int | None:
        """Index of the span that contains a time."""
        place = bisect_left(self._starts, at_us) - 1
        return place if place >= 0 and at_us < self._spans[place][1] else None

    def hold(self, first_us: int, last_us: int) -> bool:
        """Whether both times lie in the same span."""
        return self.of(first_us) is not None and self.of(first_us) == self.of(last_us)


@dataclass
class Toggler:
    """``toggles`` are the finished masks; ``refused`` are the switch's answers for masks that were not proven."""

    bus: ZmqBus
    observer: Observer
    toggles: list[Toggle] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._switch = SwitchClient.on_bus(self.bus, requester="toggles")
        self._receipts = ReliableReader(self.bus, "receipt")
        self._open: dict[Modality, tuple[int, int, int, int]] = {}
        self._known: dict[int, Receipt] = {}

    def unmask(self, modality: Modality) -> None:
        now = self.bus.clock.now_us()
        answer = self._switch.unmask(modality)
        if not answer.ok:
            raise EdgeMerError(f"{modality} cannot be unmasked: {answer.text}")
        if (mask := self._open.pop(modality, None)) is not None:
            self.toggles.append(Toggle(modality, *mask, now))

    def until_data(self, modality: Modality, count: int = 1) -> None:
        """Wait for ``count`` more messages. Raises EdgeMerError when they do not arrive."""
        enough, deadline = self.observer.count(modality) + count, self.bus.clock.now_us() + PATIENCE_US
        while self.observer.count(modality) < enough:
            if self.bus.clock.now_us() > deadline:
                raise EdgeMerError(f"{modality} delivered no data within {PATIENCE_US // SECOND} s of its unmask")
            self.wait(2000)

    def mask(self, modality: Modality) -> None:
        requested = self.bus.clock.now_us()
        answer = self._switch.mask(modality)
        answered = self.bus.clock.now_us()
        if not answer.ok:
            self.refused.append(answer.text)
            return
        receipt = self._receipt(modality, answer.receipts)
        self._open[modality] = (requested, receipt.closed_us, receipt.purged_us, answered)

    def wait(self, us: int) -> None:
        deadline = self.bus.clock.now_us() + us
        while (left := deadline - self.bus.clock.now_us()) > 0:
            self.bus.wait(left)
            self._collect()

    def finish(self) -> None:
        """End the masks that are still active."""
        self.wait(2 * ARRIVAL_US)
        now = self.bus.clock.now_us()
        self.toggles += [Toggle(m, *mask, now) for m, mask in self._open.items()]
        self._open.clear()

    def leaks(self) -> list[Seen]:
        """Messages that the observer must not receive."""
        silent = self._silent_after(lambda t, raw: t.closed_us if raw else t.purged_us)
        quiet = self._silent_after(lambda t, raw: t.answered_us + ARRIVAL_US)
        return [
            s
            for s in self.observer.seen
            if s.created_us in silent[s.topic] or quiet[s.topic].hold(s.empty_us, s.read_us)
        ]

    def late_reads(self) -> list[Seen]:
        """Messages that the observer read more than 50 ms after the receipt, but had not polled since before it: on an
        overloaded machine their time of arrival is unknown. None of them was created after ``closed``."""
        quiet = self._silent_after(lambda t, raw: t.answered_us + ARRIVAL_US)
        leaks = set(self.leaks())
        return [s for s in self.observer.seen if s.read_us in quiet[s.topic] and s not in leaks]

    def describe(self, seen: Seen) -> str:
        """Times of creation and arrival, relative to the message's mask."""
        mask = max(
            (t for t in self.toggles if t.modality == seen.modality and t.requested_us <= seen.read_us),
            key=lambda t: t.requested_us,
        )
        is_raw = seen.topic.startswith("raw/")
        made = (seen.created_us - (mask.closed_us if is_raw else mask.purged_us)) / 1000
        first, last = ((at - mask.answered_us) / 1000 for at in (seen.empty_us, seen.read_us))
        return (
            f"{seen.topic}, {seen.size} B: made {made:+.1f} ms from {'closed' if is_raw else 'purged'}, "
            f"came between {first:+.1f} and {last:+.1f} ms from the receipt"
        )

    def recorded_leaks(self, path: Path) -> int:
        """Number of messages in a session file that must not be there."""
        silent = self._silent_after(lambda t, raw: t.closed_us if raw else t.purged_us)
        return sum(m.envelope.created_us in silent[m.topic] for m in Session(path).messages(*silent))

    def _silent_after(self, begins: Callable[[Toggle, bool], int]) -> dict[str, Spans]:
        """For each topic, the spans in which it must be silent."""
        return {
            f"{kind}/{m}": Spans((begins(t, kind == "raw"), t.until_us) for t in self.toggles if t.modality == m)
            for kind in ("raw", "feature")
            for m in MODALITIES
        }

    def _receipt(self, modality: Modality, numbers: tuple[int, ...]) -> Receipt:
        deadline = self.bus.clock.now_us() + PATIENCE_US
        while self.bus.clock.now_us() < deadline:
            self._collect()
            for number in numbers:
                if number in self._known and self._known[number].modality == modality:
                    return self._known[number]
            self.bus.wait(2000)
        raise EdgeMerError(f"receipts {numbers} were not published")

    def _collect(self) -> None:
        for message in self._receipts.drain():
            self._known[message.body.number] = message.body
