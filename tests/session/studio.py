"""An instance in memory with real encoders and the shipped fusion model; its raw media is the bundled clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.bus import MemoryBus
from edge_mer.capture.playback.media_probe import probe
from edge_mer.capture.playback.media_readers import BLOCK, AudioReader, VideoReader
from edge_mer.capture.playback.recorded import read_transcript
from edge_mer.config import Config, ModelsConfig
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.messages import Body, RawAudio, RawText, RawVideo
from edge_mer.contract.raw import SAMPLE_RATE
from edge_mer.demo.config import SESSION, WORDS
from edge_mer.fusion.model import load_fusion_model
from edge_mer.fusion.node import FusionNode
from edge_mer.perception.node import PerceptionNode
from edge_mer.runtime.select import models_directory, open_backend
from tests.session.stage import Home

FPS, WIDTH, HEIGHT, QUALITY = 10, 320, 240, 40
TICK_US = BLOCK * SECOND // SAMPLE_RATE
LENGTH_US = 12 * SECOND

Media = tuple[int, Modality, Body, NDArray[Any] | None]


@cache
def media() -> tuple[Media, ...]:
    """(time of the clip, modality, body, payload) of its first seconds, in order."""
    return tuple(sorted((*_audio(), *_video(), *_text()), key=lambda item: item[0]))


def _audio() -> Iterator[Media]:
    reader, index = AudioReader(probe(str(SESSION)), 0, Counter()), 0
    while index * TICK_US < LENGTH_US:
        block = reader.take()
        if block is None:
            reader.step()
            continue
        body = RawAudio(rate=SAMPLE_RATE, sample_index=index * BLOCK, overflows=0, mask_epoch=1)
        yield index * TICK_US, "audio", body, block
        index += 1
    reader.close()


def _video() -> Iterator[Media]:
    reader, number, position = VideoReader(probe(str(SESSION)), 0, FPS, Counter()), 0, 0
    while position < LENGTH_US:
        reader.step()
        while reader.frames:
            position, frame = reader.frames.popleft()
            image = cv2.resize(frame.to_ndarray(format="bgr24"), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
            jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].ravel()
            body = RawVideo(frame=number, width=WIDTH, height=HEIGHT, mask_epoch=1)
            yield position, "video", body, jpeg
            number += 1
    reader.close()


def _text() -> Iterator[Media]:
    for number, words in enumerate(read_transcript(str(WORDS)).segments):
        for count in range(1, len(words) + 1):
            body = RawText(
                segment=number,
                words=words[:count],
                final=count == len(words),
                parent=None,
                engine="recorded",
                mask_epoch=1,
            )
            if words[count - 1].end_us < LENGTH_US:
                yield words[count - 1].end_us, "text", body, None


class Studio(Home):
    """``run`` plays the next part of the clip; its raw media is recorded."""

    def __init__(self, path: Path, **record: Any) -> None:
        backend = open_backend(ModelsConfig())
        self.runtime = {"backend": backend.name, **backend.describe()}
        super().__init__(path, model=load_fusion_model(backend, models_directory(None)), raw=True, **record)
        self.features.clear()
        self.began_us, self.at_us = self.clock.now_us(), 0
        self.start_perception("perception1")

    def start_fusion(self, boot: str) -> FusionNode:
        self.fusion_bus = self.bus(boot)
        return FusionNode(self.fusion_bus, self.config, self.model, self.runtime)

    def start_sensors(self, boot: str) -> None:
        self.sensors = self.bus(boot)
        self.states = {m: self.sensors.publisher(f"state/{m}", f"gate.{m}") for m in MODALITIES}
        self.raw = {m: self.sensors.publisher(f"raw/{m}", f"gate.{m}") for m in MODALITIES}
        self.features = {}

    def start_perception(self, boot: str) -> None:
        self.perception_bus: MemoryBus = self.bus(boot)
        self.perception = [PerceptionNode.open(m, Config(), self.perception_bus) for m in MODALITIES]

    def restart_perception(self) -> None:
        self.perception_bus.close()
        self.start_perception(f"perception {self.at_us}")

    def run(self, seconds: float) -> None:
        """One turn per audio block; states twice a second."""
        end = self.at_us + round(seconds * SECOND)
        queue = [item for item in media() if self.at_us <= item[0] < end]
        while self.at_us < end:
            if self.at_us % (16 * TICK_US) == 0:
                for modality in MODALITIES:
                    self.publish_state(modality)
            while queue and queue[0][0] <= self.at_us:
                self.publish(*queue.pop(0))
            for node in self.perception:
                node.turn()
            self.turn()
            self.clock.advance(TICK_US)
            self.at_us += TICK_US

    def stall(self, seconds: float) -> None:
        """Capture audio and video without any turn of the workers, until it is too late to encode them."""
        end = self.at_us + round(seconds * SECOND)
        for item in media():
            if self.at_us <= item[0] < end:
                self.publish(*item)
        self.clock.advance(end - self.at_us)
        self.at_us = end

    def publish(self, at_us: int, modality: Modality, body: Any, payload: NDArray[Any] | None) -> None:
        moved = {"mask_epoch": self.epochs[modality]}
        if isinstance(body, RawText):
            moved["words"] = tuple(_later(w, self.began_us) for w in body.words)  # type: ignore[assignment]
        changed = type(body)(**{**{f: getattr(body, f) for f in body.__struct_fields__}, **moved})
        if modality not in self.silent:
            arrays = [] if payload is None else [np.ascontiguousarray(payload)]
            self.raw[modality].send(changed, arrays, origin_us=self.began_us + at_us)


def _later(word: Any, by_us: int) -> Any:
    return type(word)(word.text, word.start_us + by_us, word.end_us + by_us, word.approx)


def film(path: Path, **record: Any) -> Path:
    """Twelve seconds with a mask, a restart of perception and of fusion, and late audio."""
    studio = Studio(path, **record)
    studio.run(3.2)
    studio.mask("video")
    studio.run(1.6)
    studio.restart_perception()
    studio.run(1.6)
    studio.stall(1.2)
    studio.run(1.6)
    studio.restart_fusion()
    studio.run(3.2)
    return studio.finish()
