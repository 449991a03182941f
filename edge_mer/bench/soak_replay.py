"""``edge-mer soak replay``: replays a session in real processes, many times at each speed, half under CPU load."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import msgspec
import typer

from edge_mer.bench.busy import busy
from edge_mer.bench.live import unmask
from edge_mer.bus import ZmqBus
from edge_mer.client import SwitchClient
from edge_mer.client.instance import Instance, temporary_place
from edge_mer.config import Config, load
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import EdgeMerError
from edge_mer.demo.config import demo_config
from edge_mer.session import replay_components as parts
from edge_mer.session import verifier
from edge_mer.session.player import Speed
from edge_mer.session.process_replay import ProcessReplay, replay_in_process

SPEEDS: tuple[Speed, ...] = (0.5, 1.0, "max")
WARM_UP_S = 60.0


def soak_replay(file: Path | None, runs: int, seconds: float, json: bool) -> bool:
    config, _ = load(None)
    bad = 0
    with nullcontext((file, config)) if file is not None else recorded(seconds) as (path, settings):
        report = verifier.verify(path, parts.installed(settings))
        if not report.identical:
            raise EdgeMerError(f"{path} does not verify: {report.reason}")
        for speed in SPEEDS:
            for number in range(runs):
                with busy(os.cpu_count() or 1) if number % 2 else nullcontext():
                    outcome = replay_in_process(path, settings, speed)
                bad += not outcome.identical
                typer.echo(msgspec.json.encode(outcome).decode() if json else _line(outcome, number))
    typer.echo(f"{runs} runs at each of {', '.join(map(str, SPEEDS))}: {bad} not identical", err=json)
    return not bad


def _line(outcome: ProcessReplay, number: int) -> str:
    return f"{number + 1:3} {'busy' if number % 2 else 'idle'}  {outcome.line}"


@contextmanager
def recorded(seconds: float) -> Iterator[tuple[Path, Config]]:
    """A recording of the bundled session through the real application, with raw media and a mask, for ``seconds``."""
    with temporary_place() as place:
        path, runtime = Path(place) / "soak.mcap", Path(place) / "run"
        runtime.mkdir(mode=0o700)
        record = {"raw": True, "encrypt": False, "path": str(path), "min_free_mb": 0}
        config = demo_config(Path(place), None, path, {"record": record})
        instance, bus = Instance(config, runtime), ZmqBus(runtime)
        try:
            reader, switch = bus.reader("emotion"), SwitchClient.on_bus(bus)
            unmask(bus)
            _until(bus, instance, WARM_UP_S, lambda: any(m.body.combination == "atv" for m in reader.drain()))
            _until(bus, instance, seconds * 0.5)
            switch.mask("audio")
            _until(bus, instance, seconds * 0.2)
            switch.unmask("audio")
            _until(bus, instance, seconds * 0.3)
        finally:
            instance.stop()
            bus.close()
        yield path, config


def _until(bus: ZmqBus, instance: Instance, for_s: float, done: Callable[[], bool] = lambda: False) -> None:
    end = time.monotonic() + for_s
    while time.monotonic() < end and not done():
        instance.check()
        bus.wait(SECOND // 10)
