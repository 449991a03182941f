"""Checks before anything is started: what a configuration names must be there. The first fault is the error."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import typer
import zmq

from edge_mer.bus.curve_server import listen
from edge_mer.capture.playback.recorded import read_transcript
from edge_mer.config import Config, PageConfig, plays_with_file
from edge_mer.contract.errors import ConfigError, DeviceError, InputError, MissingExtra, SessionError
from edge_mer.contract.modalities import MODALITIES
from edge_mer.gateway.house.page_server import house_page
from edge_mer.gateway.page.http_auth import parse_address
from edge_mer.runtime.select import models_directory

Check = Callable[[Config], None]


def extras_needed(config: Config) -> Iterator[tuple[str, str, str]]:
    """(package to import, extra that installs it, setting that needs it)."""
    row = config.text.recogniser
    if row is not None and row.package is not None and row.extra is not None:
        yield row.package, row.extra, f"text.engine = {config.text.engine}"
    if config.page.address is not None:
        yield "aiohttp", "hub", "page.address"
        yield "prometheus_client", "hub", "page.address"
    if config.house.page is not None:
        yield "aiohttp", "hub", "house.page"
    if config.mqtt.address is not None:
        yield "paho", "hub", "mqtt.address"
    kind = (config.button.source or "").partition(":")[0]
    package = {"gpio": "gpiod", "evdev": "evdev"}.get(kind)
    if package is not None:
        yield package, kind, "button.source"


def is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def install_command(extra: str) -> str:
    """How to add an extra to the environment that this program runs in."""
    if "pipx" in Path(sys.prefix).parts:
        return f"pipx install --force 'edge-mer[{extra}]'"
    return f"{sys.executable} -m pip install 'edge-mer[{extra}]'"


def without_missing_words(config: Config, origin: dict[str, str]) -> Config:
    """The configuration without words, where the default recogniser is not installed; one line says so.

    A recogniser that the user chose must be installed: ``check_start`` raises MissingExtra.
    """
    row, chosen = config.text.recogniser, {origin.get("text.source"), origin.get("text.engine")} != {"default"}
    if chosen or row is None or row.package is None or is_installed(row.package):
        return config
    typer.echo(
        f"edge-mer: words are off: {row.package} is not installed; run: {install_command(row.extra or '')}, or choose "
        "another text.source",
        err=True,
    )
    return config.model_copy(update={"text": config.text.model_copy(update={"source": "off"})})


def check_start(config: Config) -> None:
    """Raises ConfigError, MissingExtra, ModelError, SessionError or InputError that names the setting at fault."""
    for check in (_extras, _files, _clip, _models, _recording, _ports):
        check(config)


def _extras(config: Config) -> None:
    for package, extra, setting in extras_needed(config):
        if not is_installed(package):
            raise MissingExtra(f"{setting} needs {package}, which is not installed; run: {install_command(extra)}")


def _files(config: Config) -> None:
    named = {
        "page.certificate": config.page.certificate,
        "page.key": config.page.key,
        "mqtt.password_file": config.mqtt.password_file,
        "mqtt.ca": config.mqtt.ca,
        "perception.yunet": config.perception.yunet,
    }
    for setting, path in named.items():
        if path is not None and not os.access(path, os.R_OK):
            raise ConfigError(
                f"{setting} = {path}: {'no permission to read it' if Path(path).exists() else 'no such file'}"
            )


def _clip(config: Config) -> None:
    if any(getattr(config, m).source == "file" for m in MODALITIES):
        from edge_mer.capture.playback.media_probe import probe

        try:
            probe(config.file.path, config.file.audio_track)
        except DeviceError as error:
            raise ConfigError(str(error)) from error
    if config.text.source == "recorded" and plays_with_file(config, "text"):
        read_transcript(config.text.path)


def _models(config: Config) -> None:
    models_directory(config.models.directory)


def _recording(config: Config) -> None:
    if config.record.path is not None:
        check_recording(Path(config.record.path))


def check_recording(path: Path) -> None:
    """Raises SessionError where no recording can be written. One that was cut off is continued under the next name."""
    from edge_mer.session.reader import is_cut

    if path.is_dir():
        raise SessionError(f"cannot record to {path}: it is a folder; name a file in it")
    if path.exists() and not is_cut(path):
        raise SessionError(f"{path} exists and is not overwritten; choose another name")
    if not path.parent.is_dir():
        raise SessionError(f"cannot record to {path}: {path.parent} is not a folder; create it first")
    check_new_file(path, may_replace=True)


def check_new_file(path: Path | None, may_replace: bool = False) -> None:
    """Raises InputError where a file of results could not be written at the end."""
    if path is None:
        return
    if path.exists() and (path.is_dir() or not may_replace):
        raise InputError(f"{path} exists and is not overwritten; choose another name")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"{path} cannot be written: {path.parent} is not a folder that you can write to")


def _check_page(setting: str, page: PageConfig) -> None:
    address = parse_address(page)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address.host, address.port))
        except OSError as error:
            raise ConfigError(
                f"{setting} = {page.address}: {error.strerror or error}; stop what uses it, or choose another port"
            ) from error


def _ports(config: Config) -> None:
    for setting, page in (("page.address", config.page), ("house.page", house_page(config))):
        if page is not None and page.address is not None:
            _check_page(setting, page)
    named = {
        "remote.listen": config.remote.listen,
        "hub.publish": config.hub.publish,
        "hub.requests": config.hub.requests,
    }
    context = zmq.Context()
    try:
        for setting, place in named.items():
            if place is not None:
                listen(context.socket(zmq.ROUTER), place, setting, max_bytes=1)
    finally:
        context.destroy(linger=0)
