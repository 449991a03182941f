"""What a form of the models costs in accuracy, per combination."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from edge_mer.contract.domain import COMBINATIONS
from edge_mer.perception.load import load_encoder
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.corpora import ravdess, sentences
from pipelines.encoders.shipped import FILES
from pipelines.exporting.export import MEASURED
from pipelines.fusion import tracks
from pipelines.fusion.scores import cases
from pipelines.fusion.scores import figures as scored
from pipelines.study import evaluate

T = TypeVar("T")
SPEECH: Final = "speech.onnx"

Figures = Mapping[str, Mapping[str, float]]
"""By row (a combination, or "face"), then by figure, in points of 100."""

# Those that a loss is judged by; higher is better.
JUDGED: Final = ("accuracy", "uar", "sentiment_weighted_f1")
FACE: Final = "face"


class Yardstick:
    """Every combination, and the expression network alone, on dev splits through the device's own code.

    What an encoder gave is kept by the hashes of its files: most forms change one file only.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._kept: dict[tuple[str, ...], Any] = {}

    def figures(self, models: Path) -> Figures:
        root, backend = self._root, OnnxRuntime()
        audio, face, text = FILES["audio"], FILES["video"], FILES["text"]
        clips = self._once(
            models, (audio, SPEECH), lambda: tracks.joint(load_encoder("audio", backend, models), ravdess(root, "dev"))
        )
        texts = self._once(
            models,
            (text, *(p.name for p in sorted(models.glob("text.*")) if p.suffix in (".spm", ".vocab"))),
            lambda: tracks.texts(load_encoder("text", backend, models), sentences(root, "dev")),
        )
        rows: dict[str, dict[str, float]] = {}
        for c in COMBINATIONS:
            _, some = cases(c, clips, texts)
            predicted = evaluate.run(backend.load(models / f"fusion.{c}.onnx"), c, some)
            rows[c] = _points(scored(c, some, predicted))
        found = self._once(models, (face,), lambda: evaluate.face(root, models))
        rows[FACE] = _points(next(iter(found.values())))
        return rows

    def _once(self, models: Path, files: Sequence[str], make: Callable[[], T]) -> T:
        key = tuple(hashlib.sha256((models / name).read_bytes()).hexdigest() for name in files)
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept


def lost(before: Figures, after: Figures, limit: float) -> list[str]:
    """The measured rows, with the figure, that lose more than ``limit`` points."""
    return [
        f"{row} {name} {after[row][name] - before[row][name]:+.1f}"
        for row in (*MEASURED, FACE)
        for name in JUDGED
        if name in before[row] and after[row][name] < before[row][name] - limit - 1e-9
    ]


@dataclass(frozen=True, slots=True)
class Costs:
    """``figures`` by form, FP32 first, of the fusion ``weights``; ``kept`` and ``refused`` name the parts in INT8."""

    figures: Mapping[str, Figures]
    kept: Sequence[str]
    refused: Sequence[str]
    limit: float
    weights: str

    def markdown(self) -> str:
        base = self.figures["FP32"]
        forms = [f for f in self.figures if f != "FP32"]
        head = ["windows", "FP32 accuracy / UAR", *(f"{f} in INT8" for f in forms)]
        lines = [_row(head), _row(["---"] * len(head))]
        for row in (*COMBINATIONS, FACE):
            name = row if row in (*MEASURED, FACE) else f"{row} (label-paired, not judged)"
            fp32 = f"{base[row]['accuracy']:.1f} / {base[row]['uar']:.1f}"
            lines.append(_row([name, fp32, *(_delta(base[row], self.figures[f][row]) for f in forms)]))
        verdict = f"Kept in INT8: {', '.join(self.kept) or 'nothing'}. Refused: {', '.join(self.refused) or 'nothing'}."
        return "\n".join(
            [
                f"`python -m calibration.int8`, fusion weights `{self.weights[:16]}`: ranges from train data, cost",
                "on dev through the device's own code.",
                "A cell is the change of accuracy / UAR / sentiment weighted F1 against FP32, in points; a part",
                f"that loses more than {self.limit:g} on measured windows is refused.",
                "",
                *lines,
                "",
                verdict,
            ]
        )


def _delta(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    return " / ".join(f"{after[n] - before[n]:+.1f}" for n in JUDGED if n in before)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _points(found: Mapping[str, float]) -> dict[str, float]:
    return {name: 100 * value for name, value in found.items()}
