"""Turns the data sets into tracks of tokens, as the encoders on the device make them or augmented for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_mer.perception.audio import TOKEN_SAMPLES
from edge_mer.perception.encoder import SAMPLE_RATE, AudioBlock, Encoder, TextSegment, Word
from edge_mer.perception.face import SLOT_US
from edge_mer.perception.text import SentencePiece
from pipelines.data.corpora import NO_ORDINAL, Faces, Sentence, Speech
from pipelines.encoders import audio_frames, face_augment, misheard, text_input
from pipelines.encoders.audio_frames import clip_of
from pipelines.fusion.windows import Example, TokenTrack, text_track

Floats = NDArray[np.float32]
AudioTokens = Callable[[Tensor, Tensor], Floats]
"""Log-mel [B, 146 + 10 n, 64] and pitch [B, 146 + 10 n, 2] -> tokens [B, n, 64]."""
FaceTokens = Callable[[Tensor], Floats]
"""Faces [B, 1, 48, 48] in [0, 1] -> posteriors [B, 7]."""
TextTokens = Callable[[Tensor, Tensor], Floats]
"""Ids int64 [B, 24] and mask [B, 24] -> tokens [B, 24, 64]."""
TOWARDS: Final = 0.85


def video_track(speech: Speech) -> TokenTrack:
    """The face posteriors of one clip at 5 tokens per second: the first frame at or after each 200 ms."""
    slots = np.arange(0, speech.duration_s, SLOT_US / 1e6)
    found = np.searchsorted(speech.times_s, slots - 1e-9)
    first = np.unique(found[found < len(speech.times_s)])
    return TokenTrack(speech.posteriors[first], speech.times_s[first], np.ones(len(first), np.bool_))


def audio_track(encoder: Encoder[Any, AudioBlock], samples: NDArray[np.float32]) -> TokenTrack:
    """The tokens of one clip through the encoder on the device."""
    _, tokens = encoder.step(encoder.initial(), AudioBlock(samples, 0))
    return TokenTrack(tokens.values, tokens.end_us / 1e6, tokens.valid)


def joint(encoder: Encoder[Any, AudioBlock], clips: Sequence[Speech]) -> list[Example]:
    """Voice and face of each clip on one clock."""
    return [
        Example(
            {"audio": audio_track(encoder, c.samples()), "video": video_track(c)}, c.emotion, group=f"actor {c.actor}"
        )
        for c in clips
    ]


def augmented_joint(
    examples: Sequence[Example], clips: Sequence[Speech], encode: AudioTokens, copies: int, seed: int = 0
) -> list[Example]:
    """``copies`` of each example with augmented audio, moved towards that of another clip.

    The encoder was trained on these actors: on their voices it is surer than on a stranger's, and a fusion trained on
    such tokens would rely on audio too much. The move, at most 0.85 of the way, makes the train clips about as hard to
    tell apart as those of the dev actors are.
    """
    random, numbers = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    tokens: list[Floats] = []
    for speech in clips:
        frames = torch.from_numpy(clip_of(speech.samples(), speech.acted).frames).expand(copies, -1, -1)
        tokens.append(encode(*audio_frames.augment(frames, random)))
    valid = [example.tracks["audio"].valid for example in examples]
    centres = np.stack([t[:, v].mean(1) if v.any() else t.mean(1) for t, v in zip(tokens, valid, strict=True)])
    out: list[Example] = []
    for i, example in enumerate(examples):
        end = (np.arange(len(valid[i])) + 1) * TOKEN_SAMPLES / SAMPLE_RATE
        for copy in range(copies):
            other = centres[numbers.integers(len(examples)), copy]
            values = tokens[i][copy] + np.float32(numbers.uniform(0, TOWARDS)) * (other - centres[i, copy])
            tracks = {**example.tracks, "audio": TokenTrack(values, end, valid[i])}
            out.append(Example(tracks, example.emotion, group=example.group))
    return out


def face_clips(faces: Faces, encode: FaceTokens, frames: int, seed: int = 0) -> list[Example]:
    """One short clip per still face: the same face under ``frames`` small changes."""
    random = torch.Generator().manual_seed(seed)
    end = np.arange(frames) * SLOT_US / 1e6
    valid = np.ones(frames, np.bool_)
    out: list[Example] = []
    for part, labels in zip(
        torch.split(torch.from_numpy(faces.images), 32), torch.split(torch.from_numpy(faces.labels), 32), strict=True
    ):
        still = face_augment.augment(part[:, None].float() / 255, random)
        posterior = encode(face_augment.jitter(still.repeat_interleave(frames, 0), random))
        for values, label in zip(posterior.reshape(len(part), frames, -1), labels.tolist(), strict=True):
            out.append(Example({"video": TokenTrack(values, end, valid)}, label))
    return out


def texts(encoder: Encoder[Any, TextSegment], rows: Sequence[Sentence]) -> list[Example]:
    """Sentences without punctuation through the encoder on the device, each without a turn before it."""
    return text_examples(text_tokens(encoder, bare_words(rows)), rows)


def bare_words(rows: Sequence[Sentence]) -> list[list[str]]:
    """The words of each row, without punctuation."""
    return [text_input.bare(row.text).split() for row in rows]


def misheard_words(rows: Sequence[Sentence], seed: int = 0) -> list[list[str]]:
    """The words of every other row as written, of the rest without punctuation and with a recogniser's errors."""
    random, confused = np.random.default_rng(seed), misheard.confusions(row.text for row in rows)
    return [
        confused.heard(misheard.bare(row.text).split(), random) if i % 2 else row.text.split()
        for i, row in enumerate(rows)
    ]


def text_tokens(encoder: Encoder[Any, TextSegment], texts: Sequence[Sequence[str]]) -> list[Floats]:
    """The tokens [n, d] of each text; none of a text that the encoder refuses."""
    found = []
    for text in texts:
        words = tuple(Word(w, i, i + 1) for i, w in enumerate(text))
        _, tokens = encoder.step(encoder.initial(), TextSegment(0, words, True))
        found.append(tokens.values[tokens.valid])
    return found


def text_examples(vectors: Sequence[Floats], rows: Sequence[Sentence]) -> list[Example]:
    """``rows[i]`` with the tokens ``vectors[i]``; a text without a token is left out."""
    return [_text_example(v, row) for v, row in zip(vectors, rows, strict=True) if len(v)]


def augmented_texts(
    rows: Sequence[Sentence], tokenizer: SentencePiece, encode: TextTokens, seed: int = 0
) -> list[Example]:
    """Sentences with a fifth of their sub-words unknown, half of them without punctuation."""
    encoded = text_input.encode(tokenizer, rows)
    random = torch.Generator().manual_seed(seed)
    out: list[Example] = []
    for start in range(0, len(rows), 512):
        some = range(start, min(start + 512, len(rows)))
        ids, mask = text_input.batch([(encoded.full if i % 2 else encoded.bare)[i] for i in some])
        lost = torch.rand(ids.shape, generator=random) < 0.2
        tokens = encode(torch.where(lost, torch.full_like(ids, text_input.UNK), ids), mask)
        out += [_text_example(tokens[r][mask[r].numpy() > 0], rows[i]) for r, i in enumerate(some)]
    return out


def _text_example(vectors: NDArray[np.float32], row: Sentence) -> Example:
    ordinal = NO_ORDINAL if row.ordinal is None else row.ordinal
    return Example({"text": text_track(vectors)}, row.emotion, ordinal, row.score, row.group)
