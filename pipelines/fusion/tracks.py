"""Turns the data sets into tracks of tokens, as the encoders on the device make them or augmented for training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from edge_mer.perception.audio import TOKEN_SAMPLES
from edge_mer.perception.encoder import SAMPLE_RATE, AudioBlock, Encoder, TextSegment, Word
from edge_mer.perception.face import SLOT_US
from edge_mer.perception.text import SentencePiece, TextEncoder
from edge_mer.runtime.backend import Graph
from pipelines.data.corpora import NO_ORDINAL, Faces, Sentence, Speech
from pipelines.encoders import audio, checkpoint, face, text
from pipelines.encoders.nets import AudioNet, FaceNet, TextNet
from pipelines.fusion.windows import Example, TokenTrack, text_track

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
    examples: Sequence[Example], clips: Sequence[Speech], runs: Path, copies: int, seed: int = 0
) -> list[Example]:
    """``copies`` of each example with the voice in other rooms, and moved towards that of another clip.

    The encoder has seen these actors: on their voices it is surer than it will ever be on a stranger's, and a
    fusion trained on such tokens would trust the ear more than it deserves. The move, at most 0.85 of the
    way, makes the train clips about as hard to tell apart as those of the dev actors are.
    """
    net = AudioNet()
    net.load_state_dict(dict(checkpoint.load(runs / "audio.pt").weights))
    net.eval()
    random, numbers = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    heard: list[NDArray[np.float32]] = []
    for speech in clips:
        frames = torch.from_numpy(audio.clip_of(speech.samples(), speech.acted).frames).expand(copies, -1, -1)
        with torch.no_grad():
            heard.append(net(*audio.augment(frames, random)).numpy())
    valid = [example.tracks["audio"].valid for example in examples]
    centres = np.stack([h[:, v].mean(1) if v.any() else h.mean(1) for h, v in zip(heard, valid, strict=True)])
    out: list[Example] = []
    for i, example in enumerate(examples):
        end = (np.arange(len(valid[i])) + 1) * TOKEN_SAMPLES / SAMPLE_RATE
        for copy in range(copies):
            other = centres[numbers.integers(len(examples)), copy]
            values = heard[i][copy] + np.float32(numbers.uniform(0, TOWARDS)) * (other - centres[i, copy])
            out.append(Example({**example.tracks, "audio": TokenTrack(values, end, valid[i])}, example.emotion))
    return out


def face_clips(faces: Faces, runs: Path, frames: int = 10, seed: int = 0) -> list[Example]:
    """One short clip per still face: the same face under ``frames`` small changes."""
    net = FaceNet()
    saved = checkpoint.load(runs / "face.pt")
    net.load_state_dict(dict(saved.weights))
    net.eval()
    random = torch.Generator().manual_seed(seed)
    end = np.arange(frames) * SLOT_US / 1e6
    valid = np.ones(frames, np.bool_)
    out: list[Example] = []
    for part, labels in zip(
        torch.split(torch.from_numpy(faces.images), 32), torch.split(torch.from_numpy(faces.labels), 32), strict=True
    ):
        with torch.no_grad():
            still = face.augment(part[:, None].float() / 255, random)
            moving = face.jitter(still.repeat_interleave(frames, 0), random)
            posterior = torch.softmax(net.both(moving)[:, 0] / float(saved.facts["temperature"]), -1)
        for values, label in zip(posterior.view(len(part), frames, -1).numpy(), labels.tolist(), strict=True):
            out.append(Example({"video": TokenTrack(values, end, valid)}, label))
    return out


def texts(graph: Graph, tokenizer: Any, rows: Sequence[Sentence]) -> list[Example]:
    """Sentences without punctuation through the encoder on the device."""
    encoder = TextEncoder(graph, tokenizer)
    out = []
    for row in rows:
        words = tuple(Word(w, i, i + 1) for i, w in enumerate(text.bare(row.text).split()))
        _, tokens = encoder.step(None, TextSegment(0, words, True))
        if len(tokens):
            out.append(_text_example(tokens.values, row))
    return out


def augmented_texts(rows: Sequence[Sentence], runs: Path, seed: int = 0) -> list[Example]:
    """Sentences with a fifth of their sub-words unknown, half of them without punctuation."""
    saved = checkpoint.load(runs / "text.pt")
    net = TextNet(len(saved.weights["words.weight"]))
    net.load_state_dict(dict(saved.weights))
    net.eval()
    tokenizer = SentencePiece(runs / "text.spm")
    encoded = text.encode(tokenizer, rows)
    random = torch.Generator().manual_seed(seed)
    out: list[Example] = []
    for start in range(0, len(rows), 512):
        some = range(start, min(start + 512, len(rows)))
        ids, mask = text.batch([(encoded.full if i % 2 else encoded.bare)[i] for i in some])
        ids = torch.where(torch.rand(ids.shape, generator=random) < 0.2, torch.full_like(ids, text.UNK), ids)
        with torch.no_grad():
            tokens = net(ids, mask).numpy()
        out += [_text_example(tokens[r][mask[r].numpy() > 0], rows[i]) for r, i in enumerate(some)]
    return out


def _text_example(vectors: NDArray[np.float32], row: Sentence) -> Example:
    ordinal = NO_ORDINAL if row.ordinal is None else row.ordinal
    return Example({"text": text_track(vectors)}, row.emotion, ordinal, row.score, row.group)
