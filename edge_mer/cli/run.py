"""``edge-mer run``: start everything that the config asks for, and show it until Ctrl-C."""

from __future__ import annotations

from contextlib import ExitStack

import typer

from edge_mer.cli.options import ConfigFile, Json, Setting, overrides


def run(config: ConfigFile = None, setting: Setting = None, json: Json = False) -> None:
    """Run on this machine's microphone and camera (or as the config says) until Ctrl-C."""
    from edge_mer.bus import ZmqBus, runtime_directory
    from edge_mer.cli.engine import prepare
    from edge_mer.cli.instance import Instance
    from edge_mer.cli.interrupt import interruptible
    from edge_mer.cli.show import Watcher, choose
    from edge_mer.config import load

    resolved, _ = load(config, overrides(setting))
    directory = runtime_directory(resolved.run.directory)
    prepare(resolved.models, lambda line: typer.echo(line, err=True))
    with interruptible() as stop, ExitStack() as ending:
        instance = Instance(resolved, directory)
        ending.callback(instance.stop)
        bus = ZmqBus(directory)
        ending.callback(bus.close)
        show = choose("run", json)
        ending.callback(show.close)
        watcher = Watcher(bus, show)
        while not stop.asked:
            watcher.turn()
            instance.check()
