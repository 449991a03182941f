"""Sessions: cost of a recorder for the live path, speed of replay, and time to open a long session."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import psutil

from edge_mer.bench import live as bench_live
from edge_mer.bench.result import Figure, percentile, spread
from edge_mer.bus import ZmqBus
from edge_mer.client.instance import Instance, temporary_place
from edge_mer.config import load
from edge_mer.contract.clock import SECOND
from edge_mer.demo.config import demo_config
from edge_mer.session import replay_components as parts
from edge_mer.session import verifier
from edge_mer.session.keys import KeyStore
from edge_mer.session.reader import Session
from edge_mer.session.writer import CHUNK_US, SessionWriter

CPU_SHARE, COST_MS, PACE, OPEN_MS = 3.0, 1.0, 20.0, 200.0
ROUNDS = 3
HOUR_US = 3600 * SECOND
SEEKS = 20


def measure(seconds: float) -> list[Figure]:
    with temporary_place() as place:
        folder = Path(place)
        figures = _cost(folder, seconds)
        recorded = sorted(folder.glob("*.mcap"))[0]
        return [*figures, *_pace(recorded), *_open(recorded, folder / "hour.mcap")]


def _cost(folder: Path, seconds: float) -> list[Figure]:
    """The same session with and without recorder, alternating, so that both run under the same load."""
    without, with_, shares = list[float](), list[float](), list[float]()
    for number in range(ROUNDS):
        without += _live(folder / f"off{number}", None, seconds, shares)
        with_ += _live(folder / f"on{number}", folder / f"{number}.mcap", seconds, shares)
    figures = spread("hop boundary to estimate without recorder", without, "ms")
    figures += spread("the same with recorder", with_, "ms")
    cost = percentile(with_, 0.99) - percentile(without, 0.99)
    return [
        *figures,
        Figure("added to p99 by the recorder", round(cost, 3), "ms", COST_MS, f"{ROUNDS} rounds, alternating"),
        Figure("CPU of the recorder", round(100 * sum(shares) / len(shares), 2), "%", CPU_SHARE, "of one core"),
    ]


def _live(place: Path, out: Path | None, seconds: float, shares: list[float]) -> list[float]:
    """ms from hop boundary to estimate; appends the recorder's share of a core."""
    place.mkdir(mode=0o700)
    config = demo_config(place, None, out, {})
    directory = place / "run"
    directory.mkdir(mode=0o700)
    if out is not None:
        record = config.record.model_copy(update={"encrypt": True, "keys": str(place / "keys"), "min_free_mb": 0})
        config = config.model_copy(update={"record": record})
    instance = Instance(config, directory)
    bus = ZmqBus(directory)
    try:
        reader = bus.reader("emotion")
        bench_live.unmask(bus)
        bench_live.collect(bus, reader, instance, bench_live.WARM_UP_US, until="atv")
        before, began = _recorder_cpu(instance), time.monotonic()
        found = bench_live.collect(bus, reader, instance, round(seconds * SECOND))
        took = time.monotonic() - began
        if out is not None:
            shares.append((_recorder_cpu(instance) - before) / took)
    finally:
        instance.stop()
        bus.close()
    newest = (m for m in found if m.body.revision == 0 and not m.body.final)
    return [(m.envelope.created_us - m.envelope.origin_us) / 1000 for m in newest]


def _recorder_cpu(instance: Instance) -> float:
    """CPU seconds of the recorder so far; 0 without one."""
    for process in psutil.Process(instance.process.pid).children(recursive=True):
        if "edge_mer.session.recorder" in process.cmdline():
            times = process.cpu_times()
            return float(times.user + times.system)
    return 0.0


def _pace(recorded: Path) -> list[Figure]:
    """Seconds of session per second of ``replay --verify``, from features, with loaded models."""
    config, _ = load(None)
    with_ = parts.installed(config)
    fusion_only = parts.ReplayComponents(with_.fusion, None, with_.runtime)
    keys = keys_of(recorded)
    verifier.verify(recorded, fusion_only, keys)  # loads the models
    paces = []
    for _ in range(ROUNDS):
        began = time.monotonic()
        report = verifier.verify(recorded, fusion_only, keys)
        paces.append(report.span_us / SECOND / (time.monotonic() - began))
    note = f"{report.span_us / SECOND:.0f} s, {'identical' if report.identical else report.reason}"
    slowest = min(paces)
    return [
        Figure("replay --verify from features", round(slowest, 1), "x", None, f"real time; target >= {PACE:g}; {note}"),
        Figure("seconds of replay per second of session", round(1 / slowest, 5), "s", 1 / PACE, "the same, as a share"),
    ]


def keys_of(recorded: Path) -> KeyStore:
    return KeyStore(recorded.with_name(f"on{recorded.stem}") / "keys")


def _open(recorded: Path, hour: Path) -> list[Figure]:
    """Time to open a session of one hour (the recording repeated) and to read one message at evenly spaced times."""
    lengthen(recorded, hour)
    took = []
    for number in range(SEEKS):
        began = time.monotonic()
        session = Session(hour)
        first, last = session.span_us
        at = first + (last - first) * number // SEEKS
        next(iter(session.messages(start_us=at)))
        took.append((time.monotonic() - began) * 1000)
    note = f"{hour.stat().st_size / 1e6:.0f} MB, {(last - first) / SECOND / 60:.0f} min"
    return spread("a 1 h session opened and seeked", took, "ms", OPEN_MS, note)


def lengthen(source: Path, target: Path, length_us: int = HOUR_US) -> None:
    """Copy all messages of ``source`` one after the other until ``length_us`` is full."""
    session = Session(source)
    assert session.opening is not None
    first, last = session.span_us
    entries = list(session.entries())
    writer = SessionWriter(target, msgspec.structs.replace(session.opening, joined=True))
    shift, due = 0, first + CHUNK_US
    while shift < length_us:
        for entry in entries:
            at = session.recorded_us(entry) + shift
            if at >= due:
                writer.flush()
                due = at + CHUNK_US
            writer.copy(entry._replace(log_ns=entry.log_ns + shift * 1000, publish_ns=entry.publish_ns + shift * 1000))
        shift += last - first + SECOND // 10
    assert session.trailer is not None
    writer.close(msgspec.structs.replace(session.trailer, unverifiable="made longer for a measurement"))
