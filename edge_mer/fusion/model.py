"""The fusion model of the fold: one compiled graph per combination, with only the present modalities as inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.domain import COMBINATIONS, EMOTIONS, Combination, Modality, combination_of, modalities_of
from edge_mer.contract.errors import ModelError
from edge_mer.contract.messages import digest
from edge_mer.contract.modalities import ALL
from edge_mer.fusion.calibration import Calibration, Fit, read, weights_of
from edge_mer.fusion.confidence import softmax
from edge_mer.fusion.novelty import Novelty, doubts
from edge_mer.fusion.window import TokenWindow
from edge_mer.runtime.backend import Backend, Graph


@dataclass(frozen=True, slots=True)
class Prediction:
    """``probabilities`` in the order of EMOTIONS, sum 1; ``sentiment`` in [-3, 3] or None with the reason.

    ``fit``: of this combination, which scaled the logits; None without a calibration. ``unfamiliar``: modalities out of
    distribution, which makes the probabilities flatter.
    """

    probabilities: tuple[float, ...]
    sentiment: float | None
    sentiment_reason: str | None
    fit: Fit | None = None
    unfamiliar: tuple[Modality, ...] = ()

    @property
    def calibrated(self) -> bool:
        """Whether a fit of this combination on jointly recorded windows applies to this window."""
        return self.fit is not None and self.fit.measured and not self.unfamiliar


class FusionModel(Protocol):
    """``capacity`` tokens of ``dims`` values per modality, made by the encoders whose hashes are ``encoders``."""

    @property
    def name(self) -> str: ...

    @property
    def capacity(self) -> Mapping[Modality, int]: ...

    @property
    def dims(self) -> Mapping[Modality, int]: ...

    @property
    def encoders(self) -> Mapping[Modality, str]: ...

    def predict(self, combination: Combination, windows: Mapping[Modality, TokenWindow]) -> Prediction: ...


class GraphFusionModel:
    """Seven merged graphs. An absent modality is not an input of the graph, so it cannot change the result.

    The name includes a digest of the calibration: a replay with another one would give other results.
    """

    def __init__(self, graphs: Mapping[Combination, Graph], calibration: Calibration | None = None) -> None:
        self._graphs = graphs
        self._fits: Mapping[Combination, Fit] = calibration.fits if calibration else {}
        self._novelty: Mapping[Modality, Novelty] = calibration.novelty if calibration else {}
        self.neutral: Mapping[Modality, tuple[float, ...]] = calibration.neutral if calibration else {}
        meta = graphs[ALL].metadata
        self.capacity: Mapping[Modality, int] = meta["tokens"]
        self.dims: Mapping[Modality, int] = meta["dims"]
        self.encoders: Mapping[Modality, str] = meta["encoders"]
        for combination, graph in graphs.items():
            _check_same_export(combination, graph.metadata, meta)
        parts = [graphs[c].sha256 for c in COMBINATIONS]
        if calibration is not None:
            parts.append(digest(msgspec.json.encode(calibration, order="sorted")))
        identity = digest("|".join(parts).encode())[:16]
        self.name = f"{str(meta['name']).removesuffix(f'-{ALL}')}@{identity}"

    def predict(self, combination: Combination, windows: Mapping[Modality, TokenWindow]) -> Prediction:
        """Words beside a voice or face only confirm, where nobody recorded them jointly: that measures best, and so
        they neither withhold nor change a label (``python -m calibration.clips``). Their sentiment stays."""
        found = self._predicted(combination, windows)
        rest = combination_of(set(modalities_of(combination)) - {"text"})
        if rest in (combination, "none") or "text" in found.unfamiliar or found.fit is None or found.fit.measured:
            return found
        alone = self._predicted(rest, windows)
        if confirms(found, found.fit, alone):
            return found
        return replace(alone, sentiment=found.sentiment, sentiment_reason=found.sentiment_reason)

    def _predicted(self, combination: Combination, windows: Mapping[Modality, TokenWindow]) -> Prediction:
        """Of the graph of ``combination``."""
        graph = self._graphs[combination]
        inputs: dict[str, NDArray[Any]] = {}
        for modality in modalities_of(combination):
            window = windows[modality]
            inputs[modality] = window.values[None]
            inputs[f"{modality}_mask"] = window.mask[None]
            inputs[f"{modality}_age"] = window.age[None]
        outputs = graph.run(inputs)
        support = graph.metadata["sentiment"]
        sentiment = float(np.clip(outputs["sentiment"][0, 0], -3, 3)) if support["supported"] else None
        logits, fit = outputs["logits"][0], self._fits.get(combination)
        doubt = doubts(self._novelty, {m: windows[m] for m in modalities_of(combination)})
        logits = logits / np.float32(max([1.0, *doubt.values()]))
        shares = softmax(logits) if fit is None else fit.scaling.probabilities(combination, logits)
        return Prediction(
            tuple(shares.tolist()),
            sentiment,
            support["reason"] if sentiment is None else None,
            fit,
            tuple(m for m, value in doubt.items() if value > 1),
        )


def confirms(found: Prediction, fit: Fit, alone: Prediction) -> bool:
    """Whether ``found`` is sure enough of its ``fit`` for a label, and that label is the likeliest of ``alone``."""
    sure = not found.unfamiliar and max(found.probabilities) >= fit.floor
    likeliest = [p.probabilities.index(max(p.probabilities)) for p in (found, alone)]
    return sure and likeliest[0] == likeliest[1]


def _check_same_export(combination: Combination, meta: Mapping[str, Any], full: Mapping[str, Any]) -> None:
    """All seven graphs must have been exported together: same labels, same encoders, same shapes."""
    for field in ("tokens", "dims", "encoders"):
        expected = {m: full[field][m] for m in modalities_of(combination)}
        if meta[field] != expected:
            raise ModelError(
                f"fusion.{combination}.onnx: {field} {meta[field]}, expected {expected} as in "
                f"fusion.{ALL}.onnx; export all {len(COMBINATIONS)} together: python -m pipelines.export"
            )
    if tuple(meta["labels"]) != EMOTIONS:
        raise ModelError(f"fusion.{combination}.onnx: labels {meta['labels']}, expected {list(EMOTIONS)}")


def load_fusion_model(backend: Backend, directory: Path) -> GraphFusionModel:
    """Open ``fusion.<combination>.onnx`` of every combination, and their calibration where there is one.

    Raises ModelError naming the bad file.
    """
    graphs = {c: backend.load(directory / f"fusion.{c}.onnx") for c in COMBINATIONS}
    return GraphFusionModel(graphs, read(directory, weights_of(graphs)))
