"""Honest confidence: ``python -m calibration.confidence [--models DIR] [--data DIR] [--coverage 0.9]``.

Fits on the dev splits a temperature, conformal sets and a sentiment interval for each combination, and for each
modality what familiar windows look like. Judges them on actors, comments and dialogues that the fit of their fold has
not seen. Writes ``<models>/fusion.confidence.json``, which the application checks and applies at start, the section
Confidence of ``calibration/RESULTS.md``, and the diagrams. Exit code 1, and no file, when a combination misses its
limits.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from calibration import novelty, report, synthetic
from calibration.baseline import level
from calibration.diagrams import draw
from calibration.fitting import FLOOR, LARGEST_SET, PEOPLE, Judgement, caution, fits, judge, without_words, worst_of
from calibration.predictions import Predictions, examples, graphs_of, predictions
from calibration.strange_voices import MOST, abroad, near
from calibration.validation import LEAST
from edge_mer.contract.domain import EMOTIONS, MODALITIES, Combination, Modality
from edge_mer.contract.errors import EdgeMerError
from edge_mer.fusion.calibration import FILE, Calibration, Fit, weights_of, write
from edge_mer.fusion.novelty import Novelty
from edge_mer.perception.load import load_encoder
from edge_mer.perception.text_adapter import open_text
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.corpora import DEFAULT_ROOT, ravdess, sentences
from pipelines.encoders.shipped import MODELS, RUNS
from pipelines.fusion.windows import Example

COVERAGE: Final = 0.9
EXCESS: Final = 0.03
# Words may withhold the labels of this share more of the windows than no words.
SHYER: Final = 0.05
KEPT: Final = "All jointly measured combinations hold their limits; the others abstain as without the words."
DIAGRAMS: Final = Path("calibration/confidence.png")


Shares = Mapping[Combination, Mapping[Combination, float]]
"""Of each combination that nobody recorded jointly: windows without a label, its own share and its subsets'."""


def missed(judged: Mapping[Combination, Judgement], withheld: Shares) -> list[str]:
    """Which combinations break a promise, with figures."""
    found = []
    for c, j in judged.items():
        if j.after.excess > EXCESS:
            found.append(f"{c}: ECE is {j.after.excess:.3f} over the null, at most {EXCESS} allowed")
        low, _ = j.interval
        if j.coverage < low:
            found.append(f"{c}: coverage {j.coverage:.3f}, expected at least {low:.3f}")
    for c, shares in withheld.items():
        if shares[c] > (alone := shares[without_words(c)]) + SHYER:
            found.append(f"{c}: abstains on {shares[c]:.3f} of its windows, without the words on {alone:.3f}")
    return found


def familiar(
    root: Path, models: Path, clips: Sequence[Example], others: Sequence[Example], most_words: int
) -> dict[Modality, Novelty]:
    """What the windows of each modality look like; of voices as recorded, RAVDESS in the noise of a room too."""
    backend = OnnxRuntime()
    voice, reader = load_encoder("audio", backend, models), open_text(backend.load(models / "text.onnx"), models)
    described = {
        "audio": novelty.of_clips("audio", [*clips, *others, *novelty.in_rooms(voice, ravdess(root, "dev"))]),
        "video": novelty.of_clips("video", clips),
        "text": novelty.of_texts(reader.tokenizer, sentences(root, "dev"), most_words),
    }
    known = {m: novelty.fit(m, *described[m]) for m in MODALITIES}
    rule = synthetic.fit(synthetic.windows(root, voice))
    return {**known, "audio": msgspec.structs.replace(known["audio"], contrast=rule)}


def neutral(clips: Sequence[Example]) -> dict[Modality, tuple[float, ...]]:
    """The mean token of all neutral clips, which a person's own neutral is moved to."""
    rows = [c for c in clips if c.emotion == EMOTIONS.index("neutral")]
    return {m: tuple(float(f"{v:.6g}") for v in level(m, rows)) for m in MODALITIES if m != "text"}


