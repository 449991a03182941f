"""A trained model as a function of the pattern of missing modalities, in batches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from edge_mer.contract.domain import COMBINATIONS, Combination, Modality
from edge_mer.model import MCULoRA, Readout
from edge_mer.model.mculora import expected_sentiment
from pipelines.data.feature_sets import Rows
from pipelines.data.feature_specs import FeatureSpec
from pipelines.data.scaling import Scale
from pipelines.fusion.estimates import Floats, Index, Predict, Predictions
from pipelines.fusion.samples import Samples, SampleSet

BATCH = 128


def readout_of(model: nn.Module, some: Samples, combination: Tensor) -> Readout:
    """One forward; ``combination`` [S], or [S, P] in a dialogue."""
    shaped = combination if combination.dim() == 2 else some.shape(combination)
    out: Readout = model(some.given(shaped), shaped)
    return out


def predictor(model: MCULoRA, rows: Rows, index: Index, scales: Mapping[Modality, Scale]) -> Predict:
    """Estimates of the rows ``index`` by a model in evaluation mode; a dialogue is read whole."""
    whole = SampleSet(rows, index, scales)
    device = next(model.parameters()).device
    tasks, classes = model.config.tasks, len(rows.layout.emotions) if "emotion" in model.config.tasks else 0

    def predict(pattern: Index) -> Predictions:
        of_row = torch.full((len(rows),), -1)
        of_row[torch.from_numpy(index)] = torch.from_numpy(pattern)
        emotion = np.zeros((len(rows), classes), np.float32)
        sentiment = np.full(len(rows), np.nan, np.float32)
        training = model.training
        model.eval()
        with torch.no_grad():
            for part in torch.split(torch.arange(len(whole)), BATCH):
                some = whole.take(part)
                there = some.row >= 0
                combination = torch.where(there, of_row[some.row], torch.full_like(some.row, -1))
                out = readout_of(
                    model, some.to(device), (combination if some.dialogue else combination[:, 0]).to(device)
                )
                place = some.row[there].numpy()
                if classes:
                    emotion[place] = out.logits.float().cpu().reshape(*there.shape, -1)[there].numpy()
                if "sentiment" in tasks:
                    polarity = out.polarity.float().cpu().reshape(*there.shape, -1)[there]
                    sentiment[place] = scored_sentiment(rows.layout, polarity)
        model.train(training)
        return Predictions(emotion[index], sentiment[index])

    return predict


def scored_sentiment(layout: FeatureSpec, polarity: Tensor) -> Floats:
    """Logits [n, 3] -> what is scored, [n]: a value in [-3, 3], the likeliest of -1, 0, 1, or NaN without the task."""
    if layout.sentiment is None:
        return np.full(len(polarity), np.nan, np.float32)
    value = polarity.argmax(-1) - 1 if layout.sentiment == "ordinal" else expected_sentiment(polarity)
    return value.numpy().astype(np.float32)


def routed(specialists: Mapping[Combination, Predict]) -> Predict:
    """Each row is answered by the specialist of its pattern, which sees every row under that pattern."""

    def predict(pattern: Index) -> Predictions:
        parts = {c: p(np.full_like(pattern, COMBINATIONS.index(c))) for c, p in specialists.items()}
        first = next(iter(parts.values()))
        emotion, sentiment = first.emotion.copy(), first.sentiment.copy()
        for c, part in parts.items():
            here = pattern == COMBINATIONS.index(c)
            emotion[here], sentiment[here] = part.emotion[here], part.sentiment[here]
        return Predictions(emotion, sentiment)

    return predict


def joined(emotion: Predict, sentiment: Predict) -> Predict:
    """Each task is answered by its own model."""
    return lambda pattern: Predictions(emotion(pattern).emotion, sentiment(pattern).sentiment)
