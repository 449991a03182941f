"""The live path on the bundled session, in real processes: latency, stages, CPU and memory."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import psutil

from edge_mer.bench.result import Figure, spread
from edge_mer.bus import ZmqBus
from edge_mer.client.auto_unmask import AutoUnmask
from edge_mer.client.instance import Instance, temporary_place
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.messages import Estimate, Latency, Message
from edge_mer.demo.config import demo_config

HOP_MS, CORES, RSS_MB, START_S = 60.0, 1.0, 900.0, 5.0
WARM_UP_US = 15 * SECOND
START_LIMIT_S = 30.0
Usage = tuple[float, int, int]


def measure(seconds: float) -> list[Figure]:
    figures = start_to_first_estimate()
    figures += session("recorded transcript", {}, seconds, HOP_MS)
    if find_spec("pocketsphinx") is not None:
        asr = {"text": {"source": "asr", "engine": "pocketsphinx", "path": None}}
        figures += session("live PocketSphinx", asr, seconds, None)
    return figures


def start_to_first_estimate() -> list[Figure]:
    """Time from the command ``edge-mer demo`` to its first line, and to the first estimate that uses a sensor."""
    began = time.monotonic()
    demo = subprocess.Popen(
        [sys.executable, "-m", "edge_mer.cli.main", "demo", "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert demo.stdout is not None
    first: float | None = None
    used: float | None = None
    try:
        for line in demo.stdout:
            now = time.monotonic() - began
            first = first or now
            if msgspec.json.decode(line)["combination"] != "none":
                used = now
                break
            if now > START_LIMIT_S:
                break
    finally:
        demo.send_signal(signal.SIGINT)
        demo.communicate()
    if first is None or used is None:
        raise EdgeMerError(f"edge-mer demo gave no estimate within {START_LIMIT_S:.0f} s; run: edge-mer doctor")
    return [
        Figure("demo start to first estimate", round(first, 2), "s", START_S),
        Figure("demo start to first estimate that uses a sensor", round(used, 2), "s", START_S),
    ]


def session(name: str, sections: Mapping[str, dict[str, Any]], seconds: float, target: float | None) -> list[Figure]:
    """Figures of the estimates of everybody in the bundled session, or the clip that ``sections`` name, over so many
    seconds; ``target`` of the time from hop boundary to estimate (ms)."""
    with temporary_place() as place:
        config = demo_config(Path(place), None, None, {k: dict(v) for k, v in sections.items()})
        directory = Path(place) / "run"
        directory.mkdir(mode=0o700)
        instance, bus = Instance(config, directory), ZmqBus(directory)
        try:
            reader = bus.reader("emotion", "person")
            unmask(bus)
            collect(bus, reader, instance, WARM_UP_US, until="atv")
            before = _processes(instance.process.pid)
            began = time.monotonic()
            found = collect(bus, reader, instance, round(seconds * SECOND))
            took = time.monotonic() - began
            usage = _usage(name, before, _processes(instance.process.pid), took)
        finally:
            instance.stop()
            bus.close()
    newest = [m for m in found if m.body.revision == 0 and not m.body.final]
    if not newest:
        raise EdgeMerError(f"no estimates arrived with {name}; run: edge-mer doctor")
    hop = [(m.envelope.created_us - m.envelope.origin_us) / 1000 for m in newest]
    figures = spread(f"hop boundary to estimate, {name}", hop, "ms", target)
    figures += _stages(name, newest)
    return figures + usage


def unmask(bus: ZmqBus) -> None:
    """Unmask the sensors of a new instance as soon as its switch answers."""
    opening = AutoUnmask(bus, MODALITIES, resume=False)
    while not opening.done:
        bus.wait(SECOND // 10)
        opening.turn()
    if opening.refusal:
        raise EdgeMerError(opening.refusal)


def collect(
    bus: ZmqBus, reader: Any, instance: Instance, for_us: int, until: str | None = None
) -> list[Message[Estimate]]:
    """Estimates of the next ``for_us``, or those before the first with the combination ``until``."""
    found: list[Message[Estimate]] = []
    deadline = bus.clock.now_us() + for_us
    while (left := deadline - bus.clock.now_us()) > 0:
        bus.wait(min(left, SECOND // 4))
        instance.check()
        fresh = reader.drain()
        found += fresh
        if any(m.body.combination == until for m in fresh):
            break
    return found


def _stages(name: str, newest: list[Message[Estimate]]) -> list[Figure]:
    """p95 of every stage of the ledger; ``total`` is the age of the newest evidence."""
    ledgers = [m.body.latency_ms for m in newest if m.body.combination != "none"]
    figures = []
    for stage in Latency.__struct_fields__ if ledgers else ():
        label = "age of the newest evidence" if stage == "total" else f"stage {stage}"
        figures += spread(f"{label}, {name}", [getattr(x, stage) for x in ledgers], "ms")
    return figures


def _processes(root: int) -> dict[int, Usage]:
    """CPU seconds, resident and proportional bytes of the supervisor and its descendants."""
    found = {}
    for process in [psutil.Process(root), *psutil.Process(root).children(recursive=True)]:
        try:
            memory, cpu = process.memory_full_info(), process.cpu_times()
            found[process.pid] = (cpu.user + cpu.system, memory.rss, memory.pss)
        except psutil.Error:
            continue
    return found


def _usage(name: str, before: Mapping[int, Usage], after: Mapping[int, Usage], took_s: float) -> list[Figure]:
    cpu = sum(now[0] - before.get(pid, (0.0, 0, 0))[0] for pid, now in after.items())
    rss, pss = sum(x[1] for x in after.values()) / 1e6, sum(x[2] for x in after.values()) / 1e6
    count = f"{len(after)} processes"
    return [
        Figure(f"CPU in total at 15 fps, {name}", round(cpu / took_s, 3), "cores", CORES, count),
        Figure(f"sum of RSS, {name}", round(rss, 1), "MB", RSS_MB, count),
        Figure(f"sum of PSS (shared pages once), {name}", round(pss, 1), "MB", None, count),
    ]
