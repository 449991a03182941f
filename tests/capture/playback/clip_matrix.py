"""Sixty clips as people have them, each beside its plain twin: the estimates must agree.

``python -m tests.capture.playback.clip_matrix FOLDER [MODELS]`` makes all of them, prints one line each and their
distribution, and exits with 1 where an estimate differs by more than ``ALLOWED``. The twin of a clip whose rate is
below 16 kHz has the same sound: what that rate can hold.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import cv2
import numpy as np
import soxr
from numpy.typing import NDArray

from edge_mer.capture.mono import int16
from edge_mer.capture.picture import picture
from edge_mer.capture.playback.media_probe import probe
from edge_mer.capture.playback.media_readers import AudioReader, VideoReader
from edge_mer.contract.clock import SECOND
from edge_mer.fusion.model import load_fusion_model
from edge_mer.fusion.window import TokenPiece, select
from edge_mer.perception.encoder import AudioBlock, Tokens, VideoFrame
from edge_mer.perception.load import load_encoder
from edge_mer.runtime.onnx import OnnxRuntime
from edge_mer.runtime.select import models_directory
from tests.capture.media import with_matrix

# Of probability.
ALLOWED = 0.02
SOURCE = Path(__file__).parents[3] / "edge_mer" / "demo" / "assets" / "demo.mkv"
RATE, FPS, SECONDS = 16_000, 10, 4
ORIGIN_US = 10 * SECOND
F = 1 << 16
MATRICES = {0: None, 90: (0, F, -F, 0), 180: (-F, 0, 0, -F), 270: (0, -F, F, 0), "mirror": (-F, 0, 0, F)}
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Variant:
    """How a clip is stored. ``jump``: seconds that its time jumps in the middle (0: none)."""

    suffix: str = "mkv"
    video: str = "ffv1"
    audio: str = "pcm_s16le"
    rate: int = RATE
    channels: str = "mono"
    turn: int | str = 0
    jump: float = 0

    @property
    def name(self) -> str:
        return f"{self.video}-{self.audio}-{self.rate}-{self.channels}-{self.turn}-{self.jump:g}.{self.suffix}"


def variants() -> Iterator[Variant]:
    """Codecs, rates and channels, turns, jumps."""
    lossless = [("ffv1", "pcm_s16le", "mkv"), ("libx264", "flac", "mkv"), ("libx264", "pcm_s16le", "mov")]
    for (video, audio, suffix), rate, channels in product(
        lossless, (22_050, 24_000, 44_100, 48_000, 96_000), ("mono", "stereo")
    ):
        yield Variant(suffix, video, audio, rate, channels)
    for turn, rate in product((90, 180, 270, "mirror"), (RATE, 44_100, 48_000)):
        yield Variant("mov", "libx264", "pcm_s16le", rate, "mono", turn)
    for (video, audio, suffix), jump in product(lossless[:2], (10.0, 600.0, 3600.0, 36_000.0, 360_000.0)):
        yield Variant(suffix, video, audio, jump=jump)
    for rate, jump in product((44_100, 48_000), (60.0, 7200.0)):
        yield Variant("mkv", "ffv1", "flac", rate, "stereo", jump=jump)
    for rate, channels in product((12_000, 32_000), ("mono", "stereo")):
        yield Variant("mkv", "ffv1", "flac", rate, channels)


def content() -> tuple[NDArray[np.int16], list[Image]]:
    """Sound [n] at 16 kHz and pictures of the demo's first seconds."""
    clip = probe(str(SOURCE))
    sound, frames = AudioReader(clip, 0, Counter()), VideoReader(clip, 0, FPS, Counter())
    blocks = []
    while len(blocks) * 512 < SECONDS * RATE:
        sound.step()
        while (block := sound.take()) is not None:
            blocks.append(block)
    while len(frames.frames) < SECONDS * FPS:
        frames.step()
    images = [cv2.resize(picture(f, None), (320, 240)) for _, f in list(frames.frames)[: SECONDS * FPS]]
    return np.concatenate(blocks)[: SECONDS * RATE], [np.asarray(i, np.uint8) for i in images]


def resampled(sound: NDArray[np.int16], rate: int) -> NDArray[np.int16]:
    if rate == RATE:
        return sound
    resampler = av.AudioResampler("s16", "mono", rate)
    frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
    frame.sample_rate = RATE
    pieces = [f.to_ndarray()[0] for f in [*resampler.resample(frame), *resampler.resample(None)]]
    return np.concatenate(pieces).astype(np.int16)


