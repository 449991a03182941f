"""Measures the levels of a room, from the raw messages of a running instance or from a media file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_mer.bus import Bus
from edge_mer.capture.playback.media_probe import audio_stream, open_clip, probe, video_stream
from edge_mer.capture.room.levels import AudioLevels, Measured, VideoLevels, add_audio, add_frame, measured
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import DeviceError
from edge_mer.contract.messages import Message, RawAudio

if TYPE_CHECKING:
    from edge_mer.perception.detect import FaceDetector

RATE = 16_000
# A face is searched in every fifth frame: the median of its height needs no more.
FACE_STRIDE = 5


class RoomMeasurement:
    """Both folds over blocks and frames, in the order in which they come."""

    def __init__(self, detector: FaceDetector) -> None:
        self._audio, self._video, self._detector = AudioLevels(), VideoLevels(), detector

    def result(self) -> tuple[Measured, list[str]]:
        """What was found, and what could not be measured, with figures."""
        return measured(self._audio, self._video)

    def add(self, message: Message[Any]) -> None:
        """A message of ``raw/audio`` or ``raw/video``; a frame that cannot be decoded is skipped."""
        import cv2

        body, origin = message.body, message.envelope.origin_us
        if isinstance(body, RawAudio):
            self.add_block(message.payload[0], origin, body.rate)
        elif (image := cv2.imdecode(message.payload[0], cv2.IMREAD_COLOR)) is not None:
            self.add_image(np.asarray(image, np.uint8), origin)

    def add_block(self, samples: Any, origin_us: int, rate: int) -> None:
        self._audio = add_audio(self._audio, samples, origin_us, rate)

    def add_image(self, image: Any, origin_us: int) -> None:
        """``image`` [h, w, 3], BGR."""
        import cv2

        share = None
        if len(self._video.times_us) % FACE_STRIDE == 0:
            faces = self._detector.detect(image)
            share = faces[0].box[3] / len(image) if faces else 0.0
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
        self._video = add_frame(self._video, grey, share, origin_us)


def measure_bus(measurement: RoomMeasurement, bus: Bus, seconds: float, is_stopped: Callable[[], bool]) -> None:
    """Listen to the raw topics of a running instance, which send nothing of a masked modality."""
    reader = bus.reader("raw/audio", "raw/video")
    end = bus.clock.now_us() + round(seconds * SECOND)
    while not is_stopped() and (left := end - bus.clock.now_us()) > 0:
        for message in reader.drain():
            measurement.add(message)
        bus.wait(min(left, SECOND // 10))


def measure_file(measurement: RoomMeasurement, path: Path) -> None:
    """Raises DeviceError for a file that cannot be read, or holds neither audio nor video."""
    import av

    clip = probe(str(path))
    try:
        if clip.has_audio:
            with open_clip(str(path)) as container:
                resampler, began, samples = av.AudioResampler("s16", "mono", RATE), None, 0
                for frame in container.decode(audio_stream(container)):
                    began = round((frame.time or 0.0) * SECOND) if began is None else began
                    for part in resampler.resample(frame):
                        block = part.to_ndarray()[0]
                        measurement.add_block(block, began + samples * SECOND // RATE, RATE)
                        samples += len(block)
        if clip.has_video:
            with open_clip(str(path)) as container:
                for picture in container.decode(video_stream(container)):
                    measurement.add_image(picture.to_ndarray(format="bgr24"), round((picture.time or 0.0) * SECOND))
    except (av.error.FFmpegError, ValueError) as error:
        raise DeviceError(f"{path} cannot be read: {error}") from error
