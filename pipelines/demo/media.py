"""The session of ``edge-mer demo --chaos``: ``python -m pipelines.demo OUT`` writes demo.mkv and demo.words.json.

A drawn face (demo_face) speaks with espeak-ng (demo_voice): nothing in it comes from any person or data set. The
same machine makes the same bytes every time. ``demo.words.json`` is a recorded transcript
(edge_mer.capture.playback.recorded).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from pipelines.demo.face import EXPRESSIONS, HEIGHT, WIDTH, Expression, Image, Pose, draw
from pipelines.demo.voice import RATE, Espeak, Voice

FPS = 15
SEED = 20_261_121
GRAIN_S = Fraction(4, 5)  # whole video frames and whole audio blocks of 32 ms: the clip loops without a seam
CHANGE_S = 0.35
BLINKS_S = (1.9, 5.3, 8.7, 12.4, 16.8, 20.9)


@dataclass(frozen=True, slots=True)
class DemoLine:
    """One sentence, how it is spoken and shown, and the silence before it."""

    expression: str
    text: str
    voice: Voice
    pause_s: float = 0.2


SCRIPT = (
    DemoLine("neutral", "This is a drawn face. It speaks about how it feels today.", Voice("en-us+f3", 165, 50, 40)),
    DemoLine("happy", "I am so happy, this is a wonderful and lovely morning!", Voice("en-us+f3", 175, 72, 80)),
    DemoLine(
        "sad", "But now I feel sad and lonely, because my good friend is gone.", Voice("en-us+f3", 140, 32, 20), 2.0
    ),
    DemoLine("angry", "Stop it! I am very angry, this is terrible and I hate it!", Voice("en-us+m3", 185, 55, 70)),
    DemoLine("surprise", "Oh wow, really? I did not expect that, what a surprise!", Voice("en-us+f2", 175, 80, 95)),
    DemoLine("neutral", "Well, that is all for now, and we begin again.", Voice("en-us+f3", 165, 50, 40)),
)


@dataclass(frozen=True, slots=True, eq=False)
class DemoSession:
    """``samples`` int16 [n] at 16 kHz; ``lines`` are (expression, start, end, words), all times in seconds."""

    samples: NDArray[np.int16]
    lines: tuple[tuple[str, float, float, tuple[tuple[str, float, float], ...]], ...]

    @property
    def duration_s(self) -> float:
        return len(self.samples) / RATE


def speak(script: tuple[DemoLine, ...] = SCRIPT) -> DemoSession:
    """All sentences, one after the other, padded with silence to a whole number of GRAIN_S."""
    espeak = Espeak()
    pieces: list[NDArray[np.int16]] = []
    lines = []
    position = 0
    for line in script:
        silence = np.zeros(round(line.pause_s * RATE), np.int16)
        said = espeak.say(line.text, line.voice)
        start = (position + len(silence)) / RATE
        words = tuple((w, round(start + a, 3), round(start + b, 3)) for w, a, b in said.words)
        lines.append((line.expression, start, start + len(said.samples) / RATE, words))
        pieces += [silence, said.samples]
        position += len(silence) + len(said.samples)
    grain = round(GRAIN_S * RATE)
    pieces.append(np.zeros(-position % grain, np.int16))
    return DemoSession(np.concatenate(pieces), tuple(lines))


def frames(session: DemoSession) -> list[Image]:
    """The face at FPS: expressions follow the lines, the mouth follows the loudness, and it blinks."""
    noise = np.random.default_rng(SEED)
    times = np.arange(round(session.duration_s * FPS)) / FPS
    loudness = _loudness(session.samples, times)
    return [
        draw(_face(session, float(t), float(volume)), _sway(float(t) / session.duration_s), noise)
        for t, volume in zip(times, loudness, strict=True)
    ]


def write_session(out: Path) -> Path:
    session = speak()
    write(out / "demo.mkv", session.samples, frames(session))
    (out / "demo.words.json").write_text(json.dumps(transcript(session), indent=1) + "\n", "utf-8")
    return out / "demo.mkv"


def transcript(session: DemoSession) -> dict[str, object]:
    """The recorded transcript: words with their times in seconds from the first instant of the media."""
    return {
        "schema": "edge_mer.transcript/1",
        "duration_s": session.duration_s,
        "segments": [{"words": [list(word) for word in words]} for *_, words in session.lines],
    }


def write(path: Path, samples: NDArray[np.int16], images: Iterable[Image], bit_rate: int = 380_000) -> None:
    """MPEG-4 and FLAC in Matroska, every one of them readable by any FFmpeg."""
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        container.flags |= 0x0400  # AVFMT_FLAG_BITEXACT: no random id, no date
        video = container.add_stream("mpeg4", rate=FPS, options={"flags": "+bitexact", "qmin": "2", "qmax": "12"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.bit_rate, video.gop_size, video.max_b_frames = bit_rate, FPS, 0
        video.thread_count = 1
        audio = container.add_stream("flac", rate=RATE, layout="mono", options={"flags": "+bitexact"})
        audio.format = "s16"
        for index, image in enumerate(images):
            picture = av.VideoFrame.from_ndarray(image, format="bgr24")
            picture.pts, picture.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(picture))
            _mux_sound(container, audio, samples, index * RATE // FPS, (index + 1) * RATE // FPS)
        container.mux(video.encode())
        container.mux(audio.encode())


def _mux_sound(
    container: av.container.OutputContainer,
    stream: av.AudioStream,
    samples: NDArray[np.int16],
    start: int,
    end: int,
) -> None:
    sound = av.AudioFrame.from_ndarray(samples[None, start:end], format="s16", layout="mono")
    sound.sample_rate, sound.pts, sound.time_base = RATE, start, Fraction(1, RATE)
    container.mux(stream.encode(sound))


def _loudness(samples: NDArray[np.int16], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """0..1 at each video frame: root mean square over the 60 ms that follow it."""
    pieces = [samples[int(t * RATE) : int((t + 0.06) * RATE)].astype(np.float64) for t in times]
    rms = np.array([np.sqrt(np.mean(p**2)) if len(p) else 0.0 for p in pieces])
    loud: NDArray[np.float64] = np.minimum(1.0, rms / np.percentile(rms, 95))
    return loud


def _face(session: DemoSession, t: float, volume: float) -> Expression:
    face = _expression(session, t)
    blink = max(0.0, 1 - min(abs(t - b) for b in BLINKS_S) / 0.1)
    return replace(face, eyes=face.eyes * (1 - blink), mouth=face.mouth + 0.7 * volume * (1 - 0.4 * face.mouth))


def _expression(session: DemoSession, t: float) -> Expression:
    """The line that is spoken now, or was last; each change takes CHANGE_S."""
    current = EXPRESSIONS[session.lines[0][0]]
    for name, start, _, _ in session.lines:
        share = np.clip((t - start) / CHANGE_S + 0.5, 0, 1)
        current = current.towards(EXPRESSIONS[name], float(share))
    return current


def _sway(phase: float) -> Pose:
    """A small head movement with whole periods, so that the last frame leads into the first."""
    turn = 2 * np.pi * phase
    return Pose(dx=5 * np.sin(3 * turn), dy=2.5 * np.sin(5 * turn), roll=2.5 * np.sin(4 * turn))
