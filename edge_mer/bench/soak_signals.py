"""``edge-mer soak privacy --signals``: masks while SIGKILL, SIGSTOP and SIGCONT reach every process at random.

Real processes, with the recorder of the instance and an ``edge-mer record`` beside it. It passes only when not one byte
was published or recorded after a receipt, no receipt was given while a process lived that had not confirmed, and the
receipts verify. Masks that cannot be proven in time must say so; they are counted.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import typer

from edge_mer.bench.leak_probe import Observer, Spans
from edge_mer.bench.live import unmask
from edge_mer.bus import ReliableReader, ZmqBus
from edge_mer.client import NoAnswer, SwitchClient
from edge_mer.client.instance import Instance, temporary_place
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import EdgeMerError, SessionError
from edge_mer.contract.messages import Receipt
from edge_mer.demo.config import demo_config
from edge_mer.host.process_handle import ProcessHandle, open_process, process_id
from edge_mer.privacy.keys.host_key import read_public
from edge_mer.privacy.switch.receipts import verify_all
from edge_mer.session.reader import Session

SEED = 17
# Masks between two signals, on average; how long a stopped process stays so.
MASKS_PER_SIGNAL, STOPPED_US = 8, (SECOND // 10, 4 * SECOND)
# Longest wait for data after an unmask: what delivers it may be stopped.
DATA_US = 2 * SECOND
SUPERVISOR, GUEST = "supervisor", "record-"
HOLDS: dict[str, tuple[Modality, ...]] = {
    "file": ("audio", "video"),
    "transcript": ("text",),
    "fusion": MODALITIES,
    "recorder": MODALITIES,
    **{f"perception.{m}": (m,) for m in MODALITIES},
}
GATES = ("file", "transcript")


@dataclass
class Target:
    """One life of a process. ``stopped_us``: since when it is stopped. ``confirmed``: it was named in a receipt."""

    name: str
    handle: ProcessHandle
    stopped_us: int | None = None
    resume_us: int = 0
    confirmed: bool = False

    @property
    def holds(self) -> tuple[Modality, ...]:
        return MODALITIES if self.name.startswith(GUEST) else HOLDS.get(self.name, ())

    def is_named(self, receipt: Receipt) -> bool:
        """Whether a receipt says that it confirmed."""
        if self.name in GATES:
            return any(check.startswith(f"{self.name}: ") for check in receipt.checks)
        return self.name in receipt.purged


@dataclass
class Signals:
    """The instance, a recorder beside it, and the signals that they get. ``wrong``: receipts for living processes."""

    config: Config
    place: Path
    bus: ZmqBus
    rng: random.Random
    sent: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    receipts: int = 0

    def __post_init__(self) -> None:
        self._targets: dict[int, Target] = {}
        self._reader = ReliableReader(self.bus, "receipt")
        self._guests: list[subprocess.Popen[bytes]] = []
        self.instance = Instance(self.config, self.bus.directory)
        self._supervisor = self._watch(SUPERVISOR, self.instance.process.pid)

    def keep_up(self) -> None:
        """Restart what the supervisor does not: itself, and the recorder beside it. Know every process."""
        if self.instance.process.ended() is not None:
            with suppress(EdgeMerError):
                self.instance = Instance(self.config, self.bus.directory)
                self._supervisor = self._watch(SUPERVISOR, self.instance.process.pid)
        if not self._guests or self._guests[-1].poll() is not None:
            self._guests.append(self._record(self.place / f"guest{len(self._guests)}.mcap"))
            self._watch(f"{GUEST}{self._guests[-1].pid}", self._guests[-1].pid)
        with suppress(psutil.Error):
            for process in psutil.Process(self.instance.process.pid).children():
                command = process.cmdline()
                if process.pid not in self._targets and len(command) > 4:
                    self._watch(command[3], process.pid)
        for pid, target in list(self._targets.items()):
            if target.handle.ended:
                target.handle.close()
                del self._targets[pid]

    def turn(self) -> None:
        """Look at new receipts, and only then resume what was stopped for long enough."""
        for message in self._reader.drain():
            self.receipts += 1
            self._check(message.body)
        now = self.bus.clock.now_us()
        for target in self._targets.values():
            if target.stopped_us is not None and now >= target.resume_us:
                self._signal(target, signal.SIGCONT)
                target.stopped_us = None

    def strike(self) -> None:
        """One signal to one process. The supervisor, with which all others end, is killed less often."""
        target = self.rng.choice(list(self._targets.values()))
        if target.stopped_us is not None:
            return
        kills = self.rng.random() < (0.05 if target is self._supervisor else 0.4)
        self._signal(target, signal.SIGKILL if kills else signal.SIGSTOP)
        if not kills:
            target.stopped_us = self.bus.clock.now_us()
            target.resume_us = target.stopped_us + self.rng.randrange(*STOPPED_US)

    def close(self) -> None:
        for target in self._targets.values():
            self._signal(target, signal.SIGCONT)
        for guest in self._guests:
            if guest.poll() is None:
                guest.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    guest.wait(10)
                guest.kill()
            guest.wait()
        self.instance.stop()

    def _check(self, receipt: Receipt) -> None:
        """No process that was known before the mask may live without having confirmed it."""
        for target in self._targets.values():
            if receipt.modality not in target.holds or target.handle.ended:
                continue
            was_stopped = target.stopped_us is not None and target.stopped_us < receipt.requested_us
            if target.confirmed and (was_stopped or not target.is_named(receipt)):
                state = "stopped" if was_stopped else "alive"
                self.wrong.append(f"receipt {receipt.number} of {receipt.modality}: {target.name} is {state}")
            target.confirmed |= not was_stopped and target.is_named(receipt)

    def _watch(self, name: str, pid: int) -> Target | None:
        handle, _ = open_process(process_id(pid))
        if handle is None:
            return None
        self._targets[pid] = Target(name, handle)
        return self._targets[pid]

    def _signal(self, target: Target, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(target.handle.pid, number)
            self.sent[number.name] += number != signal.SIGCONT

    def _record(self, out: Path) -> subprocess.Popen[bytes]:
        settings = ("record.encrypt=false", "record.min_free_mb=50", f"privacy.state={self.config.privacy.state}")
        command = [sys.executable, "-m", "edge_mer.cli.main", "record", str(out), "--raw"]
        command += ["--directory", str(self.bus.directory)]
        return subprocess.Popen(
            [*command, *(word for setting in settings for word in ("--set", setting))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def soak_signals(count: int) -> bool:
    rng, began = random.Random(SEED), time.monotonic()
    answers: Counter[str] = Counter()
    unmasks: dict[Modality, list[tuple[int, int]]] = {m: [] for m in MODALITIES}
    with temporary_place() as name, ExitStack() as ending:
        place = Path(name)
        record = {"path": str(place / "own.mcap"), "raw": True, "encrypt": False, "min_free_mb": 50}
        config = demo_config(place, None, Path(record["path"]), {"record": record})  # type: ignore[arg-type]
        directory = place / "run"
        directory.mkdir(mode=0o700)
        bus = ZmqBus(directory)
        ending.callback(bus.close)
        observer = ending.enter_context(Observer(directory).listening())
        signals = Signals(config, place, bus, rng)
        stop = ending.callback(signals.close)
        switch = SwitchClient.on_bus(bus, requester="soak")
        begin = bus.clock.now_us()
        unmask(bus)
        for modality in MODALITIES:
            unmasks[modality].append((begin, bus.clock.now_us()))
        while answers["masks"] < count:
            signals.keep_up()
            modality = rng.choice(MODALITIES)
            begin, before = bus.clock.now_us(), observer.count(modality)
            try:
                is_live = switch.unmask(modality).ok
            except EdgeMerError:
                is_live = False
            answers["unmasks not done"] += not is_live
            unmasks[modality].append((begin, bus.clock.now_us()))
            deadline = bus.clock.now_us() + DATA_US
            while is_live and observer.count(modality) == before and bus.clock.now_us() < deadline:
                _wait(bus, signals, 5_000)
            _wait(bus, signals, rng.randrange(0, 60_000))
            if rng.random() < 1 / MASKS_PER_SIGNAL:
                signals.strike()
            answers["masks"] += 1
            try:
                answer = switch.mask(modality)
                answers["proven" if answer.ok else "not confirmed in time, and said so"] += 1
            except NoAnswer:
                answers["no answer from the switch"] += 1
            _wait(bus, signals, rng.randrange(0, 40_000))
            if answers["masks"] % 500 == 0:
                typer.echo(f"{answers['masks']} masks in {time.monotonic() - began:.0f} s", err=True)
        stop()
        receipts = list(verify_all(place / "privacy", read_public(place / "privacy" / "host.pub")))
        silent = _silent(receipts, unmasks, lambda receipt, raw: receipt.closed_us if raw else receipt.purged_us)
        purged = _silent(receipts, unmasks, lambda receipt, raw: receipt.purged_us)
        leaks = [s for s in observer.seen if s.created_us in silent[s.topic]]
        files = sorted(place.glob("*.mcap"))
        recorded = [text for path in files for text in _recorded_leaks(path, silent, purged)]
        total = sum(s.size for s in observer.seen)
    typer.echo(
        f"{answers.pop('masks')} masks in {time.monotonic() - began:.0f} s: "
        f"{', '.join(f'{n} {what}' for what, n in answers.items())}\n"
        f"signals: {', '.join(f'{n} {what}' for what, n in signals.sent.items() if n)}\n"
        f"receipts: {len(receipts)}, verified; {len(signals.wrong)} of {signals.receipts} seen were for processes that "
        "lived and had not confirmed\n"
        f"after a receipt: {sum(s.size for s in leaks)} of {total} bytes published, {len(recorded)} messages in "
        f"{len(files)} recordings"
    )
    for text in (*signals.wrong, *(f"leak: {s}" for s in leaks), *recorded):
        typer.echo(text, err=True)
    return not (signals.wrong or leaks or recorded)


def _wait(bus: ZmqBus, signals: Signals, us: int) -> None:
    deadline = bus.clock.now_us() + us
    while True:
        signals.turn()
        if (left := deadline - bus.clock.now_us()) <= 0:
            return
        bus.wait(left)


def _silent(
    receipts: list[Receipt], unmasks: dict[Modality, list[tuple[int, int]]], begins: Callable[[Receipt, bool], int]
) -> dict[str, Spans]:
    """For each topic, the spans from what a receipt proves to the next request to unmask; none where one was being
    answered."""
    spans: dict[str, list[tuple[int, int]]] = {f"{kind}/{m}": [] for kind in ("raw", "feature") for m in MODALITIES}
    for receipt in receipts:
        requests = unmasks[receipt.modality]
        place = bisect_left([answered for _, answered in requests], receipt.closed_us)
        end = requests[place][0] if place < len(requests) else 1 << 62
        for kind in ("raw", "feature"):
            spans[f"{kind}/{receipt.modality}"].append((begins(receipt, kind == "raw"), end))
    return {topic: Spans(_disjoint(found)) for topic, found in spans.items()}


def _disjoint(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same times in spans that do not overlap."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(span for span in spans if span[0] < span[1]):
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found


def _recorded_leaks(path: Path, silent: dict[str, Spans], purged: dict[str, Spans]) -> list[str]:
    """Messages of a recording that were created after they had to end, or written after the purge."""
    try:
        session = Session(path)
    except (OSError, SessionError):
        return []  # killed before its first chunk was written
    return [
        f"{path.name}: {m.topic} of epoch {m.body.mask_epoch}, created {m.envelope.created_us}, written {at}"
        for at, m in session.timed()
        if m.topic in silent and (m.envelope.created_us in silent[m.topic] or at in purged[m.topic])
    ]
