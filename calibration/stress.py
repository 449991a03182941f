"""What disturbances cost: ``python -m calibration.stress [--data DIR] [--models DIR] [--cache runs/stress]``.

Every row goes through the device's own encoders, presence, fusion graph, calibration and abstention. Writes the
sections Stress and Out of distribution of ``calibration/RESULTS.md``. Exit code 1 when abstention falls, beyond noise,
as sound or picture get worse. A second run with the same encoders takes the tokens from the cache.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import isnan
from pathlib import Path
from typing import Any, Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration import corruptions as damage
from calibration import ood_samples as material
from calibration import report
from calibration.encodings import Encodings
from calibration.predictions import graphs_of
from calibration.reliability import excess
from calibration.simulate_output import Figures, figures, publish, top
from edge_mer.contract.domain import EMOTIONS, Combination, Modality, modalities_of
from edge_mer.contract.errors import EdgeMerError, ModelError
from edge_mer.fusion.calibration import read, weights_of
from edge_mer.fusion.model import GraphFusionModel
from edge_mer.perception.encoder import VideoFrame
from pipelines.data.corpora import DEFAULT_ROOT, UNKNOWN, fer2013, ravdess, sentences
from pipelines.encoders.shipped import MODELS
from pipelines.encoders.text_input import bare
from pipelines.fusion import tracks
from pipelines.fusion.windows import Placed, TokenTrack

CACHE: Final = Path("runs/stress")
SNR: Final = (30, 20, 15, 10, 5, 0, -5)
DECAY_S: Final = (0.3, 0.6, 1.0)
QUALITY: Final = (50, 20, 10, 5)
BLUR: Final = (0.01, 0.02, 0.04, 0.08)
LIGHT: Final = (0.5, 0.25, 0.1)
COVERED: Final = (0.25, 0.5)
DROPPED: Final = (0.25, 0.5, 0.75)
WORDS: Final = (0.05, 0.1, 0.2, 0.3, 0.4)
LAG_S: Final = (0.3, 0.6, 1.2, 2.0)
FACES_EACH, TEXTS = 40, 1500
# Missing rates of voice and face (MissBench): even, and the better or the worse of them missing more often.
RATES: Final = ((0.0, 0.0), (0.3, 0.3), (0.1, 0.7), (0.7, 0.1), (0.0, 0.9), (0.9, 0.0))
CLEAN: Final = "as recorded"
HEAD: Final = [
    "disturbance",
    "of",
    "windows",
    "usable",
    "accuracy",
    "excess ECE",
    "unfamiliar",
    "set coverage",
    "given a label",
    "accuracy of labels",
]
FILM_HEAD: Final = ["disturbance", "windows", "with a face", "unfamiliar", "given a label", "mean confidence"]


@dataclass(frozen=True, slots=True)
class StressRow:
    """``family`` and ``level`` of the disturbance; levels of one family get worse from row to row."""

    family: str
    level: str
    combination: Combination
    figures: Figures

    def cells(self) -> list[str]:
        f = self.figures
        of_sets = "none" if f.coverage is None else f"{f.coverage:.3f}"
        over = "n/a" if isnan(f.excess) else f"{f.excess:+.3f} ({f.by_chance:.3f})"
        return [
            f"{self.family} {self.level}".strip(),
            self.combination,
            str(f.windows),
            f"{f.usable:.2f}",
            _share(f.accuracy),
            over,
            _share(f.unfamiliar, 2),
            of_sets,
            f"{f.given:.2f}",
            _share(f.right),
        ]


def _share(value: float, places: int = 3) -> str:
    """``n/a`` where there was nothing to count."""
    return "n/a" if isnan(value) else f"{value:.{places}f}"


def falls(rows: Sequence[StressRow], family: str, combination: Combination) -> list[str]:
    """Where a worse level of ``family`` abstains less than the one before it, by more than two standard errors."""
    shares = [(r.level, r.figures) for r in rows if r.combination == combination and r.family in (CLEAN, family)]
    found = []
    for (better, a), (worse, b) in pairwise(shares):
        noise = 2 * np.sqrt((a.withheld * a.given + b.withheld * b.given) / a.windows)
        if b.withheld < a.withheld - max(noise, 2 / a.windows):
            found.append(
                f"{combination}: {family} {worse} abstains on {b.withheld:.2f}, {better or CLEAN} on {a.withheld:.2f}"
            )
    return found


KEPT: Final = "Abstention does not fall as noise or blur grow, beyond two standard errors."


class Stress:
    """The rows, family by family."""

    def __init__(self, root: Path, models: Path, cache: Path) -> None:
        self.root, self.encodings = root, Encodings(models, root, cache)
        graphs = graphs_of(models)
        calibration = read(models, weights_of(graphs))
        if calibration is None:
            raise ModelError(f"{models} holds no calibration; run: python -m calibration.confidence")
        self.model = GraphFusionModel(graphs, calibration)
        # Cut-out stills tremble but do not live: to the novelty of faces they are photographs, and rightly so.
        lively = {m: n for m, n in calibration.novelty.items() if m != "video"}
        self.of_stills = GraphFusionModel(graphs, msgspec.structs.replace(calibration, novelty=lively))
        self._clips = ravdess(root, "dev")
        self._faces = [tracks.video_track(c) for c in self._clips]
        self._labels = [c.emotion for c in self._clips]

    def sound(self) -> list[StressRow]:
        """Voices of RAVDESS dev, damaged; the face beside them as it was."""
        rows = self._voice(CLEAN, "", lambda samples, random: samples)
        for decibels in SNR:
            rows += self._voice("noise at", f"{decibels} dB", partial(damage.noisy, decibels))
        for decay in DECAY_S:
            rows += self._voice("reverberation", f"{decay} s", partial(damage.echoing, decay))
        return rows

    def _voice(self, family: str, level: str, harm: Callable[[Any, np.random.Generator], Any]) -> list[StressRow]:
        def encode() -> list[TokenTrack]:
            random = np.random.default_rng(0)
            return [self.encodings.audio_track(harm(c.samples(), random)) for c in self._clips]

        voices = self.encodings.tracks(f"ravdess dev {family} {level}", encode)
        placed = [_together(audio=a, video=v) for a, v in zip(voices, self._faces, strict=True)]
        return [self._row(family, level, c, placed, self._labels) for c in ("a", "av")]

    def _voices(self) -> list[TokenTrack]:
        """The voices as recorded."""
        clips = self._clips
        return self.encodings.tracks(
            f"ravdess dev {CLEAN} ", lambda: (self.encodings.audio_track(c.samples()) for c in clips)
        )

    def picture(self) -> list[StressRow]:
        """Faces of FER2013 PublicTest, as many of each label, cut out as the detector does."""
        faces, random = fer2013(self.root, "dev"), np.random.default_rng(0)
        chosen = np.concatenate([random.permutation(np.flatnonzero(faces.labels == e))[:FACES_EACH] for e in range(7)])
        rows = []
        for family, level, harm in pictures():

            def encode(harm: Any = harm) -> list[TokenTrack]:
                noise = np.random.default_rng(0)
                return [self.encodings.looked_at(harm(faces.images[i], noise), int(i)) for i in chosen]

            seen = self.encodings.tracks(f"fer2013 {FACES_EACH} {family} {level}", encode)
            placed = [_together(video=t) for t in seen]
            rows.append(self._row(family, level, "v", placed, faces.labels[chosen].tolist(), self.of_stills))
        return rows

    def order(self) -> list[StressRow]:
        """Lost frames, and voice or face missing at uneven rates."""
        random, rows = np.random.default_rng(0), list[StressRow]()
        voices = self._voices()
        for share in (0.0, *DROPPED):
            thin = [damage.thinned(t, share, random) for t in self._faces]
            family, level = (CLEAN, "") if not share else ("frames lost", f"{share:.0%}")
            for c in ("v", "av"):
                placed = [_together(audio=a, video=v) for a, v in zip(voices, thin, strict=True)]
                rows.append(self._row(family, level, c, placed, self._labels))
        return rows

    def missing(self) -> list[list[str]]:
        """Rows of the table of missing rates: whole modalities are gone, the device takes what is left."""
        voices = self._voices()
        random, out = np.random.default_rng(0), []
        for rates in RATES:
            gone = random.random((len(voices), 2)) < rates
            placed = [
                _together(**{m: t for m, t, lost in zip(("audio", "video"), pair, row, strict=True) if not lost})
                for pair, row in zip(zip(voices, self._faces, strict=True), gone, strict=True)
            ]
            bodies = [publish(self.model, p) for p in placed]
            cells = [f"{rates[0]:.0%} / {rates[1]:.0%}"]
            published = [
                (b, EMOTIONS[t]) for b, t in zip(bodies, self._labels, strict=True) if b.probabilities is not None
            ]
            cells.append(", ".join(f"{c} {sum(b.combination == c for b, _ in published)}" for c in ("av", "a", "v")))
            hits = np.array([top(b) == t for b, t in published])
            pooled = np.array([b.confidence for b, _ in published])
            labels = [b.label == t for b, t in published if b.label is not None]
            sets = [t in b.prediction_set for b, t in published if b.prediction_set is not None]
            cells += [
                f"{hits.mean():.3f}",
                f"{excess(pooled, hits, draws=200):+.3f}",
                f"{np.mean(sets):.3f}",
                f"{len(labels) / len(bodies):.2f}",
                f"{np.mean(labels):.3f}",
            ]
            out.append(cells)
        return out

    def words(self) -> list[StressRow]:
        """Texts of GoEmotions and MELD dev, misheard, or only partly arrived."""
        labelled = [s for s in sentences(self.root, "dev") if s.emotion != UNKNOWN and bare(s.text).split()]
        chosen = np.random.default_rng(0).choice(len(labelled), min(TEXTS, len(labelled)), replace=False)
        rows, truth = [labelled[i] for i in chosen], [labelled[i].emotion for i in chosen]
        vocabulary = [w for s in labelled for w in bare(s.text).split()]
        out = list[StressRow]()
        clean: list[TokenTrack] = []
        for rate in (0.0, *WORDS):

            def encode(rate: float = rate) -> list[TokenTrack]:
                random = np.random.default_rng(0)
                return [
                    self.encodings.read(damage.misheard(bare(s.text).split(), rate, vocabulary, random)) for s in rows
                ]

            read = self.encodings.tracks(f"texts {TEXTS} {rate}", encode)
            clean = clean or read
            family, level = (CLEAN, "") if not rate else ("word errors", f"{rate:.0%}")
            out.append(self._row(family, level, "t", [{"text": (t, 0.0)} for t in read], truth))
        for lag in LAG_S:
            placed: list[Placed] = [{"text": (damage.late(t, 0.0, lag), 0.0)} for t in clean]
            out.append(self._row("text late by", f"{lag} s", "t", placed, truth))
        return out

    def _row(
        self,
        family: str,
        level: str,
        c: Combination,
        placed: Sequence[Placed],
        truth: Sequence[int],
        model: GraphFusionModel | None = None,
    ) -> StressRow:
        bodies = [publish(model or self.model, {m: p[m] for m in modalities_of(c)}) for p in placed]
        return StressRow(family, level, c, figures(c, bodies, truth))

    def films(self) -> list[list[str]]:
        """Real films through detection, novelty and all."""
        shown = material.films(self.root)
        films = [film for name in ("CREMA-D faces", "people in films") for film in shown[name]]
        out = []
        for family, level, harm in pictures():

            def encode(harm: Any = harm) -> list[TokenTrack]:
                random = np.random.default_rng(0)
                return [self.encodings.watched(_harmed(film, harm, random)) for film in films]

            seen = self.encodings.tracks(f"films {family} {level}", encode)
            out.append([f"{family} {level}".strip(), *self._unlabelled("video", seen)])
        return out

    def strange(self) -> list[list[str]]:
        """What else a home hears, sees and reads; nobody labelled it."""
        out = []
        sets: list[tuple[Modality, Mapping[str, Sequence[Any]], Callable[[Any], TokenTrack]]] = [
            ("audio", material.voices(self.root), self.encodings.audio_track),
            ("video", material.films(self.root), self.encodings.watched),
            ("text", material.texts(), lambda line: self.encodings.read(bare(line).split())),
        ]
        for modality, found, encode in sets:
            for name, items in found.items():
                seen = self.encodings.tracks(f"strange {modality} {name}", partial(map, encode, items))
                out.append([name, modality, *self._unlabelled(modality, seen)])
        return out

    def _unlabelled(self, modality: Modality, seen: Sequence[TokenTrack]) -> list[str]:
        bodies = [publish(self.model, {modality: (t, float(t.end_s[-1]) if len(t.end_s) else 0.0)}) for t in seen]
        there = [b for b in bodies if b.probabilities is not None]
        plain = [b for b in there if not (b.abstain or "").startswith("out of")]
        mean = f"{np.mean([b.confidence for b in there]):.2f}" if there else "none"
        return [
            str(len(bodies)),
            f"{len(there) / len(bodies):.2f}",
            f"{(len(there) - len(plain)) / len(bodies):.2f}",
            f"{sum(b.label is not None for b in bodies) / len(bodies):.2f}",
            mean,
        ]


def pictures() -> list[tuple[str, str, Callable[[Any, np.random.Generator], Any]]]:
    """Family, level and the damage done to a picture."""
    return [
        (CLEAN, "", lambda image, random: image),
        *(("JPEG quality", f"{q}", lambda i, r, q=q: damage.jpeg(i, q)) for q in QUALITY),
        *(("blur", f"{b:.0%} of the width", lambda i, r, b=b: damage.blurred(i, b)) for b in BLUR),
        *(("light", f"{v:.0%}", lambda i, r, v=v: damage.dark(i, v, r)) for v in LIGHT),
        *(("lower part covered", f"{s:.0%}", lambda i, r, s=s: damage.occluded(i, s)) for s in COVERED),
    ]


def _harmed(film: material.Film, harm: Any, random: np.random.Generator) -> list[VideoFrame]:
    """Every third frame of a film of 30 per second, small and damaged."""
    return [VideoFrame(harm(_small(frame.image), random), frame.origin_us) for frame in film[::3]]


def _together(**found: TokenTrack) -> Placed:
    end = max((float(t.end_s[-1]) for t in found.values()), default=0.0)
    return {m: (t, end) for m, t in found.items()}  # type: ignore[misc]  # the names are modalities


def _small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """At 320 pixels of width, as the detector works."""
    size = (320, round(image.shape[0] * 320 / image.shape[1]))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def broken(sound: Sequence[StressRow], picture: Sequence[StressRow]) -> list[str]:
    """Promises that do not hold: abstention does not fall as noise or blur grow."""
    return [*falls(sound, "noise at", "a"), *falls(sound, "noise at", "av"), *falls(picture, "blur", "v")]


def markdown(stress: Stress) -> tuple[str, str, list[str]]:
    """The sections Stress and Out of distribution, and the promises that do not hold."""
    sound, picture, order, words = stress.sound(), stress.picture(), stress.order(), stress.words()
    found = broken(sound, picture)

    def rows_of(rows: Sequence[StressRow]) -> str:
        return report.table(HEAD, [r.cells() for r in rows])

    rates_head = [
        "voice / face missing",
        "windows by what was left",
        "accuracy",
        "excess ECE",
        "set coverage",
        "given a label",
        "accuracy of labels",
    ]
    one = f"""`python -m calibration.stress`: every row through the device's encoders, presence, graphs, calibration and
