"""The pieces of ``alarm_sounds``, faces and words as tokens of the device's encoders, kept for a second run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calibration import alarm_sounds as sounds
from calibration.alarm_sounds import LEAD_S, SPLITS, Home, Piece, Split, actor_split
from calibration.encodings import Encodings, made_by
from edge_mer.contract.domain import EMOTIONS, MODALITIES, Modality
from pipelines.data.corpora import NO_ORDINAL, UNKNOWN, ravdess, sentences
from pipelines.data.faces import fer2013_votes
from pipelines.data.files import draft
from pipelines.data.recordings import pictures_of
from pipelines.fusion.token_encoders import TokenEncoders
from pipelines.fusion.tracks import video_track
from pipelines.fusion.windows import Example, TokenTrack

# Neutral faces are pictures of which at least this share of ten people says so.
SEEN: Final = 0.8
FACES: Final = 100
FRAMES: Final = 250
# Changes when this file makes other tokens.
VERSION: Final = 1
TEXTS: Final = 1500
LOOK_S: Final = 12.0
FILMS: Final = (
    ("av_scenes/grid_*.mp4", "talking faces"),
    ("av_clips/*_NEU_XX.flv", "talking faces"),
    ("av_scenes/*hamilton*.mp4", "television"),
    ("av_clips/pyfeat_no_face.mp4", "empty room"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """Of nobody who expresses anything: by modality. ``bursts``: with voice, face, or both."""

    voices: Sequence[Piece]
    faces: Sequence[Piece]
    words: Sequence[Piece]
    bursts: Sequence[Piece]
    word_bursts: Sequence[Piece]


def pieces(root: Path, models: Path, cache: Path, seed: int = 0) -> Pieces:
    """All pieces, from the cache where code, models and seed are the same."""
    made = {name: part(name, root, models, cache, seed) for name in PARTS}
    return Pieces(
        voices=[*made["voices"], *made["household"]],
        faces=made["faces"],
        words=[p for p in made["words"] if not p.label],
        bursts=made["bursts"],
        word_bursts=[p for p in made["words"] if p.label],
    )


def part(name: str, root: Path, models: Path, cache: Path, seed: int = 0) -> list[Piece]:
    """The pieces of one of PARTS."""
    stamp = hashlib.sha256(f"{made_by(models, root)} {seed} {VERSION}".encode())
    stamp.update(Path(sounds.__file__).read_bytes())
    path = cache / f"pieces-{name}-{stamp.hexdigest()[:20]}.npz"
    if not path.is_file():
        encodings, random = Encodings(models, root, cache), np.random.default_rng([seed, *name.encode()])
        _write(path, list(PARTS[name](root, models, encodings, random)))
    return _read(path)


def _voices(root: Path, models: Path, encodings: Encodings, random: np.random.Generator) -> Iterator[Piece]:
    return _heard(encodings, sounds.neutral_voices(root, Home(root), random))


def _household(root: Path, models: Path, encodings: Encodings, random: np.random.Generator) -> Iterator[Piece]:
    return _heard(encodings, sounds.household(root, Home(root), random))


def _heard(encodings: Encodings, heard: Iterable[sounds.Heard]) -> Iterator[Piece]:
    for h in heard:
        track = encodings.audio_track(h.samples)
        yield Piece(h.source, h.split, h.person, {"audio": track}, len(h.samples) / 16_000)


def _faces(root: Path, models: Path, encodings: Encodings, random: np.random.Generator) -> Iterator[Piece]:
    """Faces that only talk, look, look away or laugh; a film; a room without a face."""
    for clip in ravdess(root, "dev"):
        name = EMOTIONS[clip.emotion]
        if name in ("neutral", "happy"):
            source = "talking faces" if name == "neutral" else "laughing faces"
            label = "" if name == "neutral" else "happy"
            yield Piece(
                source,
                actor_split(clip.actor),
                f"actor {clip.actor}",
                {"video": video_track(clip)},
                clip.duration_s,
                label,
            )
    faces = fer2013_votes(root, "dev")
    for name, source in (("neutral", "still faces"), ("happy", "laughing faces")):
        shown = np.flatnonzero(faces.votes[:, EMOTIONS.index(name)] >= SEEN)[:FACES]
        for place, i in enumerate(shown.tolist()):
            looked = [encodings.looked_at(faces.images[i], seed) for seed in range(round(LOOK_S / 2))]
            label = "" if name == "neutral" else "happy"
            yield Piece(source, SPLITS[place % 2], f"face {i}", {"video": _joined(looked, 2.0)}, LOOK_S, label)
            if name == "neutral" and place % 4 < 2:
                away = _away(_joined(looked, 2.0), random)
                yield Piece("faces looking away", SPLITS[place % 2], f"face {i}", {"video": away}, LOOK_S)
    for pattern, source in FILMS:
        for place, path in enumerate(sorted(root.glob(pattern))):
            film = list(pictures_of(path))[:FRAMES]
            track = encodings.watched(film)
            seconds = (film[-1].origin_us - film[0].origin_us) / 1e6 + 0.04
            for split in SPLITS if source in ("television", "empty room") else (SPLITS[place % 2],):
                yield Piece(source, split, f"film {path.stem}", {"video": track}, seconds)


def _joined(tracks: Sequence[TokenTrack], each_s: float) -> TokenTrack:
    return TokenTrack(
        np.concatenate([t.values for t in tracks]),
        np.concatenate([t.end_s + i * each_s for i, t in enumerate(tracks)]),
        np.concatenate([t.valid for t in tracks]),
    )


def _away(track: TokenTrack, random: np.random.Generator) -> TokenTrack:
    """The same face that turns away for one to three seconds at a time."""
    valid, at = track.valid.copy(), 0.0
    while at < track.end_s[-1]:
        at += random.uniform(1, 4)
        until = at + random.uniform(1, 3)
        valid[(track.end_s >= at) & (track.end_s < until)] = False
        at = until
    return TokenTrack(track.values, track.end_s, valid)


def _bursts(root: Path, models: Path, encodings: Encodings, random: np.random.Generator) -> Iterator[Piece]:
    """Voices, and of RAVDESS the face too: neutral first, then the burst, then nobody speaks."""
    of_path = {clip.path.stem: clip for clip in ravdess(root, "dev")}
    for burst in sounds.bursts(root, Home(root), random):
        voice, seconds = burst.voice, len(burst.samples) / 16_000
        tracks: dict[Modality, TokenTrack] = {"audio": encodings.audio_track(burst.samples)}
        split: Split = "dev"
        if voice.corpus == "ravdess":
            split = actor_split(int(voice.speaker.split()[1]))
            face = _shifted(video_track(of_path[voice.path.stem]), LEAD_S - burst.begins_s, LEAD_S)
            lead = video_track(of_path[burst.lead.path.stem]) if burst.lead else face
            before = _shifted(lead, LEAD_S - float(lead.end_s[-1]) - 0.2, 0.0, LEAD_S)
            tracks["video"] = _joined([before, face], 0.0)
        yield Piece(
            voice.corpus,
            split,
            voice.speaker,
            tracks,
            seconds,
            sounds.label_of(voice),
            LEAD_S,
            burst.ratio_db,
        )


def _shifted(track: TokenTrack, by_s: float, from_s: float, to_s: float = 1e9) -> TokenTrack:
    end = track.end_s + by_s
    inside = (end >= from_s) & (end < to_s)
    return TokenTrack(track.values[inside], end[inside], track.valid[inside])


def _words(root: Path, models: Path, encodings: Encodings, random: np.random.Generator) -> Iterator[Piece]:
    """Written lines, each as if spoken at 0.3 s a word: neutral ones, and those with an emotion."""
    rows = [r for r in sentences(root, "dev") if r.emotion != UNKNOWN]
    chosen = [rows[i] for i in random.permutation(len(rows))[: 3 * TEXTS]]
    for example in TokenEncoders(models).texts(chosen):
        yield _word_piece(example)


def _word_piece(example: Example) -> Piece:
    track = example.tracks["text"]
    seconds = float(track.end_s[-1] - track.end_s[0]) + 0.6
    split = SPLITS[int(hashlib.sha256(example.group.encode()).hexdigest(), 16) % 2]
    moved = TokenTrack(track.values, track.end_s - track.end_s[0] + 0.3, track.valid)
    name = EMOTIONS[example.emotion]
    label = "" if name == "neutral" and example.ordinal in (0, NO_ORDINAL) else name
    return Piece("neutral words", split, f"words {example.group}", {"text": moved}, seconds, label, 0.0)


PARTS: Final[Mapping[str, Callable[[Path, Path, Encodings, np.random.Generator], Iterator[Piece]]]] = {
    "voices": _voices,
    "household": _household,
    "faces": _faces,
    "words": _words,
    "bursts": _bursts,
}
_TEXT: Final = ("source", "split", "person", "label")
_NUMBERS: Final = ("seconds", "onset_s", "ratio_db")


def _write(path: Path, every: Sequence[Piece]) -> None:
    arrays: dict[str, NDArray[np.generic]] = {n: np.array([getattr(p, n) for p in every]) for n in (*_TEXT, *_NUMBERS)}
    for m in MODALITIES:
        tracks = [p.tracks.get(m) for p in every]
        here = [t for t in tracks if t is not None]
        arrays[f"{m}_length"] = np.array([-1 if t is None else len(t.values) for t in tracks])
        if here:
            arrays[f"{m}_values"] = np.concatenate([t.values for t in here])
            arrays[f"{m}_end_s"] = np.concatenate([t.end_s for t in here])
            arrays[f"{m}_valid"] = np.concatenate([t.valid for t in here])
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _read(path: Path) -> list[Piece]:
    with np.load(path, allow_pickle=False) as file:
        held = {name: file[name] for name in file.files}
    tracks: list[dict[Modality, TokenTrack]] = [{} for _ in held["seconds"]]
    for m in MODALITIES:
        at = 0
        for place, length in enumerate(held[f"{m}_length"].tolist()):
            if length >= 0:
                rows = slice(at, at + length)
                values, end_s, valid = (held[f"{m}_{part}"][rows] for part in ("values", "end_s", "valid"))
                tracks[place][m] = TokenTrack(values, end_s, valid)
                at += length
    return [
        Piece(
            str(held["source"][i]),
            "dev" if held["split"][i] == "dev" else "confirm",
            str(held["person"][i]),
            tracks[i],
            float(held["seconds"][i]),
            str(held["label"][i]),
            float(held["onset_s"][i]),
            int(held["ratio_db"][i]),
        )
        for i in range(len(tracks))
    ]
