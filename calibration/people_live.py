"""What several people cost a running instance: time to their estimates, CPU and memory.

``python -m calibration.people_live`` writes the section People, live of RESULTS.md. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any, Final

import av
import cv2

from calibration import report
from calibration.people import rows_of
from calibration.people_scenes import FPS, HEIGHT, WIDTH, Scene, talking
from edge_mer.bench.live import session
from edge_mer.contract.errors import EdgeMerError
from edge_mer.perception.encoder import SAMPLE_RATE
from edge_mer.perception.yunet_detector import detector
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.corpora import DEFAULT_ROOT
from pipelines.encoders.shipped import MODELS

TARGET_MS: Final = 40.0


def film(scene: Scene, path: Path) -> None:
    """The scene as a clip: H.264 and AAC."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("h264", rate=FPS)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = out.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for shot in scene.shots():
            out.mux(video.encode(av.VideoFrame.from_ndarray(shot.frame.image, format="bgr24")))
        sound = av.AudioFrame.from_ndarray(scene.sound[None], format="fltp", layout="mono")
        sound.sample_rate = SAMPLE_RATE
        out.mux(audio.encode(sound))
        for stream in (video, audio):
            out.mux(stream.encode())


def markdown(root: Path, seconds: float) -> str:
    talkers = talking(root, detector(OnnxRuntime(), MODELS))
    rows = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        for count in (1, 2, 4):
            (scene,) = islice(rows_of(talkers, count), 1)
            clip = Path(place) / f"{count}.mp4"
            film(scene, clip)
            sections: dict[str, dict[str, Any]] = {"file": {"path": str(clip)}, "text": {"source": "off", "path": None}}
            found = session(str(count), sections, seconds, TARGET_MS)
            rows += [
                [str(count), f.name.removesuffix(f", {count}"), f"{f.value:g} {f.unit}"]
                for f in found
                if not f.name.startswith("stage")
            ]
    return f"""`python -m calibration.people_live`: clips of 1, 2 and 4 people (`calibration/people_scenes.py`) as
microphone and camera, {seconds:.0f} s each; load of the machine before: {load:.1f}. Target: 40 ms from the hop boundary
to the estimate at 4 people (p95).

{report.table(["people", "what", "figure"], rows)}"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m calibration.people_live", description="People, live.")
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--report", type=Path, default=report.FILE, help="file whose section is written")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        text = markdown(arguments.data, arguments.seconds)
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error
    report.section(arguments.report, "People, live", text)
    print(text)


if __name__ == "__main__":
    main()
