"""A ViT expression classifier as face encoder: the starter encoder detects and tracks the face, the ViT classifies the
colour image.
"""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.domain import EMOTIONS, NAMES
from edge_mer.contract.errors import ModelError
from edge_mer.large.checkpoint import LargeCheckpoint
from edge_mer.perception.crop import square
from edge_mer.perception.detect import Face, FaceDetector, Image
from edge_mer.perception.encoder import EncoderSpec
from edge_mer.perception.face import SLOT_US, FaceEncoder


class LargeFaceEncoder(FaceEncoder):
    """Tokens ``[7 + hidden]``: the posterior in the order of EMOTIONS, then the state of the class token."""

    def __init__(self, checkpoint: LargeCheckpoint, detector: FaceDetector) -> None:
        self.detector = detector
        self._model = checkpoint.model("AutoModelForImageClassification")
        labels_of = {int(i): NAMES.get(str(name).lower()) for i, name in self._model.config.id2label.items()}
        if missing := [e for e in EMOTIONS if e not in labels_of.values()]:
            labels = ", ".join(map(str, self._model.config.id2label.values()))
            raise ModelError(f"{checkpoint.name}: its labels are {labels}; it lacks {', '.join(missing)}")
        self._columns = [[i for i, name in labels_of.items() if name == e] for e in EMOTIONS]
        self._side, self._mean, self._std = _preprocessing(checkpoint)
        self.spec = EncoderSpec(
            name=checkpoint.name,
            modality="video",
            rate_hz=1e6 / SLOT_US,
            dim=len(EMOTIONS) + int(self._model.config.hidden_size),
            latency_us=0,
            model=checkpoint.sha256[:16],
        )

    def read(self, image: Image, face: Face) -> NDArray[np.float32]:
        import torch

        crop = cv2.cvtColor(square(image, face.box, face.pose.roll), cv2.COLOR_BGR2RGB)
        pixels = cv2.resize(crop, (self._side, self._side), interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255
        pixels = ((pixels - self._mean) / self._std).transpose(2, 0, 1).astype(np.float32)
        with torch.inference_mode():
            out: Any = self._model(torch.from_numpy(pixels[None]), output_hidden_states=True)
        posterior = torch.softmax(out.logits[0].float(), -1).numpy()
        seven = np.array([posterior[columns].sum() for columns in self._columns], np.float32)
        state = out.hidden_states[-1][0, 0].float().numpy()
        return np.concatenate([seven / seven.sum(), state])[None].astype(np.float32)


def _preprocessing(checkpoint: LargeCheckpoint) -> tuple[int, NDArray[np.float32], NDArray[np.float32]]:
    """Side in pixels, mean and deviation of the channels, of ``preprocessor_config.json``."""
    path = checkpoint.folder / "preprocessor_config.json"
    try:
        facts = json.loads(path.read_text())
        size = facts["size"]
        side = int(size if isinstance(size, int) else size["height"])
        mean, std = (np.array(facts[k], np.float32).reshape(3) for k in ("image_mean", "image_std"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{checkpoint.name}: {path.name} with size, image_mean and image_std is needed") from error
    return side, mean, std
