"""What a home sounds and looks like when nobody expresses anything, and bursts of expression: pieces of tokens.

Every piece goes through the device's own encoders, once for each variant: another gain, room and noise, drawn by seed.
Speakers of split ``dev`` settle the settings of events; those of ``confirm`` only judge them. Nothing that ships was
trained on either (``pipelines.data.voices``), but for the reading speakers of neutral faces, which are pictures.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from calibration.ood_samples import music
from edge_mer.contract.domain import Modality
from edge_mer.perception.encoder import SAMPLE_RATE
from pipelines.data.corpora import LABEL
from pipelines.data.voices import DEV_FOLD, NEUTRAL, Voice, fold_of, reserved, voices
from pipelines.encoders.audio_augment import mixed, noise
from pipelines.fusion.windows import TokenTrack

Sound = NDArray[np.float32]
Split = Literal["dev", "confirm"]
SPLITS: Final[tuple[Split, ...]] = ("dev", "confirm")
GAINS_DB: Final = (-12.0, 6.0)
# Rooms of a home: the basement, the stairwell and the seminar room, not the mausoleum and the chapel.
ROOMS: Final = ("notthetup_s1", "notthetup_st", "spatialaudio_rir_clap")
# Sounds of nobody: a crying or laughing baby may well express something.
OF_NOBODY: Final = ("baby_cry", "baby_laugh")
LEVEL_DB: Final = -26.0
VARIANTS: Final = 2
# Clips of a speaker, and of a phrase that many unknown people say.
CLIPS, COMMANDS = 3, 24
MIXES, SILENCES = 20, 10
BURST_S: Final = 3.0
LEAD_S, TAIL_S = 3.0, 2.0
RATIOS_DB: Final = (0, 10, 20)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Tokens of ``seconds`` of one ``person`` (or of nothing, then ``source`` is the person). ``label``: what a burst
    expresses from ``onset_s`` on, at ``ratio_db`` over the rest; empty for a piece in which nobody expresses anything
    but, for laughter, ``happy``."""

    source: str
    split: Split
    person: str
    tracks: Mapping[Modality, TokenTrack]
    seconds: float
    label: str = ""
    onset_s: float = 0.0
    ratio_db: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """A sound before it is encoded, named as in ``Piece``."""

    source: str
    split: Split
    person: str
    samples: Sound


class Home:
    """Rooms and noise of a home, by which a sound is changed."""

    def __init__(self, root: Path) -> None:
        found = sorted((root / "rir" / "rir").glob("*.flac"))
        self._rooms = [soundfile.read(p, dtype="float32")[0] for p in found if p.stem.startswith(ROOMS)]
        with (root / "nonverbal" / "index.csv").open(newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if row["cls"] not in OF_NOBODY]
        self.noises = [(row["cls"], _mono(root / "nonverbal" / row["file"])) for row in rows]

    def variant(self, samples: Sound, random: np.random.Generator, noisy: bool = True) -> Sound:
        """At another gain, half of the time in a room, half of the time beside noise."""
        out = levelled(samples, LEVEL_DB)
        if random.random() < 0.5:
            room = self._rooms[int(random.integers(len(self._rooms)))]
            out = levelled(np.asarray(fftconvolve(out, room)[: len(out)], np.float32), LEVEL_DB)
        if noisy and random.random() < 0.5:
            out = mixed(out, self.noise(random), random.uniform(5, 25))
        return gained(out, random)

    def noise(self, random: np.random.Generator) -> Sound:
        return self.noises[int(random.integers(len(self.noises)))][1]


def gained(samples: Sound, random: np.random.Generator) -> Sound:
    gain = 10 ** (random.uniform(*GAINS_DB) / 20)
    return np.asarray(np.clip(samples * np.float32(gain), -1, 1), np.float32)


def levelled(samples: Sound, decibels: float) -> Sound:
    """At this level (dB below full scale, root mean square)."""
    power = float(np.sqrt(np.square(samples).mean())) + 1e-9
    return np.asarray(samples * np.float32(10 ** (decibels / 20) / power), np.float32)


def split_of(every: Sequence[Voice]) -> list[Split | None]:
    """The split of each clip: the dev fold, and the neutral speakers that are kept from everything else."""
    folds, kept = fold_of(every), reserved(every)
    return ["dev" if f == DEV_FOLD else "confirm" if r else None for f, r in zip(folds, kept, strict=True)]


def neutral_voices(root: Path, home: Home, random: np.random.Generator) -> Iterator[Heard]:
    """Reading, commands and neutral acting, by who speaks."""
    every = voices(root)
    count: Counter[str] = Counter()
    for voice, split in zip(every, split_of(every), strict=True):
        most = COMMANDS if voice.corpus == "wakewords" else CLIPS
        if split is None or voice.label not in ("neutral", "calm") or count[voice.speaker] >= most:
            continue
        count[voice.speaker] += 1
        if voice.corpus == "ravdess":
            split = actor_split(int(voice.speaker.split()[1]))
        samples = voice.samples()
        for _ in range(VARIANTS):
            yield Heard(source_of(voice), split, voice.speaker, home.variant(samples, random))


