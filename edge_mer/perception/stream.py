"""From raw messages to feature messages: one fold around an encoder, the same live and in a replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import InputError
from edge_mer.contract.messages import Feature, Message, RawAudio, RawText, RawVideo, SeqRange
from edge_mer.perception.encoder import (
    SAMPLE_RATE,
    AudioBlock,
    Encoder,
    TextSegment,
    Tokens,
    VideoFrame,
    Word,
)

MOST_GAPS = 100  # a source that does nothing but skip must not fill the memory


@dataclass(frozen=True, slots=True)
class StreamState:
    """``encoder`` is the encoder's own state; ``first`` the first raw message that no feature covers yet.

    ``is_new``: the next feature cuts the context, because the stream began here. ``due`` is the next sequence number,
    ``skipped`` what never came or could not be used since ``first``.
    """

    encoder: Any
    boot: str = ""
    mask_epoch: int = -1
    first: int = 0
    is_new: bool = True
    due: int = 0
    skipped: tuple[SeqRange, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class FeatureDraft:
    """A feature ready to be published."""

    origin_us: int
    body: Feature
    payload: Sequence[NDArray[Any]]


class FeatureStream:
    """Folds the raw messages of one modality. Another life of the source or another mask epoch begins anew."""

    def __init__(self, encoder: Encoder[Any, Any]) -> None:
        self.encoder = encoder

    def initial(self) -> StreamState:
        return StreamState(self.encoder.initial())

    def step(self, state: StreamState, message: Message[Any]) -> tuple[StreamState, FeatureDraft | None]:
        """Fold one raw message in. Raises InputError when its content cannot be used; the state stays as it was."""
        envelope, body = message.envelope, message.body
        if envelope.boot != state.boot or body.mask_epoch != state.mask_epoch:
            seq = envelope.seq
            state = StreamState(self.encoder.initial(), envelope.boot, body.mask_epoch, first=seq, due=seq)
        state = _follow(state, envelope.seq)
        block = self._block(state, message)
        if block is None:
            return state, None
        inner, tokens = self.encoder.step(state.encoder, block)
        state = replace(state, encoder=inner)
        if not len(tokens) and not isinstance(body, RawText):
            return state, None
        draft = self._draft(state, message, tokens)
        return replace(state, first=envelope.seq + 1, is_new=False, skipped=()), draft

    def _block(self, state: StreamState, message: Message[Any]) -> AudioBlock | VideoFrame | TextSegment | None:
        body, origin_us = message.body, message.envelope.origin_us
        if isinstance(body, RawAudio):
            if body.rate != SAMPLE_RATE:
                raise InputError(f"raw/audio: {body.rate} Hz, expected {SAMPLE_RATE} Hz")
            return AudioBlock(_one(message).astype(np.float32) / np.float32(32768), origin_us)
        if isinstance(body, RawVideo):
            wants = getattr(self.encoder, "wants", None)
            if wants is not None and not wants(state.encoder, origin_us):
                return None
            return VideoFrame(_decoded(_one(message)), origin_us)
        words = tuple(Word(w.text, w.start_us, w.end_us, w.approx) for w in body.words)
        return TextSegment(body.segment, words, body.final)

    def _draft(self, state: StreamState, message: Message[Any], tokens: Tokens) -> FeatureDraft:
        envelope, body, spec = message.envelope, message.body, self.encoder.spec
        end = int(tokens.end_us.max()) if len(tokens) else envelope.origin_us
        feature = Feature(
            modality=spec.modality,
            encoder=spec.name,
            model=spec.model,
            raw_source=envelope.source,
            raw_boot=envelope.boot,
            raw_first=state.first,
            raw_last=envelope.seq,
            context=tokens.context if len(tokens) else getattr(body, "segment", 0),
            cut=state.is_new or tokens.cut,
            final=getattr(body, "final", True),
            watermark_us=end,
            biometric=not isinstance(body, RawText) or body.parent is not None,
            mask_epoch=body.mask_epoch,
            reason=getattr(state.encoder, "reason", None) or None,
            raw_skipped=state.skipped,
            began=state.is_new,
            raw_created_us=envelope.created_us,
        )
        origin = int(tokens.start_us.min()) if len(tokens) else envelope.origin_us
        payload = (tokens.values, tokens.start_us, tokens.end_us, tokens.valid.astype(np.uint8))
        return FeatureDraft(origin, feature, payload)


def _follow(state: StreamState, seq: int) -> StreamState:
    """Note what is missing before ``seq``. A message that cannot be used leaves no trace, so it is missing too."""
    if seq <= state.due:
        return replace(state, due=seq + 1)
    gap = SeqRange(state.due, seq - 1)
    return replace(state, due=seq + 1, skipped=(*state.skipped, gap)[-MOST_GAPS:])


def _decoded(jpeg: NDArray[Any]) -> NDArray[np.uint8]:
    """Raises InputError for what is no picture, an empty one and one of absurd size included."""
    try:
        image = cv2.imdecode(jpeg.astype(np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise InputError("raw/video: the frame is not a JPEG picture")
    return np.asarray(image, np.uint8)


def _one(message: Message[Any]) -> NDArray[Any]:
    if len(message.payload) != 1 or message.payload[0].ndim != 1:
        raise InputError(f"{message.topic}: expected one payload array of one dimension")
    return message.payload[0]