abstention, window by window. `usable`: every modality of the combination was present; accuracy, ECE (over the null of
its confidences) and set coverage (stated 0.9, of the sets that are published) are of these. `given a label`: share of
all windows. In brackets after the excess: what 95 % of perfectly calibrated models of this size stay below.
Temperatures are those of Confidence, fitted on these clips as recorded: the first rows are no held-out figures, those
stand there. at, tv and atv were recorded jointly by nobody: n/a.

Voices of RAVDESS dev (actors 17 to 20), the face beside them as it was:

{rows_of(sound)}

Faces of FER2013 PublicTest, {FACES_EACH} of each label, each a still that trembles for 2 s: `v` alone, for no video of
RAVDESS is at hand, and without the novelty of faces, to which a still is a photograph. The temperature of `v` was
fitted on other people and another network's posteriors, which the first row shows:

{rows_of(picture)}

Real films, nobody's labels (six clips of CREMA-D, three films in parts of 4 s), through detection and novelty too:

{report.table(FILM_HEAD, stress.films())}

Frames lost at random, RAVDESS dev:

{rows_of(order)}

Voice or face gone for whole windows, at even and uneven rates; the device takes the combination that is left:

{report.table(rates_head, stress.missing())}

Texts, {TEXTS} of GoEmotions and MELD dev, a word every 0.3 s. Of ten word errors six put another word there, three lose
one, one adds one. Late: the last words have not arrived yet, and revise the estimate when they do.

{rows_of(words)}

{"Broken: " + "; ".join(found) + "." if found else KEPT}"""
    two = f"""`python -m calibration.stress`: real recordings of `av_clips` and `speech_clips`, and drawn ones, through
the same chain. Nobody labelled them, so that only this can be told: whether anything is usable at all (voice
activity, a face), whether it is unfamiliar, whether a label is given. Few items each: signs, not figures. A foreign
language that reaches an English recogniser comes out as English words, which the text cannot tell.

{report.table(["what", "as", "items", "usable", "unfamiliar", "given a label", "mean confidence"], stress.strange())}"""
    return one, two, found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m calibration.stress", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of tokens that were made before")
    parser.add_argument("--report", type=Path, default=report.FILE, help="file whose two sections are written")
    arguments = parser.parse_args()
    try:
        one, two, found = markdown(Stress(arguments.data, arguments.models, arguments.cache))
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error
    report.section(arguments.report, "Stress", one)
    report.section(arguments.report, "Out of distribution", two)
    print(f"{one}\n\n{two}")
    if found:
        raise SystemExit("; ".join(found))


if __name__ == "__main__":
    main()
