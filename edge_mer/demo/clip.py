"""A file of the user, as the demo plays it: short clips repeat, and a photograph becomes a still of some seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from edge_mer.capture.playback.media_probe import probe
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import DeviceError, InputError

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
LEAST_S = 8.0  # a window is 4 s long, so a shorter clip would give no full one
STILL_S, STILL_FPS, STILL_WIDTH = 6, 10, 640


@dataclass(frozen=True, slots=True)
class Clip:
    """``path`` is played ``laps`` times, ``seconds`` in all. ``name``: of the user's file."""

    name: str
    path: Path
    seconds: float
    laps: int
    is_photo: bool

    def sections(self) -> dict[str, dict[str, Any]]:
        """What differs from the configuration of the demo."""
        found: dict[str, dict[str, Any]] = {"file": {"path": str(self.path), "loop": self.laps > 1}}
        return {**found, "audio": {"source": "off"}, "text": {"source": "off"}} if self.is_photo else found


def open_clip(path: Path, place: Path) -> Clip:
    """``place``: a folder for the still of a photograph. Raises InputError that names the file."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the files in it")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix.lower() in PICTURES:
        return Clip(path.name, still(path, place / "still.mkv"), STILL_S, 1, True)
    try:
        seconds = probe(str(path)).duration_us / SECOND
    except DeviceError as error:
        raise InputError(str(error)) from error
    laps = math.ceil(LEAST_S / seconds) if 0 < seconds < LEAST_S else 1
    return Clip(path.name, path.absolute(), seconds * laps, laps, False)


def still(photo: Path, out: Path) -> Path:
    """A video of one picture, upright, at most ``STILL_WIDTH`` wide."""
    import cv2  # here, because it would delay the start of every other clip

    image = cv2.imread(str(photo))
    if image is None:
        raise InputError(f"{photo} is damaged or no picture")
    height, width = image.shape[:2]
    scale = min(1.0, STILL_WIDTH / width)
    size = max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
    jpeg = cv2.imencode(".jpg", cv2.resize(image, size, interpolation=cv2.INTER_AREA))[1].tobytes()
    with av.open(str(out), "w") as container:
        stream = container.add_stream("mjpeg", rate=STILL_FPS)
        stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p"
        for number in range(STILL_S * STILL_FPS):
            packet = av.Packet(jpeg)
            packet.stream, packet.time_base = stream, Fraction(1, STILL_FPS)
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            container.mux(packet)
    return out
