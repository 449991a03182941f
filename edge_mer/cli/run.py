"""``edge-mer run``: start everything that the config asks for, and show it until Ctrl-C."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import Annotated

import typer

from edge_mer.bus import ZmqBus, runtime_directory
from edge_mer.cli.consent import ensure, matters
from edge_mer.cli.options import ConfigFile, Json, Setting, overrides
from edge_mer.cli.startup import check_start, without_missing_words
from edge_mer.client.auto_unmask import AutoUnmask
from edge_mer.client.instance import Instance
from edge_mer.client.show import Silent, Watcher, choose
from edge_mer.config import load, sources_off
from edge_mer.contract.errors import SessionError
from edge_mer.gateway.page.http_auth import page_link
from edge_mer.host.interrupt import interruptible
from edge_mer.host.service_manager import ServiceManager
from edge_mer.privacy.consent.consent_file import CONSENT_SCOPES
from edge_mer.privacy.consent_setup import agreed_sources
from edge_mer.runtime.engine_builds import prepare


def run(
    config: ConfigFile = None,
    setting: Setting = None,
    json: Json = False,
    consent: Annotated[
        str | None,
        typer.Option("--consent", help=f"consent to one or more of {','.join(CONSENT_SCOPES)} without being asked"),
    ] = None,
    masked: Annotated[
        bool, typer.Option("--masked", help="start masked, also where no consent was given yet (services)")
    ] = False,
    silent: Annotated[bool, typer.Option("--silent", help="print no estimates (services: no log keeps them)")] = False,
) -> None:
    """Run on microphone and camera, or as configured, until Ctrl-C.

    The first start asks in the terminal for consent. Started without a terminal and without --consent, everything
    stays masked until somebody consents (edge-mer consent) and unmasks. What is configured is checked first.
    """
    resolved = without_missing_words(*load(config, overrides(setting)))
    check_start(resolved)
    is_wanted = ensure(resolved, matters(consent) if consent is not None else None, masked) and not masked
    directory = runtime_directory(resolved.run.directory)
    prepare(resolved.models, lambda line: typer.echo(line, err=True))
    with interruptible() as stop, ExitStack() as ending:
        manager = ServiceManager.from_environment(os.environ)
        ending.callback(manager.stopping)
        instance = Instance(resolved, directory)
        ending.callback(instance.stop)
        bus = ZmqBus(directory)
        ending.callback(bus.close)
        link = page_link(resolved, sys.stderr.isatty())
        if link is not None:
            typer.echo(f"the page: {link}", err=True)
        show = Silent() if silent else choose("run" if link is None else f"run   {link}", json)
        ending.callback(show.close)
        watcher = Watcher(bus, show)
        watcher.snapshot.off = sources_off(resolved)
        unmask = AutoUnmask(bus, agreed_sources(resolved) if is_wanted else ())
        if not is_wanted:
            typer.echo("edge-mer: everything is masked until somebody unmasks it: edge-mer unmask all", err=True)
        while not stop.requested:
            watcher.turn()
            manager.turn(bus.clock.now_us(), watcher.snapshot.health)
            unmask.turn()
            if unmask.refusal:
                watcher.snapshot.note(bus.clock.now_us(), f"not unmasked: {unmask.refusal}")
                unmask.refusal = ""
            instance.check()
        stopped = watcher.snapshot.recording_stopped
    if stopped is not None:
        raise SessionError(stopped)
