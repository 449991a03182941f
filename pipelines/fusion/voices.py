"""Fusion's examples of voices through ``pipelines.data.unseen``: RAVDESS with its faces, other corpora alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from edge_mer.contract.domain import EMOTIONS
from edge_mer.perception.audio import TOKEN_SAMPLES
from edge_mer.perception.encoder import SAMPLE_RATE, AudioBlock, Encoder
from edge_mer.perception.voice import GROUP
from pipelines.data.corpora import LABEL, Speech
from pipelines.data.unseen import Unseen
from pipelines.data.voices import DEV_FOLD, Voice, fold_of, reserved
from pipelines.fusion.tracks import audio_track, video_track
from pipelines.fusion.windows import Example, TokenTrack

STEP_S: Final = GROUP * TOKEN_SAMPLES / SAMPLE_RATE


def joint(unseen: Unseen, clips: Sequence[Speech]) -> list[Example]:
    """The voice of each clip as recorded, then once more as in another room, with the face of the clip."""
    places = {v.path: i for i, v in enumerate(unseen.voices)}
    tracks = {(clip, moved): track for clip, moved, track in _tracks(unseen)}
    return [
        Example({"audio": tracks[places[c.path], moved], "video": video_track(c)}, c.emotion, group=f"actor {c.actor}")
        for moved in (False, True)
        for c in clips
    ]


def alone(unseen: Unseen) -> list[list[Example]]:
    """Of each corpus but RAVDESS the voices of train speakers, as recorded and as in another room."""
    fold, kept = fold_of(unseen.voices), reserved(unseen.voices)
    by_corpus: dict[str, list[Example]] = {}
    for clip, _, track in _tracks(unseen):
        voice = unseen.voices[clip]
        if voice.corpus != "ravdess" and fold[clip] != DEV_FOLD and not kept[clip]:
            by_corpus.setdefault(voice.corpus, []).append(_example(voice, track))
    return list(by_corpus.values())


def recorded(unseen: Unseen) -> list[Example]:
    """Every voice as recorded."""
    return [_example(unseen.voices[clip], track) for clip, moved, track in _tracks(unseen) if not moved]


def through(encoder: Encoder[Any, AudioBlock], voices: Sequence[Voice]) -> list[Example]:
    """Each voice through the encoder on the device; one without a valid token is left out."""
    found = [(v, audio_track(encoder, v.samples())) for v in voices]
    return [_example(v, track) for v, track in found if track.valid.any()]


def _example(voice: Voice, track: TokenTrack) -> Example:
    emotion = EMOTIONS.index(LABEL[voice.label])
    return Example({"audio": track}, emotion, group=voice.speaker)


def _tracks(unseen: Unseen) -> Iterator[tuple[int, bool, TokenTrack]]:
    """The clip, whether it was moved, and its tokens in order of time."""
    order = np.lexsort((unseen.token, unseen.moved, unseen.clip))
    keys = np.stack([unseen.clip[order], unseen.moved[order]])
    for rows in np.split(order, 1 + np.flatnonzero((keys[:, 1:] != keys[:, :-1]).any(0))):
        end_s = (unseen.token[rows] + 1).astype(np.float64) * STEP_S
        track = TokenTrack(unseen.values[rows], end_s, np.ones(len(rows), np.bool_))
        yield int(unseen.clip[rows[0]]), bool(unseen.moved[rows[0]]), track
