"""``edge-mer calibrate``: measure microphone, camera and the offset between them, and write it to the config."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_mer.capture.playback.media_probe import audio_stream, open_clip, probe, video_stream
from edge_mer.capture.room.measure import CalibrationFailed, Hearing, Measured, Seeing, hear, measured, see
from edge_mer.capture.room.quality import advice
from edge_mer.cli.options import ConfigFile, Directory
from edge_mer.client.instance import connected
from edge_mer.config import SensorsConfig, default_path, load
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import DeviceError
from edge_mer.contract.messages import Message, RawAudio
from edge_mer.host.interrupt import interruptible
from edge_mer.perception.detect import FaceDetector
from edge_mer.perception.load import detector
from edge_mer.runtime.select import models_directory, open_backend

SECTION = re.compile(r"^\[sensors\]\n.*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
RATE = 16_000
ASK = "be quiet for a moment, then speak as you usually do, then clap three times, a second apart, hands in the picture"


def calibrate(
    seconds: Annotated[float, typer.Option("--seconds", min=3, max=120, help="how long to listen and look")] = 20,
    media: Annotated[Path | None, typer.Option("--media", help="measure this file, not what runs")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print, write nothing")] = False,
    directory: Directory = None,
    config: ConfigFile = None,
) -> None:
    """Measure the sensors of the running application (no device is opened for this), or a file.

    What is masked, or did not work, keeps its old value. Writes the section [sensors] of the config, with the date;
    the next start uses it.
    """
    import datetime

    resolved, _ = load(config)
    yunet = resolved.perception.yunet
    models, backend = models_directory(resolved.models.directory), open_backend(resolved.models)
    measuring = Measuring(detector(backend, models, Path(yunet) if yunet else None))
    if media is not None:
        _play(measuring, media)
    else:
        _listen(measuring, directory, config, seconds)
    found, lacking = measured(measuring.hearing, measuring.seeing)
    for line in lacking:
        typer.echo(f"not measured: {line}", err=True)
    today = datetime.date.today()
    section = updated(resolved.sensors, found, today.isoformat())
    if section is None:
        raise CalibrationFailed(
            "nothing could be measured, and nothing is written; is anything unmasked? see: edge-mer status"
        )
    typer.echo(toml(section), nl=False)
    for line in advice(section, today):
        typer.echo(f"advice: {line}", err=True)
    if not dry_run:
        path = config or default_path()
        write(path, section)
        typer.echo(f"written to {path}; the next edge-mer run uses it", err=True)


def updated(old: SensorsConfig, found: Measured, date: str) -> SensorsConfig | None:
    """``old`` with what was found; None when nothing was."""
    import dataclasses

    fresh = {name: value for name, value in dataclasses.asdict(found).items() if value is not None}
    return old.model_copy(update={**fresh, "date": date}) if fresh else None


def toml(section: SensorsConfig) -> str:
    """The section as TOML; what was never measured is left out."""
    values = {name: value for name, value in section.model_dump().items() if value is not None}
    lines = [f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}" for name, value in values.items()]
    return "\n".join(["[sensors]", *lines, ""])


def write(path: Path, section: SensorsConfig) -> None:
    """Replace the section in the file, or add it; every other line stays as it is. Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.read_text() if path.exists() else ""
    if SECTION.search(old):
        text = SECTION.sub(lambda _: f"{toml(section)}\n", old, count=1).rstrip("\n") + "\n"
    else:
        text = f"{old.rstrip()}\n\n{toml(section)}".lstrip("\n")
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    if path.exists():
        partial.chmod(path.stat().st_mode)
    partial.replace(path)


class Measuring:
    """Both folds, fed by raw messages or by a file. ``detector`` looks at every fifth frame, which is enough."""

    def __init__(self, detector: FaceDetector) -> None:

        self.hearing, self.seeing, self._detector = Hearing(), Seeing(), detector

    def message(self, message: Message[Any]) -> None:
        """One of ``raw/audio`` or ``raw/video``; a picture that cannot be decoded is left out."""
        import cv2
        import numpy as np

        body, origin = message.body, message.envelope.origin_us
        if isinstance(body, RawAudio):
            self.sound(message.payload[0], origin, body.rate)
        elif (image := cv2.imdecode(message.payload[0], cv2.IMREAD_COLOR)) is not None:
            self.picture(np.asarray(image, np.uint8), origin)

    def sound(self, samples: Any, origin_us: int, rate: int) -> None:

        self.hearing = hear(self.hearing, samples, origin_us, rate)

    def picture(self, image: Any, origin_us: int) -> None:
        import cv2
        import numpy as np

        share = None
        if len(self.seeing.times_us) % 5 == 0:
            faces = self._detector.detect(image)
            share = faces[0].box[3] / len(image) if faces else 0.0
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
        self.seeing = see(self.seeing, grey, share, origin_us)


def _listen(measuring: Measuring, directory: Path | None, config: Path | None, seconds: float) -> None:
    """On the bus of this host, as perception does; a masked modality sends nothing."""

    with connected(directory, config) as bus, interruptible() as stop:
        reader = bus.reader("raw/audio", "raw/video")
        typer.echo(f"{seconds:.0f} s: {ASK}", err=True)
        end = bus.clock.now_us() + round(seconds * SECOND)
        while not stop.asked and (left := end - bus.clock.now_us()) > 0:
            for message in reader.drain():
                measuring.message(message)
            bus.wait(min(left, SECOND // 10))


def _play(measuring: Measuring, path: Path) -> None:
    """Raises DeviceError for a file that cannot be read, or holds neither track."""
    import av

    clip = probe(str(path))
    try:
        if clip.has_audio:
            with open_clip(str(path)) as container:
                resampler, began = av.AudioResampler("s16", "mono", RATE), None
                for frame in container.decode(audio_stream(container)):
                    began = round((frame.time or 0.0) * SECOND) if began is None else began
                    for part in resampler.resample(frame):
                        at = began + measuring.hearing.samples * SECOND // RATE
                        measuring.sound(part.to_ndarray()[0], at, RATE)
        if clip.has_video:
            with open_clip(str(path)) as container:
                for picture in container.decode(video_stream(container)):
                    measuring.picture(picture.to_ndarray(format="bgr24"), round((picture.time or 0.0) * SECOND))
    except (av.error.FFmpegError, ValueError) as error:
        raise DeviceError(f"{path} cannot be read: {error}") from error
