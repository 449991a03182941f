"""Tells synthetic voices from people: ``python -m calibration.synthetic [--models DIR] [--data DIR]``.

The distance of ``calibration.novelty`` alone takes some synthetic voices for a calm person. The ratio of two Gaussians
over the same numbers of a window parts them from people, and stands beside the distance in ``fusion.confidence.json``.
It is fitted on the tokens of the shipped encoder, so it is fitted anew with each voice graph: by
``calibration.confidence``, or by this command alone, which replaces the rule in the file and writes the section
Synthetic voices of RESULTS.md. Needs espeak-ng and flite.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from calibration import report
from calibration.conformal import limit
from calibration.corruptions import noisy
from calibration.novelty import ROOM_DB, gaussian, of_clips
from calibration.ood_samples import SPOKEN
from calibration.predictions import graphs_of
from calibration.validation import folds
from edge_mer.contract.errors import DeviceError, EdgeMerError
from edge_mer.fusion.calibration import read, weights_of, write
from edge_mer.fusion.novelty import Contrast
from edge_mer.perception.encoder import SAMPLE_RATE, AudioBlock, Encoder
from edge_mer.perception.load import load_encoder
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.corpora import DEFAULT_ROOT
from pipelines.data.voices import through_opus, voices
from pipelines.demo.voice import Espeak, Voice
from pipelines.encoders.shipped import MODELS
from pipelines.fusion.tracks import audio_track
from pipelines.fusion.windows import Example

Floats = NDArray[np.float64]
Sound = NDArray[np.float32]
# Share of the windows of people, of any corpus that the rule has not seen, that pass.
LEVEL: Final = 0.95
# At most so many clips of each corpus.
MOST: Final = 100
# Espeak's variants are formants, klatt's with a glottal source; flite joins diphones, or speaks by a statistical model.
ESPEAK: Final = (
    *(f"m{n}" for n in range(1, 9)),
    *(f"f{n}" for n in range(1, 6)),
    *(f"klatt{n}" for n in ("", *range(2, 7))),
    *("croak", "whisper", "Alex", "Annie", "max", "Mario", "linda", "steph", "rob", "Denis", "Andy"),
)
FLITE: Final[Mapping[str, str]] = {
    "kal": "diphones",
    "kal16": "diphones",
    "awb": "statistical",
    "rms": "statistical",
    "slt": "statistical",
}


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Descriptions [n, k] of windows; ``kinds`` [n]: corpus or way of synthesis, ``groups`` [n]: who speaks."""

    described: Floats
    kinds: NDArray[np.str_]
    groups: NDArray[np.str_]
    made: NDArray[np.bool_]


def synthetic() -> Iterator[tuple[str, str, Sound]]:
    """(way of synthesis, voice, samples). Raises DeviceError where espeak-ng or flite is not installed."""
    espeak = Espeak()
    for number, variant in enumerate(ESPEAK):
        for language, lines in SPOKEN.items():
            for line in lines if language == "en-us" else lines[:1]:
                voice = Voice(
                    f"{language}+{variant}", 130 + 8 * (number % 7), 25 + 9 * (number % 6), 30 + 7 * (number % 7)
                )
                sound = espeak.say(line, voice).samples.astype(np.float32) / np.float32(32768)
                yield "klatt" if "klatt" in variant else "formants", f"espeak-ng {variant}", sound
    for name, way in FLITE.items():
        for line in SPOKEN["en-us"]:
            yield way, f"flite {name}", _flite(name, line)


