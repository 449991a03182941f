"""Masks and unmasks a running instance again and again, watched by a subscriber that is none of ours.

The soak, the bench and the tests on real processes share it. A leak is a byte of the sensor that was published after
``closed``, one derived from it that was published after ``purged``, or either arriving 50 ms after the receipt.
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
    """One message as it came over the wire: after ``empty_us``, when none was there, and before ``read_us``."""

    topic: str
    created_us: int
    empty_us: int
    read_us: int
    size: int

    @property
    def modality(self) -> str:
        return self.topic.partition("/")[2]


class Observer:
    """A plain ZeroMQ subscriber of ``raw/*`` and ``feature/*`` in a thread of its own: not our reader."""

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
    """One mask: asked, closed, purged, answered with the receipt, and until when it held (us)."""

    modality: Modality
    asked_us: int
    closed_us: int
    purged_us: int
    answered_us: int
    until_us: int

    @property
    def closed_ms(self) -> float:
        return (self.closed_us - self.asked_us) / 1000

    @property
    def receipt_ms(self) -> float:
        return (self.answered_us - self.asked_us) / 1000


class Spans:
    """Disjoint spans of time; ``in`` says whether a time lies strictly inside one."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        self._spans = sorted(span for span in spans if span[0] < span[1])
        self._starts = [start for start, _ in self._spans]

    def __contains__(self, at_us: int) -> bool:
        return self.of(at_us) is not None

    def of(self, at_us: int) -> int | None:
        """Which of them a time lies in."""
        place = bisect_left(self._starts, at_us) - 1
        return place if place >= 0 and at_us < self._spans[place][1] else None

    def hold(self, first_us: int, last_us: int) -> bool:
        """Whether both times lie in the same one."""
        return self.of(first_us) is not None and self.of(first_us) == self.of(last_us)


@dataclass
class Toggler:
    """``toggles`` are finished; ``refused`` is what the switch said when a mask was not proven."""

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
        """Wait until more messages of it came. Raises EdgeMerError when none do."""
        enough, deadline = self.observer.count(modality) + count, self.bus.clock.now_us() + PATIENCE_US
        while self.observer.count(modality) < enough:
            if self.bus.clock.now_us() > deadline:
                raise EdgeMerError(f"{modality} gives no data {PATIENCE_US // SECOND} s after it was unmasked")
            self.wait(2000)

    def mask(self, modality: Modality) -> None:
        asked = self.bus.clock.now_us()
        answer = self._switch.mask(modality)
        answered = self.bus.clock.now_us()
        if not answer.ok:
            self.refused.append(answer.text)
            return
        receipt = self._receipt(modality, answer.receipts)
        self._open[modality] = (asked, receipt.closed_us, receipt.purged_us, answered)

    def wait(self, us: int) -> None:
        deadline = self.bus.clock.now_us() + us
        while (left := deadline - self.bus.clock.now_us()) > 0:
            self.bus.wait(left)
            self._collect()

    def finish(self) -> None:
        """The masks that hold now end here."""
        self.wait(2 * ARRIVAL_US)
        now = self.bus.clock.now_us()
        self.toggles += [Toggle(m, *mask, now) for m, mask in self._open.items()]
        self._open.clear()

    def leaks(self) -> list[Seen]:
        """What the observer should not have seen."""
        silent = self._silent_after(lambda t, raw: t.closed_us if raw else t.purged_us)
        quiet = self._silent_after(lambda t, raw: t.answered_us + ARRIVAL_US)
        return [
            s
            for s in self.observer.seen
            if s.created_us in silent[s.topic] or quiet[s.topic].hold(s.empty_us, s.read_us)
        ]

    def held_up(self) -> list[Seen]:
        """What was read more than 50 ms after the receipt, by an observer that had not looked since before: on an
        overloaded machine it does not know when such a message came. None of them was made after ``closed``."""
        quiet = self._silent_after(lambda t, raw: t.answered_us + ARRIVAL_US)
        leaks = set(self.leaks())
        return [s for s in self.observer.seen if s.read_us in quiet[s.topic] and s not in leaks]

    def told(self, seen: Seen) -> str:
        """When it was made and when it came, by the mask that it belongs to."""
        mask = max(
            (t for t in self.toggles if t.modality == seen.modality and t.asked_us <= seen.read_us),
            key=lambda t: t.asked_us,
        )
        is_raw = seen.topic.startswith("raw/")
        made = (seen.created_us - (mask.closed_us if is_raw else mask.purged_us)) / 1000
        first, last = ((at - mask.answered_us) / 1000 for at in (seen.empty_us, seen.read_us))
        return (
            f"{seen.topic}, {seen.size} B: made {made:+.1f} ms from {'closed' if is_raw else 'purged'}, "
            f"came between {first:+.1f} and {last:+.1f} ms from the receipt"
        )

    def recorded_leaks(self, path: Path) -> int:
        """Messages in a session file that should not be there."""
        silent = self._silent_after(lambda t, raw: t.closed_us if raw else t.purged_us)
        return sum(m.envelope.created_us in silent[m.topic] for m in Session(path).messages(*silent))

    def _silent_after(self, begins: Callable[[Toggle, bool], int]) -> dict[str, Spans]:
        """For each topic, when nothing of it may be."""
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
