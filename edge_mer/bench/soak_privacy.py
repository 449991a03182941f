"""``edge-mer soak privacy``: masks and unmasks the bundled session at random, on real processes.

It passes only when every mask was proven, nothing leaked to an independent subscriber or into the recording, and the
receipts verify.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import typer

from edge_mer.bench.leak_probe import Observer, Toggler
from edge_mer.bench.live import unmask
from edge_mer.bench.result import percentile
from edge_mer.bus import ZmqBus
from edge_mer.client.instance import Instance, temporary_place
from edge_mer.contract.domain import MODALITIES
from edge_mer.demo.config import demo_config
from edge_mer.privacy.keys.host_key import read_public
from edge_mer.privacy.switch.receipts import verify_all

SEED = 1
# The bounded logs of receipts and journal entries are full after this number of masks.
RING = 2000


def soak_privacy(count: int) -> bool:
    rng, began = random.Random(SEED), time.monotonic()
    with temporary_place() as place, ExitStack() as ending:
        out = Path(place) / "soak.mcap"
        config = demo_config(
            Path(place), None, out, {"record": {"path": str(out), "raw": True, "encrypt": False, "min_free_mb": 50}}
        )
        directory = Path(place) / "run"
        directory.mkdir(mode=0o700)
        instance = Instance(config, directory)
        stop = ending.callback(instance.stop)
        bus = ZmqBus(directory)
        ending.callback(bus.close)
        observer = ending.enter_context(Observer(directory).listening())
        unmask(bus)
        toggler, masked = Toggler(bus, observer), set[str]()
        for modality in MODALITIES[:2]:
            toggler.until_data(modality, 5)
        before = _memory(instance.process.pid)
        warm = before
        while len(toggler.toggles) + len(masked) < count:
            modality = rng.choice(MODALITIES)
            if modality in masked:
                toggler.unmask(modality)
                masked.discard(modality)
            else:
                toggler.mask(modality)
                masked.add(modality)
            toggler.wait(rng.randrange(0, 40_000))
            instance.check()
            done = len(toggler.toggles)
            if done and done % 1000 == 0 and modality not in masked:
                typer.echo(f"{done} masks in {time.monotonic() - began:.0f} s", err=True)
                warm = warm if done > 2 * RING else _memory(instance.process.pid)
        toggler.finish()
        after = _memory(instance.process.pid)
        recording = out.stat().st_size / 1e6
        alive = len(psutil.Process(instance.process.pid).children())
        stop()
        leaks, late, recorded = toggler.leaks(), toggler.late_reads(), toggler.recorded_leaks(out)
        receipts = tuple(verify_all(Path(place) / "privacy", read_public(Path(place) / "privacy" / "host.pub")))
    closed, proven = ([getattr(t, n) for t in toggler.toggles] for n in ("closed_ms", "receipt_ms"))
    typer.echo(
        f"{len(toggler.toggles)} masks in {time.monotonic() - began:.0f} s, {len(toggler.refused)} not proven "
        f"{sorted(set(toggler.refused))[:3]}\n"
        f"closed p50 {percentile(closed, 0.5):.1f} p99 {percentile(closed, 0.99):.1f} max {max(closed):.1f} ms; "
        f"receipt p50 {percentile(proven, 0.5):.1f} p99 {percentile(proven, 0.99):.1f} max {max(proven):.1f} ms\n"
        f"leaked: {sum(s.size for s in leaks)} of {sum(s.size for s in observer.seen)} bytes in {len(observer.seen)} "
        f"messages; in the recording: {recorded} messages; created in time but read late by a delayed observer: "
        f"{len(late)} messages\n"
        f"receipts: {len(receipts)}, verified; {alive} processes; recording {recording:.0f} MB\n"
        f"memory: {_total(before)} -> {_total(warm)} -> {_total(after)} MB at the start, once bounded logs are full, "
        f"at the end; by process: {', '.join(_growth(before, warm, after))}"
    )
    for name, some in (("leak", leaks), ("read late", late)):
        for seen in some:
            typer.echo(f"{name}: {toggler.describe(seen)}", err=True)
    return not (toggler.refused or leaks or recorded)


def _memory(pid: int) -> dict[str, float]:
    """MB of each process of an instance, by worker name; the supervisor is first."""
    family = {"supervisor": psutil.Process(pid)}
    family |= {p.cmdline()[3]: p for p in psutil.Process(pid).children() if len(p.cmdline()) > 4}
    return {name: process.memory_info().rss / 1e6 for name, process in family.items()}


def _total(memory: dict[str, float]) -> str:
    return f"{sum(memory.values()):.0f}"


def _growth(*samples: dict[str, float]) -> list[str]:
    """Memory of each worker at every measurement."""
    return [f"{name} {' -> '.join(f'{sample.get(name, 0.0):.1f}' for sample in samples)}" for name in samples[-1]]
