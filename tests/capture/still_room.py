"""An hour of a still room through x264 and the judgement of a freeze, in less time: false alarms, and how soon a camera
is found that repeats its last pictures, or whose sensor stands still before its encoder.

``python -m tests.capture.still_room 3600`` writes the table of all qualities and noises into the README of capture.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from edge_mer.capture.freeze import Freeze
from edge_mer.contract.clock import SECOND

FPS, WIDTH, HEIGHT, KEY_EVERY = 15, 320, 180, 30
KEY_US = KEY_EVERY * SECOND // FPS
NOISES, QUALITIES = (0.5, 1.0, 2.0), (20, 25, 30, 35, 40)
README = Path(__file__).parents[2] / "edge_mer" / "capture" / "README.md"

Packets = list[tuple[bytes, bool]]


@dataclass(frozen=True)
class Result:
    """``alarms``: how often the room was called frozen while it was live; ``found_us``: time from the freeze until it
    was found, None if it was not."""

    alarms: int
    found_us: int | None


def room(seconds: int, noise: float, frozen_s: int, seed: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Grey pictures [HEIGHT, WIDTH] of furniture under fresh noise; at the end the same picture for ``frozen_s``."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    scene = 110 + 50 * np.sin(columns / 23) + 40 * ((rows // 30 + columns // 50) % 2)
    grain = random.normal(0, noise, 4 * scene.size).astype(np.float32)
    picture = scene.astype(np.uint8)
    for _ in range(seconds * FPS):
        start = int(random.integers(3 * scene.size))
        picture = np.clip(scene + grain[start : start + scene.size].reshape(scene.shape), 0, 255).astype(np.uint8)
        yield picture
    for _ in range(frozen_s * FPS):
        yield picture


def encoded(seconds: int, noise: float, crf: int, frozen_s: int = 0) -> Iterator[tuple[bytes, bool]]:
    """One packet for each picture, and whether it is a key frame."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = WIDTH, HEIGHT, "gray", FPS
    encoder.gop_size, encoder.thread_count = KEY_EVERY, 1
    encoder.options = {"crf": str(crf), "preset": "ultrafast", "tune": "zerolatency", "scenecut": "0"}
    for picture in room(seconds, noise, frozen_s):
        for packet in encoder.encode(av.VideoFrame.from_ndarray(picture, format="gray")):
            yield bytes(packet), packet.is_keyframe


def repeated(packets: Iterator[tuple[bytes, bool]], times: int) -> Iterator[tuple[bytes, bool]]:
    """At the end, the last group of pictures again and again, as a relay or a camera's own memory sends it."""
    group: Packets = []
    for packet in packets:
        group = [packet] if packet[1] else [*group, packet]
        yield packet
    for _ in range(times):
        yield from group


def judge(packets: Iterator[tuple[bytes, bool]], live_s: int) -> Result:
    """Fold the packets at their times and with some jitter of the network; after ``live_s`` the camera is frozen."""
    random = np.random.default_rng(1)
    freeze, alarms, found, was = Freeze("h264"), 0, None, False
    for number, (body, is_key) in enumerate(packets):
        at = number * SECOND // FPS + int(random.exponential(SECOND / 100))
        freeze.arrived(at, body, is_key, number)
        if number < live_s * FPS:
            alarms += freeze.frozen and not was
        elif freeze.frozen and found is None:
            found = at - live_s * SECOND
        was = freeze.frozen
    return Result(alarms, found)


def row(noise: float, seconds: int) -> str:
    cells = []
    for crf in QUALITIES:
        alive = judge(encoded(seconds, noise, crf, frozen_s=60), seconds)
        packets = judge(repeated(encoded(20, noise, crf), 5), 20)
        cells.append(f"{alive.alarms}; {_seconds(alive.found_us)}; {_seconds(packets.found_us)}")
    return f"| {noise} | {' | '.join(cells)} |"


def _seconds(found_us: int | None) -> str:
    return "never" if found_us is None else f"{found_us / SECOND:.1f} s"


def main() -> None:
    seconds = int(sys.argv[1])
    lines = [
        f"`python -m tests.capture.still_room {seconds}`: false alarms in {seconds} s of a still room behind x264, "
        f"a key frame each {KEY_US // SECOND} s; time until a frozen sensor before the encoder is found; time until "
        "packets that repeat are found",
        "",
        f"| noise | {' | '.join(f'crf {crf}' for crf in QUALITIES)} |",
        "|---" * (len(QUALITIES) + 1) + "|",
    ]
    for noise in NOISES:
        lines.append(row(noise, seconds))
        print(lines[-1], flush=True)
    marked = re.compile(r"(<!-- still room -->\n).*?(<!-- end of still room -->)", re.DOTALL)
    table = "\n".join(lines)
    README.write_text(marked.sub(lambda found: f"{found[1]}{table}\n{found[2]}", README.read_text()))


if __name__ == "__main__":
    main()
