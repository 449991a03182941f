"""``edge-mer hz``: the measured rate of every topic against the services table."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import msgspec
import typer

from edge_mer.cli.options import ConfigFile, Directory, Json
from edge_mer.cli.topic import read
from edge_mer.client.instance import connected
from edge_mer.contract.clock import SECOND
from edge_mer.contract.services import SERVICES
from edge_mer.host.interrupt import interruptible


def hz(
    seconds: Annotated[float, typer.Option(min=0.5, max=600, help="how long to count")] = 5.0,
    json: Json = False,
    directory: Directory = None,
    config: ConfigFile = None,
) -> None:
    """Measure the message rate of every topic, with gaps and drops.

    Columns: rate, the most the services table allows, gaps, and messages dropped as invalid or old.
    """
    counts = Counter[str]()
    with connected(directory, config) as bus, interruptible() as stop:
        readers = {topic: read(bus, topic) for topic, row in SERVICES.items() if row.split_from is None}
        began = bus.clock.now_us()
        while not stop.requested and (left := began + round(seconds * SECOND) - bus.clock.now_us()) > 0:
            bus.wait(min(left, SECOND // 10))
            for topic, reader in readers.items():
                # A reliable topic sends its history first.
                counts[topic] += sum(m.envelope.created_us >= began for m in reader.drain())
        took = (bus.clock.now_us() - began) / SECOND
    rows = [
        {
            "topic": topic,
            "hz": round(counts[topic] / took, 2),
            "table_hz": SERVICES[topic].rate_hz,
            "gap": reader.counters["gap"],
            "bad": reader.counters["bad"],
            "old": reader.counters["old"],
        }
        for topic, reader in readers.items()
    ]
    if json:
        for row in rows:
            typer.echo(msgspec.json.encode(row).decode())
        return
    typer.echo(f"{'topic':<16}{'hz':>8}{'at most':>9}{'gap':>6}{'bad':>6}{'old':>6}")
    for row in rows:
        typer.echo("{topic:<16}{hz:>8}{table_hz:>9}{gap:>6}{bad:>6}{old:>6}".format(**row))
