"""Decoded sound of any kind as 16 kHz mono: the format may change from one frame to the next."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

from edge_mer.capture.mono import MonoStream


class SoundFrames:
    """Frames of PyAV to int16 at 16 kHz. At a change of rate or channels, which ``changes`` counts, what was kept back
    comes first."""

    def __init__(self) -> None:
        self._form: tuple[int, int] | None = None
        self._mono: MonoStream | None = None
        self.changes = 0

    @property
    def kept(self) -> int:
        """Samples of the output that the frames so far will still give."""
        return 0 if self._mono is None else self._mono.kept

    def feed(self, frame: av.AudioFrame | None) -> NDArray[np.int16]:
        """None: the end."""
        samples = None if frame is None else floats(frame)
        form = None if frame is None or samples is None else (frame.sample_rate, samples.shape[1])
        kept = np.empty(0, np.int16)
        if self._mono is not None and self._form is not None and form != self._form:
            kept = self._mono.feed(np.empty((0, self._form[1]), np.float32), last=True)
        self.changes += form is not None and self._form is not None and form != self._form
        if samples is None or form is None:
            self._form = self._mono = None
            return kept
        if self._mono is None or form != self._form:
            self._form, self._mono = form, MonoStream(*form)
        return np.concatenate([kept, self._mono.feed(samples)])


def floats(frame: av.AudioFrame) -> NDArray[np.float32]:
    """float32 [n, channels] in [-1, 1]."""
    array = frame.to_ndarray()
    samples = array.T if frame.format.is_planar else array.reshape(-1, len(frame.layout.channels))
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / np.float32(128)
    elif samples.dtype.kind == "i":
        samples = samples / np.float32(-float(np.iinfo(samples.dtype).min))
    return np.ascontiguousarray(samples, np.float32)
