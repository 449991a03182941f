"""``edge-mer tap TOPIC``: every message of one topic, its header as JSON."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_mer.cli.options import ConfigFile, Directory
from edge_mer.cli.topic import known, read
from edge_mer.client.instance import connected
from edge_mer.contract.clock import SECOND
from edge_mer.host.interrupt import interruptible


def tap(
    topic: Annotated[str, typer.Argument(help="for example emotion, state/audio, health")],
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="stop after this many messages")] = None,
    directory: Directory = None,
    config: ConfigFile = None,
) -> None:
    """Print the header of every message of one topic until Ctrl-C.

    Its field "payload" lists the payload frames.
    """
    name = known(topic)
    left = count
    with connected(directory, config) as bus, interruptible() as stop:
        reader = read(bus, name)
        while not stop.requested and left != 0:
            for message in reader.drain()[:left]:
                typer.echo(message.header.decode())
                left = None if left is None else left - 1
            if left != 0:
                bus.wait(SECOND // 4)