def write(folder: Path, variant: Variant, sound: NDArray[np.int16], images: list[Image]) -> Path:
    """The clip of this variant."""
    path = folder / variant.name
    degrees = variant.turn if isinstance(variant.turn, int) else 0
    stored = [np.ascontiguousarray(np.rot90(i, degrees // 90)) for i in images]
    if variant.turn == "mirror":
        stored = [np.ascontiguousarray(i[:, ::-1]) for i in images]
    samples = resampled(sound, variant.rate)
    with av.open(str(path), "w") as container:
        video = container.add_stream(variant.video, rate=FPS)
        audio = container.add_stream(variant.audio, rate=variant.rate)
        assert isinstance(video, av.VideoStream)
        assert isinstance(audio, av.AudioStream)
        video.height, video.width = stored[0].shape[:2]
        video.pix_fmt = {"ffv1": "bgr0", "libx264": "yuv444p"}[variant.video]
        if variant.video == "libx264":
            video.options = {"qp": "1", "preset": "ultrafast"}
        audio.layout = variant.channels
        step = variant.rate // FPS
        for number, image in enumerate(stored):
            late = variant.jump if number >= len(stored) // 2 else 0
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = number + round(late * FPS), Fraction(1, FPS)
            container.mux(video.encode(frame))
            piece = samples[number * step : (number + 1) * step]
            wide = np.repeat(piece[:, None], audio.layout.nb_channels, 1).reshape(1, -1)
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(wide), format="s16", layout=variant.channels)
            block.sample_rate, block.time_base = variant.rate, Fraction(1, variant.rate)
            block.pts = number * step + round(late * variant.rate)
            container.mux(audio.encode(block))
        container.mux(video.encode())
        container.mux(audio.encode())
    matrix = MATRICES[variant.turn]
    return with_matrix(path, matrix) if matrix else path


class Estimator:
    """From a clip to the probabilities of its windows, as the processes do it but without them."""

    def __init__(self, models_dir: str | None = None) -> None:
        backend, models = OnnxRuntime(), models_directory(models_dir)
        self._fusion = load_fusion_model(backend, models)
        self._hearing, self._sight = (load_encoder(m, backend, models) for m in ("audio", "video"))

    def estimates(self, path: Path) -> tuple[NDArray[np.float32], Counter[str]]:
        """[windows, 7], each half second from the second on, and the counters of the readers."""
        counters: Counter[str] = Counter()
        pieces = {"audio": self._sound(path, counters), "video": self._pictures(path, counters)}
        rows = []
        for until in range(2 * SECOND, SECONDS * SECOND + 1, SECOND // 2):
            windows = {
                m: select(tuple(p), ORIGIN_US + until, 4 * SECOND, -1, self._fusion.capacity[m], self._fusion.dims[m])
                for m, p in pieces.items()
            }
            rows.append(self._fusion.predict("av", windows).probabilities)
        return np.asarray(rows, np.float32), counters

    def _sound(self, path: Path, counters: Counter[str]) -> list[TokenPiece]:
        encoder = self._hearing
        reader, state, found, sample = AudioReader(probe(str(path)), 0, counters), encoder.initial(), [], 0
        while not reader.ended:
            reader.step()
            while (block := reader.take()) is not None:
                at = ORIGIN_US + sample * SECOND // RATE
                state, tokens = encoder.step(state, AudioBlock(block.astype(np.float32) / np.float32(32_768), at))
                found += _piece(tokens)
                sample += len(block)
        return found

    def _pictures(self, path: Path, counters: Counter[str]) -> list[TokenPiece]:
        encoder = self._sight
        reader, state, found = VideoReader(probe(str(path)), 0, FPS, counters), encoder.initial(), []
        while not reader.ended:
            reader.step()
            while reader.frames:
                position, frame = reader.frames.popleft()
                state, tokens = encoder.step(state, VideoFrame(picture(frame, None), ORIGIN_US + position))
                found += _piece(tokens)
        return found


def _piece(t: Tokens) -> list[TokenPiece]:
    return [TokenPiece(t.values, t.start_us, t.end_us, t.valid, t.context, True, 0, 0)] if len(t.values) else []


@dataclass(frozen=True)
class Matrix:
    """Compares clips with their plain twin, whose estimates are made once for each rate that holds less."""

    folder: Path
    estimator: Estimator
    sound: NDArray[np.int16]
    images: list[Image]
    twins: dict[int, NDArray[np.float32]]

    @classmethod
    def of(cls, folder: Path, models: str | None = None) -> Matrix:
        cv2.setNumThreads(1)
        return cls(folder, Estimator(models), *content(), {})

    def twin(self, rate: int) -> NDArray[np.float32]:
        """The estimates of the plain clip, whose sound a clip of this rate can hold."""
        held = min(rate, RATE)
        if held not in self.twins:
            sound = resampled(self.sound, held).astype(np.float64) / 32_768
            back = int16(soxr.resample(sound, held, RATE, "VHQ").astype(np.float32))
            path = write(self.folder, Variant(), back, self.images)
            self.twins[held] = self.estimator.estimates(path)[0]
        return self.twins[held]

    def difference(self, variant: Variant) -> float:
        """The largest difference of a probability over all windows. The clip is read twice and must repeat exactly."""
        path = write(self.folder, variant, self.sound, self.images)
        found, counters = self.estimator.estimates(path)
        assert np.array_equal(found, self.estimator.estimates(path)[0]), f"{variant.name} does not repeat"
        assert counters["jumps"] == (2 if variant.jump else 0), f"{variant.name}: {counters}"
        path.unlink()
        return float(np.abs(found - self.twin(variant.rate)).max())


def main() -> int:
    matrix, found = Matrix.of(Path(sys.argv[1]), next(iter(sys.argv[2:]), None)), []
    for number, variant in enumerate(variants(), 1):
        found.append(matrix.difference(variant))
        print(f"{number:2} {found[-1]:.4f} {variant.name}", flush=True)
    shares = ", ".join(f"{np.mean(np.array(found) <= limit):.2f} within {limit}" for limit in (0.005, 0.01, ALLOWED))
    print(f"difference: median {np.median(found):.4f}, largest {max(found):.4f}; {shares}")
    return int(max(found) > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