def actor_split(actor: int) -> Split:
    """Of the four actors that nothing was trained on, two settle settings and two judge them."""
    return "dev" if actor % 4 in (1, 2) else "confirm"


def source_of(voice: Voice) -> str:
    if voice.child:
        return "children"
    return {"wakewords": "commands"}.get(voice.corpus, "read speech" if voice.corpus in NEUTRAL else "acted neutral")


def household(root: Path, home: Home, random: np.random.Generator) -> Iterator[Heard]:
    """Noise, music made by us, radio, television and silence; pieces of 4 to 8 s."""
    every = voices(root, ("libri_multi",))
    readers: dict[Split, list[Sound]] = {s: [] for s in SPLITS}
    for voice, split in zip(every, split_of(every), strict=True):
        if split is not None:
            readers[split].append(voice.samples())
    for i, (name, samples) in enumerate(home.noises):
        yield Heard("household noise", SPLITS[i % 2], f"noise {name} {i}", gained(levelled(samples, LEVEL_DB), random))
    for split in SPLITS:
        said = readers[split]
        for i in range(MIXES):
            song, one, other = music(random, 8.0), said[i % len(said)], said[(i + 7) % len(said)]
            yield Heard("music", split, f"{split} song {i}", gained(levelled(song, LEVEL_DB), random))
            radio = mixed(np.resize(one, len(song)), song, random.uniform(6, 15))
            yield Heard("radio", split, f"{split} radio {i}", home.variant(radio, random))
            film = mixed(np.resize(one, len(song)), np.resize(other, len(song)), random.uniform(0, 6))
            film = mixed(mixed(film, song, random.uniform(-3, 6)), home.noise(random), random.uniform(0, 15))
            yield Heard("television", split, f"{split} film {i}", home.variant(film, random))
        for i in range(SILENCES):
            floor = 10 ** (random.uniform(-75, -50) / 20) * noise(8 * SAMPLE_RATE, random.uniform(0, 1.5), random)
            yield Heard("silence", split, f"{split} silence {i}", np.asarray(floor, np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Burst:
    """Sound that leads in with the neutral voice of the same person, with a burst in it; ``begins_s``: where in the
    burst's own clip it was cut, for the face beside it."""

    voice: Voice
    samples: Sound
    begins_s: float
    ratio_db: int
    lead: Voice | None


def bursts(root: Path, home: Home, random: np.random.Generator) -> Iterator[Burst]:
    """Emotional clips of the dev fold, cut to 3 s from their first sound, over noise, music and other voices.

    Each at 10 dB, and those of RAVDESS at 0 or 20 dB too.
    """
    every = voices(root)
    chosen = [v for v, f in zip(every, fold_of(every), strict=True) if f == DEV_FOLD]
    songs = [music(random, 12.0) for _ in range(12)]
    readers = [v.samples() for v in chosen if v.corpus == "libri_multi"]
    calm: dict[str, list[Voice]] = {}
    for v in chosen:
        if v.label in ("neutral", "calm"):
            calm.setdefault(v.speaker, []).append(v)
    around: Sequence[Callable[[], Sound]] = (
        lambda: home.noise(random),
        lambda: songs[int(random.integers(len(songs)))],
        lambda: readers[int(random.integers(len(readers)))],
    )
    count: Counter[str] = Counter()
    for voice in chosen:
        if voice.label in ("neutral", "calm") or voice.corpus in NEUTRAL:
            continue
        begins, burst = cut(voice.samples())
        leads = calm.get(voice.speaker, [])
        lead = leads[int(random.integers(len(leads)))] if leads else None
        before = np.zeros(int(LEAD_S * SAMPLE_RATE), np.float32)
        if lead is not None:
            spoken = cut(lead.samples())[1]
            before[-len(spoken) :] = levelled(spoken, LEVEL_DB)
        said = np.concatenate([before, levelled(burst, LEVEL_DB), np.zeros(int(TAIL_S * SAMPLE_RATE), np.float32)])
        others = voice.corpus != "ravdess"
        count[voice.speaker] += 1
        if others and count[voice.speaker] > 6 * CLIPS:
            continue
        for ratio in RATIOS_DB[1:2] if others else (10, RATIOS_DB[count[voice.speaker] % 2 * 2]):
            beside = np.resize(around[int(random.integers(len(around)))](), len(said))
            total = said + levelled(beside, LEVEL_DB - ratio)
            yield Burst(voice, gained(total, random), begins, ratio, lead)


def cut(samples: Sound) -> tuple[float, Sound]:
    """Where the first sound is (s), and up to 3 s from there: within 30 dB of the loudest 25 ms."""
    size = SAMPLE_RATE // 40
    power = np.square(samples[: len(samples) // size * size]).reshape(-1, size).mean(1)
    first = int(np.flatnonzero(power > power.max() * 1e-3)[0]) * size
    return first / SAMPLE_RATE, samples[first : first + int(BURST_S * SAMPLE_RATE)]


def label_of(voice: Voice) -> str:
    """The label of the product for an acted one."""
    return LABEL[voice.label]


def _mono(path: Path) -> Sound:
    samples, _ = soundfile.read(path, dtype="float32")
    return np.asarray(samples if samples.ndim == 1 else samples.mean(1), np.float32)