def _flite(voice: str, text: str) -> Sound:
    with tempfile.NamedTemporaryFile(suffix=".wav") as out:
        try:
            subprocess.run(["flite", "-voice", voice, "-t", text, "-o", out.name], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise DeviceError("flite is not installed or lacks a voice; run: apt-get install flite") from error
        samples, rate = soundfile.read(out.name, dtype="float32")
    return np.asarray(soxr.resample(samples, rate, SAMPLE_RATE), np.float32)


def people(root: Path, seed: int = 0) -> Iterator[tuple[str, str, Sound]]:
    """(corpus, speaker, samples). Raises DataError where a corpus is absent."""
    by_corpus: dict[str, list[Any]] = {}
    for voice in voices(root):
        by_corpus.setdefault(voice.corpus, []).append(voice)
    random = np.random.default_rng(seed)
    for corpus, some in by_corpus.items():
        for index in sorted(random.permutation(len(some))[:MOST]):
            yield corpus, some[index].speaker, some[index].samples()


def windows(root: Path, encoder: Encoder[Any, AudioBlock]) -> Windows:
    """The last window of each voice, people and synthetic through one codec, every other one beside a room's noise."""
    random = np.random.default_rng(0)
    clips: list[Example] = []
    of: dict[str, tuple[str, bool]] = {}
    made = ((kind, voice, through_opus(sound), True) for kind, voice, sound in synthetic())
    real = ((kind, voice, sound, False) for kind, voice, sound in people(root))
    for sources in (made, real):
        for number, (kind, voice, sound, is_made) in enumerate(sources):
            heard = noisy(random.uniform(*ROOM_DB), sound, random) if number % 2 else sound
            track = audio_track(encoder, heard)
            if track.valid.any():
                clips.append(Example({"audio": track}, 0, group=voice))
                of[voice] = kind, is_made
    described, groups = of_clips("audio", clips)
    kinds = np.array([of[g][0] for g in groups])
    return Windows(described, kinds, groups, np.array([of[g][1] for g in groups]))


def _rule(described: Floats, made: NDArray[np.bool_], most: float = 0.0) -> Contrast:
    return Contrast(gaussian(described[~made]), gaussian(described[made]), most, LEVEL)


def held_out(found: Windows, groups: NDArray[np.str_], most: int = 10) -> Floats:
    """Score [n] of each window by a rule that has seen no window of its group, in at most ``most`` folds."""
    scores = np.empty(len(found.made))
    for fitted, judged in folds(groups, most):
        rule = _rule(found.described[fitted], found.made[fitted])
        scores[judged] = [rule.score(row) for row in found.described[judged]]
    return scores


def limit_of(found: Windows, by_kind: Floats) -> float:
    """LEVEL of the windows of each corpus of people stay below it; ``by_kind``: scores by rules without the kind."""
    return max(limit(by_kind[found.kinds == kind], LEVEL) for kind in np.unique(found.kinds[~found.made]))


def fit(found: Windows) -> Contrast:
    """The rule on all windows."""
    most = limit_of(found, held_out(found, found.kinds, len(found.kinds)))
    return _rule(found.described, found.made, float(f"{most:.6g}"))


def markdown(found: Windows) -> str:
    """What the rule is worth on voices, and on kinds of voices, that it has not seen."""
    by_voice, by_kind = held_out(found, found.groups), held_out(found, found.kinds, len(found.kinds))
    most = limit_of(found, by_kind)
    rows = []
    for is_made in (True, False):
        for kind in np.unique(found.kinds[found.made == is_made]):
            here, other = found.kinds == kind, found.made != is_made
            name, count = f"{kind}, {'synthetic' if is_made else 'people'}", len(set(found.groups[here]))
            area = roc_auc_score(found.made[here | other], by_voice[here | other])
            refused = [f"{(scores[here] > most).mean():.2f}" for scores in (by_voice, by_kind)]
            rows.append([name, str(here.sum()), str(count), f"{area:.3f}", *refused])
    head = ["windows of", "windows", "voices", "AUROC", "refused", "refused, kind not seen"]
    caught, area = (by_voice > most)[found.made].mean(), roc_auc_score(found.made, by_voice)
    passed = (by_voice <= most)[~found.made].mean()
    return f"""`python -m calibration.synthetic`: AUROC of all {area:.3f}; {passed:.3f} of the windows of people pass,
and {caught:.3f} of those of synthetic voices are refused. Each window is judged by a rule that has not seen its voice;
in the last column none of its kind (way of synthesis, or corpus) either. The limit is such that of no corpus that
the rule has not seen more than {1 - LEVEL:.0%} are refused.

{report.table(head, rows)}"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m calibration.synthetic",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--report", type=Path, default=report.FILE)
    arguments = parser.parse_args()
    try:
        graphs = graphs_of(arguments.models)
        weights = weights_of(graphs)
        if (before := read(arguments.models, weights)) is None:
            raise SystemExit("there is no calibration yet; run: python -m calibration.confidence")
        found = windows(arguments.data, load_encoder("audio", OnnxRuntime(), arguments.models))
        rule = fit(found)
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error
    text = markdown(found)
    report.section(arguments.report, "Synthetic voices", text)
    print(text)
    audio = msgspec.structs.replace(before.novelty["audio"], contrast=rule)
    after = msgspec.structs.replace(before, novelty={**before.novelty, "audio": audio})
    print(f"wrote {write(arguments.models, after)}")


if __name__ == "__main__":
    main()
