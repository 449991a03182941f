"""Honest confidence: ``python -m calibration.confidence [--models DIR] [--data DIR] [--coverage 0.9]``.

Fits a temperature, conformal sets and a sentiment interval for each combination on the dev splits, and judges them on
actors, comments and dialogues that the fit of their fold has not seen. Writes ``<models>/fusion.confidence.json``,
which the application checks and applies at start, the section Confidence of ``calibration/RESULTS.md``, and the
diagrams. Exit code 1, and no file, when a jointly measured combination misses its limits.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from calibration import report
from calibration.diagrams import draw
from calibration.fitting import Judgement, fits, judge
from calibration.predictions import Predictions, examples, graphs_of, predictions
from edge_mer.domain import Combination
from edge_mer.errors import EdgeMerError
from edge_mer.fusion.calibration import FILE, Calibration, Fit, weights_of, write
from pipelines.data import DEFAULT_ROOT
from pipelines.export import MODELS

COVERAGE: Final = 0.9
EXCESS: Final = 0.03
DIAGRAMS: Final = Path("calibration/confidence.png")


def missed(judged: Mapping[Combination, Judgement]) -> list[str]:
    """Which measured combinations break a promise, with figures."""
    found = []
    for c, j in judged.items():
        if j.after.excess > EXCESS:
            found.append(f"{c}: ECE is {j.after.excess:.3f} over the null, at most {EXCESS} allowed")
        low, high = j.interval
        if not low <= j.coverage <= high:
            found.append(f"{c}: coverage {j.coverage:.3f}, expected {low:.3f} to {high:.3f}")
    return found


def markdown(
    given: Mapping[Combination, Predictions],
    fitted: Mapping[Combination, Fit],
    judged: Mapping[Combination, Judgement],
    coverage: float,
    weights: str,
) -> str:
    """The section of RESULTS.md."""
    rows = []
    for c, fit in fitted.items():
        scale = f"{1 / fit.scaling.scale[0]:.2f}" if fit.scaling.scale[0] > 0 else "infinite"
        cells = [c, str(fit.samples), str(fit.groups), scale]
        if c not in judged:
            rows.append([*cells, "n/a", "n/a", "n/a", "n/a", "n/a", "n/a", "n/a"])
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
                f"{j.size:.2f}",
                radius,
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
        "labels per set",
        "sentiment interval: coverage",
    ]
    table = "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])
    broken = missed(judged)
    return f"""`python -m calibration.confidence`, fusion weights `{weights[:16]}`: fitted on the dev splits by
actor, comment, dialogue and video. Every figure but the temperature is of groups that the fit of their fold has not
seen. ECE: 15 equal-mass bins; its interval resamples whole groups, which adds noise of its own and so lies high.
Null: a perfectly calibrated model with these confidences. Excess: ECE over the null, at most {EXCESS} allowed. The
sets' interval is binomial (95 %) about what is stated.

{table}

Not recorded jointly by anybody (at, tv, atv), so n/a: there the temperature keeps the mean confidence at or below that
of the least sure measured subset on the same label-paired windows, and `calibrated` stays false. Dev also chose
designs, so expect a little less on strangers. Diagrams: `{DIAGRAMS}`.

{"Refused: " + "; ".join(broken) + "." if broken else "All jointly measured combinations hold their limits."}"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m calibration.confidence",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--coverage", type=float, default=COVERAGE, help="share of truths that a set must hold")
    parser.add_argument("--report", type=Path, default=report.FILE, help="file whose section Confidence is written")
    parser.add_argument("--diagrams", type=Path, default=DIAGRAMS, help="PNG of reliability and risk-coverage")
    arguments = parser.parse_args()
    try:
        graphs = graphs_of(arguments.models)
        given = predictions(graphs, *examples(arguments.data, arguments.models))
        fitted = fits(given, arguments.coverage)
        judged = {c: judge(p, arguments.coverage) for c, p in given.items() if p.measured}
        draw(arguments.diagrams, judged)
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error
    weights = weights_of(graphs)
    text = markdown(given, fitted, judged, arguments.coverage, weights)
    report.section(arguments.report, "Confidence", text)
    print(text)
    if broken := missed(judged):
        (arguments.models / FILE).unlink(missing_ok=True)
        raise SystemExit(f"{FILE} is not written: {'; '.join(broken)}")
    print(f"wrote {write(arguments.models, Calibration(weights, fitted))}")


if __name__ == "__main__":
    main()