def markdown(
    given: Mapping[Combination, Predictions],
    fitted: Mapping[Combination, Fit],
    judged: Mapping[Combination, Judgement],
    withheld: Shares,
    known: Mapping[Modality, Novelty],
    coverage: float,
    weights: str,
) -> str:
    """The section of RESULTS.md."""
    rows = []
    for c, fit in fitted.items():
        scale = f"{1 / fit.scaling.scale[0]:.2f}" if fit.scaling.scale[0] > 0 else "infinite"
        cells = [c, str(fit.samples), str(fit.groups), scale]
        if c not in judged:
            rows.append([*cells, *["n/a"] * 9])
            continue
        j = judged[c]
        low, high = j.interval
        radius = "none" if j.sentiment_coverage is None else f"±{fit.sentiment_radius:.2f}: {j.sentiment_coverage:.3f}"
        rows.append(
            [
                *cells,
                f"{j.before.ece:.3f}",
                f"{j.after.ece:.3f} [{j.after.low:.3f}, {j.after.high:.3f}]",
                f"{j.after.null:.3f}",
                f"{j.after.excess:+.3f} (vector {j.rivals['vector']:+.3f})",
                f"{j.coverage:.3f} [{low:.3f}, {high:.3f}]",
                f"{j.by_person.min():.3f}, {worst_of(j.by_person):.3f}" if len(j.by_person) else "n/a",
                f"{j.size:.2f}",
                radius,
                f"{j.answered:.2f}: {j.accuracy:.3f}",
            ]
        )
    head = [
        "combination",
        "windows",
        "groups",
        "temperature",
        "ECE raw",
        "ECE calibrated [95 %]",
        "null ECE",
        "excess",
        f"set coverage, stated {coverage}",
        "least of a person, worst of 20",
        "labels per set",
        "sentiment interval: coverage",
        "given a label: accuracy",
    ]
    broken = missed(judged, withheld)
    shy = [
        [c, f"{fitted[c].floor:.2f}", f"{s[c]:.2f}", ", ".join(f"{n} {v:.2f}" for n, v in s.items() if n != c)]
        for c, s in withheld.items()
    ]
    novel = [[m, str(n.samples), str(n.groups), f"{n.level}", f"{n.limit:.2f}"] for m, n in known.items()]
    return f"""`python -m calibration.confidence`, fusion weights `{weights[:16]}`: fitted on the dev splits by
actor, comment, dialogue and video. Every figure but the temperature is of groups that the fit of their fold has not
seen. ECE: 15 equal-mass bins; its interval resamples whole groups, which adds noise of its own and so lies high.
Null: a perfectly calibrated model with these confidences. Excess: ECE over the null, at most {EXCESS} allowed. The
sets' interval is binomial (95 %) about what is stated. Sets are as large as {PEOPLE:.0%} of the persons with at least
{LEAST} windows need; `least of a person` is the lowest coverage of one, `worst of 20` what the worst of 20 drawn
persons reaches in 9 of 10 draws. The voice alone is fitted and judged on RAVDESS's dev actors, on dev speakers of other
corpora, and on whole corpora by heads that were trained without them, at most {MOST} windows each; a face beside it was
recorded by four actors only, whose coverage by person is no promise for others.

{report.table(head, rows)}

A label is given from a confidence of {FLOOR} on, and for a set of at most {LARGEST_SET} labels. Dev also chose designs,
so expect a little less on strangers. Diagrams: `{DIAGRAMS}`.

Not recorded jointly by anybody (at, tv, atv), so n/a: half of these windows have a text of their label, half a neutral
one. The temperature keeps the mean confidence at or below that of the same windows without the words, `calibrated`
stays false, there is no set and no interval, and the least confidence for a label withholds as many as without words:

{report.table(["not recorded jointly", "least confidence", "without a label", "its subsets on these windows"], shy)}

What is unfamiliar: a window further from the mean (Mahalanobis, shrunk covariance) than `limit`, which the share
`level` of the windows of groups that the fit had not seen stays within. Voices: as recorded, and each once more beside
noise {novelty.ROOM_DB[0]:.0f} to {novelty.ROOM_DB[1]:.0f} dB below it; confidence is fitted on them as recorded.

{report.table(["modality", "windows", "groups", "level", "limit"], novel)}

{"Refused: " + "; ".join(broken) + "." if broken else KEPT}"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m calibration.confidence",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--runs", type=Path, default=RUNS, help="directory with the voices of other corpora")
    parser.add_argument("--coverage", type=float, default=COVERAGE, help="share of truths that a set must hold")
    parser.add_argument("--report", type=Path, default=report.FILE, help="file whose section Confidence is written")
    parser.add_argument("--diagrams", type=Path, default=DIAGRAMS, help="PNG of reliability and risk-coverage")
    arguments = parser.parse_args()
    try:
        graphs = graphs_of(arguments.models)
        clips, texts = examples(arguments.data, arguments.models)
        others = near(arguments.data, arguments.models)
        unknown = abroad(arguments.data, arguments.models, arguments.runs)
        given = predictions(graphs, clips, texts, [*others, *unknown])
        fitted = fits(given, arguments.coverage)
        judged = {c: judge(p, arguments.coverage) for c, p in given.items() if p.measured}
        measured = {c: fit for c, fit in fitted.items() if fit.measured}
        withheld = {c: caution(p, arguments.coverage, measured) for c, p in given.items() if not p.measured}
        most_words = graphs["atv"].metadata["tokens"]["text"]
        known = familiar(arguments.data, arguments.models, clips, others, most_words)
        draw(arguments.diagrams, judged)
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error
    weights = weights_of(graphs)
    text = markdown(given, fitted, judged, withheld, known, arguments.coverage, weights)
    report.section(arguments.report, "Confidence", text)
    print(text)
    if broken := missed(judged, withheld):
        (arguments.models / FILE).unlink(missing_ok=True)
        raise SystemExit(f"{FILE} is not written: {'; '.join(broken)}")
    print(f"wrote {write(arguments.models, Calibration(weights, fitted, known, neutral(clips)))}")


if __name__ == "__main__":
    main()
