"""What a person's own neutral is worth: ``python -m calibration.baseline [--data DIR] [--models DIR]``.

On each RAVDESS dev actor the baseline is learnt from every other neutral clip and judged on the actor's other clips;
the neutral that it is moved to is that of the other actors. Writes the section Personal baseline of
``calibration/RESULTS.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calibration import report
from calibration.predictions import examples, graphs_of
from calibration.reliability import excess
from calibration.scaling import negative_log_likelihood
from edge_mer.contract.domain import EMOTIONS, Combination, Modality
from edge_mer.contract.errors import EdgeMerError, ModelError
from edge_mer.fusion.baseline import MODALITIES, SHARE, Neutral, described, moved, shifts
from edge_mer.fusion.calibration import read, weights_of
from pipelines.data.corpora import DEFAULT_ROOT
from pipelines.encoders.shipped import MODELS
from pipelines.fusion.scores import cases
from pipelines.fusion.windows import Example
from pipelines.study.evaluate import run

COMBINATIONS: Final[tuple[Combination, ...]] = ("a", "v", "av")


def level(modality: Modality, clips: Sequence[Example]) -> NDArray[np.float64]:
    """The mean valid token [d] of some clips, as the device describes them."""
    values = np.concatenate([c.tracks[modality].values[c.tracks[modality].valid] for c in clips])
    mean: NDArray[np.float64] = described(modality, values).mean(0)
    return mean


def personal(clips: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """All clips but those that taught a baseline: as they are, and moved by their actor's own."""
    plain, own = list[Example](), list[Example]()
    for actor in sorted({c.group for c in clips}):
        mine = [c for c in clips if c.group == actor]
        calm = [c for c in mine if c.emotion == EMOTIONS.index("neutral")]
        taught = {id(c) for c in calm[::2]}
        others = [c for c in clips if c.group != actor and c.emotion == EMOTIONS.index("neutral")]
        learnt = {m: Neutral(tuple(level(m, calm[::2])), len(calm), "x", "") for m in MODALITIES}
        way = shifts(learnt, {m: tuple(level(m, others)) for m in MODALITIES}, dict.fromkeys(MODALITIES, "x"))
        for clip in mine:
            if id(clip) in taught:
                continue
            plain.append(clip)
            tracks = {m: replace(t, values=moved(m, t.values, way[m])) for m, t in clip.tracks.items()}
            own.append(replace(clip, tracks=tracks))
    return plain, own


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m calibration.baseline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--report", type=Path, default=report.FILE)
    arguments = parser.parse_args()
    try:
        graphs = graphs_of(arguments.models)
        calibration = read(arguments.models, weights_of(graphs))
        if calibration is None:
            raise ModelError(f"{arguments.models} holds no calibration; run: python -m calibration.confidence")
        clips, _ = examples(arguments.data, arguments.models)
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error
    rows = []
    for c in COMBINATIONS:
        cells = list[str]()
        for some in personal(clips):
            found = cases(c, some, ())[1]
            truth = np.array([row.truth.emotion for row in found])
            p = calibration.fits[c].scaling.probabilities(c, run(graphs[c], c, found).logits)
            hits = p.argmax(1) == truth
            loss, over = negative_log_likelihood(p, truth), excess(p.max(1), hits, draws=200)
            cells.append(f"{hits.mean():.3f} / {loss:.3f} / {over:+.3f}")
        rows.append([c, str(len(truth)), *cells])
    head = ["combination", "windows", "without", "with the person's own neutral"]
    text = f"""`python -m calibration.baseline`: RAVDESS dev, each actor's baseline from every other neutral clip of
the actor, judged on all other clips; moved {SHARE:.0%} of the way to the neutral of the other actors. Accuracy /
negative log-likelihood / ECE over the null, with the shipped temperatures. Four actors: signs, not figures.

{report.table(head, rows)}"""
    report.section(arguments.report, "Personal baseline", text)
    print(text)


if __name__ == "__main__":
    main()
