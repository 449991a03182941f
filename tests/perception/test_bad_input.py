"""What real microphones, cameras and recognizers send at their worst: a defined output or a typed error, always.

Through the shipped encoders, from the raw message on.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from edge_mer.contract.errors import InputError
from edge_mer.contract.messages import Envelope, Feature, Message, RawAudio, RawText, RawVideo, WordTime
from edge_mer.perception.dialogue import PIECES
from edge_mer.perception.encoder import AudioBlock, VideoFrame
from edge_mer.perception.load import load_encoder
from edge_mer.perception.stream import FeatureDraft, FeatureStream
from edge_mer.runtime.onnx import OnnxRuntime

MODELS = Path(__file__).parents[2] / "edge_mer" / "models"
EAR, EYE, READER = (load_encoder(m, OnnxRuntime(), MODELS) for m in ("audio", "video", "text"))
RATE = 16_000


def sent(encoder: Any, body: Any, *payload: NDArray[Any]) -> FeatureDraft | None:
    """The feature of one raw message. Its values are finite; what is not valid never reaches fusion."""
    envelope = Envelope(schema="test", source="test", boot="b", seq=1, origin_us=0, created_us=0)
    _, draft = FeatureStream(encoder).step(
        FeatureStream(encoder).initial(), Message(f"raw/{encoder.spec.modality}", envelope, body, tuple(payload), b"")
    )
    if draft is not None:
        values, start, end, valid = draft.payload
        assert isinstance(draft.body, Feature)
        assert np.isfinite(values).all()
        assert values.shape == (len(start), encoder.spec.dim)
        assert len(start) == len(end) == len(valid)
    return draft


def heard(samples: NDArray[np.int16], rate: int = RATE) -> FeatureDraft | None:
    return sent(EAR, RawAudio(rate=rate, sample_index=0, overflows=0, mask_epoch=0), samples)


def seen(jpeg: NDArray[np.uint8]) -> FeatureDraft | None:
    return sent(EYE, RawVideo(frame=0, width=8, height=8, mask_epoch=0), jpeg)


def jpeg(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.imencode(".jpg", image)[1]).ravel()


def valid(draft: FeatureDraft | None) -> bool:
    return draft is not None and bool(draft.payload[3].any())


@given(samples=arrays.arrays(np.int16, st.integers(0, 9_000)))
@settings(max_examples=30)
def test_any_pcm_gives_finite_tokens(samples: NDArray[np.int16]) -> None:
    draft = heard(samples)
    assert (0 if draft is None else len(draft.payload[0])) == int(len(samples) * EAR.spec.rate_hz) // RATE


@given(samples=arrays.arrays(np.float32, st.integers(1, 4_500), elements=st.floats(width=32)))
@settings(max_examples=30)
def test_any_floats_are_refused_or_give_finite_tokens(samples: NDArray[np.float32]) -> None:
    if np.isfinite(samples).all():
        _, tokens = EAR.step(EAR.initial(), AudioBlock(samples, 0))
        assert np.isfinite(tokens.values).all()
    else:
        with pytest.raises(InputError, match="NaN or infinite"):
            EAR.step(EAR.initial(), AudioBlock(samples, 0))


def test_silence_is_no_voice() -> None:
    assert not valid(heard(np.zeros(8_000, np.int16)))


def test_a_clipped_voice_gives_defined_tokens() -> None:
    time = np.arange(16_000) / RATE
    wave = np.sign(np.sin(2 * np.pi * 150 * time)) * 32_767
    draft = heard(wave.astype(np.int16))
    assert draft is not None
    assert len(draft.payload[0]) == EAR.spec.rate_hz


@pytest.mark.parametrize("rate", [0, 8_000, 44_100, 48_000])
def test_another_rate_is_refused(rate: int) -> None:
    with pytest.raises(InputError, match=f"{rate} Hz, expected 16000 Hz"):
        heard(np.zeros(4_000, np.int16), rate)


@given(content=st.binary(max_size=4_000))
@settings(max_examples=40)
def test_what_is_no_jpeg_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="JPEG"):
        seen(np.frombuffer(content, np.uint8))


GREY = np.full((240, 320, 3), 128, np.uint8)
PICTURE = jpeg(np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8))


@given(cut=st.integers(0, len(PICTURE) - 1), at=st.integers(0, len(PICTURE) - 1), byte=st.integers(0, 255))
@settings(max_examples=40)
def test_a_damaged_jpeg_is_refused_or_gives_a_defined_token(cut: int, at: int, byte: int) -> None:
    damaged = PICTURE.copy()
    damaged[at] = byte
    for content in (damaged, PICTURE[:cut]):
        with suppress(InputError):
            seen(content)


@pytest.mark.parametrize("shape", [(0, 0, 3), (0, 320, 3), (240, 0, 3)])
def test_a_picture_without_pixels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="empty"):
        EYE.step(EYE.initial(), VideoFrame(np.zeros(shape, np.uint8), 0))


@pytest.mark.parametrize("image", [GREY, np.zeros((4320, 7680, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)])
def test_a_grey_an_8k_and_a_one_pixel_frame_hold_no_face(image: NDArray[np.uint8]) -> None:
    draft = seen(jpeg(image))
    assert draft is not None
    assert not valid(draft)
    assert draft.body.reason == "no face"


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_sideways_face_is_no_face_or_a_posterior(recordings: Path, turns: int) -> None:
    face = cv2.imread(str(recordings / "av_clips" / "pyfeat_single_face.jpg"))
    draft = seen(jpeg(np.ascontiguousarray(np.rot90(face, turns))))
    assert draft is not None
    total = float(draft.payload[0].sum())
    assert total == (pytest.approx(1, abs=1e-4) if valid(draft) else 0)


def read(*words: str) -> FeatureDraft | None:
    timed = tuple(WordTime(w, i, i + 1) for i, w in enumerate(words))
    return sent(READER, RawText(segment=1, words=timed, final=True, parent=None, engine="typed", mask_epoch=0))


@given(words=st.lists(st.text(max_size=200), max_size=60))
@settings(max_examples=40)
def test_any_transcript_gives_few_finite_tokens(words: list[str]) -> None:
    draft = read(*words)
    assert draft is not None, "an empty transcript must replace what stood there before"
    assert len(draft.payload[0]) <= PIECES


def test_an_empty_transcript_takes_back_what_was_said() -> None:
    draft = read()
    assert draft is not None
    assert len(draft.payload[0]) == 0
    assert draft.body.context == 1


@pytest.mark.parametrize(
    "words",
    [["😀", "😡🎉"], ["привет", "мир"], ["你好", "世界"], ["שלום"], ["\u202e\u0000\ufffd"], ["word"] * 10_000],
    ids=["emoji", "cyrillic", "chinese", "hebrew", "controls", "10000 words"],
)
def test_strange_and_endless_transcripts_are_defined(words: list[str]) -> None:
    draft = read(*words)
    assert draft is not None
    assert len(draft.payload[0]) <= PIECES
