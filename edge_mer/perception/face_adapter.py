"""Pictures between the bus and their encoder: opens the encoder, and decodes raw messages into its frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import InputError
from edge_mer.contract.messages import Message, RawVideo
from edge_mer.perception.encoder import VideoFrame, one_array
from edge_mer.perception.face import FaceEncoder
from edge_mer.perception.yunet_detector import detector
from edge_mer.runtime.backend import Backend


def open_encoder(backend: Backend, models: Path, yunet: Path | None = None) -> FaceEncoder:
    """``yunet`` replaces the shipped face detector. Raises ModelError when a file is missing or damaged."""
    return FaceEncoder(backend.load(models / "face.onnx"), detector(backend, models, yunet))


def block(message: Message[RawVideo]) -> VideoFrame:
    """Raises InputError for what is no picture, an empty one and one of absurd size included."""
    return VideoFrame(_decoded(one_array(message.topic, message.payload)), message.envelope.origin_us)


def _decoded(jpeg: NDArray[Any]) -> NDArray[np.uint8]:
    try:
        image = cv2.imdecode(jpeg.astype(np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise InputError("raw/video: the frame is not a JPEG picture")
    return np.asarray(image, np.uint8)
