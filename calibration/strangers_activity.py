"""Voice activity by who speaks and how: the clips that the device would take for silence, and the noise for a voice."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calibration.strangers import Row, interval
from edge_mer.perception.audio import TOKEN_SAMPLES, AudioEncoder, open_activity
from edge_mer.perception.encoder import AudioBlock
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.recordings import sound_of
from pipelines.data.voices import Voice, voices
from pipelines.encoders.speech import no_voices

# Fusion asks for this many valid tokens of 125 ms: a second of voice in 4 s. Of a shorter clip, half of what sounds.
NEEDED: Final = 8
# A token sounds within this many dB of the clip's loudest one.
SOUNDING_DB: Final = 35.0
EVERY: Final[Mapping[str, int]] = {"tess": 3, "nemo_pl": 3, "urdu": 1, "speechocean": 2, "libri_multi": 2}
LIMIT: Final = 0.05
DRAWN: Final = 60


def rows(root: Path, runs: Path, models: Path) -> Iterator[Row]:
    """The share of clips missed in each cell, and of tokens of noise that are taken for a voice."""
    encoder = open_activity(OnnxRuntime(), models)
    everyone = list(_some(root))
    missed = np.array([is_missed(encoder, v.samples()) for v in everyone], np.float64)
    cells: dict[str, list[int]] = {}
    for i, v in enumerate(everyone):
        cells.setdefault(cell_of(v), []).append(i)
    for name, members in sorted(cells.items()):
        value, low, high = interval(missed[members], [everyone[i].speaker for i in members])
        yield Row(f"missed: {name}", value, low, high, str(len(members)), f"<= {LIMIT}", value <= LIMIT)
    yield from noise(encoder, root)


def _some(root: Path) -> Iterator[Voice]:
    yield from voices(root, ("ravdess",))
    for name, step in EVERY.items():
        yield from voices(root, (name,))[::step]


def cell_of(voice: Voice) -> str:
    """Corpus, who, and how: sex x emotion x intensity on RAVDESS, sex x emotion or children elsewhere."""
    who = "children" if voice.child else {"f": "women", "m": "men", "": "anybody"}[voice.sex]
    how = f"{voice.label}{', strong' if voice.strong else ''}"
    return f"{voice.corpus}, {who}, {how}"


def is_missed(encoder: AudioEncoder, samples: NDArray[np.float32]) -> bool:
    """Whether fewer tokens are valid than fusion needs, or than half of those that sound."""
    valid = voiced(encoder, samples)
    count = len(valid)
    power = np.square(samples[: count * TOKEN_SAMPLES]).reshape(count, -1).mean(1) + 1e-12
    sounding = int((power > power.max() * 10 ** (-SOUNDING_DB / 10)).sum())
    return bool(valid.sum() < min(NEEDED, sounding / 2))


def voiced(encoder: AudioEncoder, samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which tokens of 125 ms hold a voice, [n]; at least one."""
    padded = np.pad(samples, (0, max(0, TOKEN_SAMPLES - len(samples))))
    _, tokens = encoder.step(encoder.initial(), AudioBlock(padded, 0))
    return tokens.valid


def noise(encoder: AudioEncoder, root: Path) -> Iterator[Row]:
    """Tokens taken for a voice: in crying and laughing it is right, in anything else wrong."""
    found: dict[str, list[tuple[str, float]]] = {}
    with (root / "nonverbal" / "index.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            share = float(voiced(encoder, sound_of(root / "nonverbal" / row["file"])).mean())
            found.setdefault(row["cls"], []).append((row["instance"], share))
    drawn = [
        (str(i), float(voiced(encoder, x).mean())) for i, x in enumerate(no_voices(DRAWN, np.random.default_rng(9)))
    ]
    for name, rows_ in [*sorted(found.items()), ("drawn hiss, hum, chords, sweeps, knocks", drawn)]:
        yield _share(name, rows_)


def _share(name: str, found: Sequence[tuple[str, float]]) -> Row:
    value, low, high = interval(np.array([x for _, x in found]), [i for i, _ in found])
    return Row(f"taken for a voice: {name}, share of tokens", value, low, high, str(len(found)))
