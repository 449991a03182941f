"""The small controls that any claim must beat: linear and kernel specialists, MLPs, a router of unimodal experts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import SVC, SVR
from torch import Tensor, nn

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, Combination, Modality, modalities_of
from edge_mer.model.losses import emotion_loss, sentiment_loss
from edge_mer.session import evaluation_metrics as metrics
from pipelines.data.feature_sets import Rows
from pipelines.data.holdout_guard import Splits
from pipelines.data.scaling import Scale
from pipelines.fusion.estimates import Index, Predictions, has, quality
from pipelines.fusion.predictor import scored_sentiment

Floats = NDArray[np.float32]
Fitted = Callable[[Rows, Index, Index], Predictions]
"""(rows, row indices [n], pattern of each [n]) -> an estimate of each."""
Fit = Callable[[Rows, Splits[Index], int], Fitted]
Makers = Mapping[str, Callable[[float], Any]]
Make = Callable[[Mapping[Modality, int], int], nn.Module]

# "order" and "emotion" are classes, "score" is continuous; the numbers are inverse strengths of regularisation.
STRENGTHS: Final = (0.001, 0.003, 0.01, 0.1, 1.0)
LINEAR: Final[Makers] = {
    "emotion": lambda c: LogisticRegression(C=c, max_iter=200, tol=1e-3),
    "order": lambda c: LogisticRegression(C=c, max_iter=200, tol=1e-3),
    "score": lambda c: Ridge(1 / c),
}
KERNEL: Final[Makers] = {
    "emotion": lambda c: SVC(C=300 * c),
    "order": lambda c: SVC(C=300 * c),
    "score": lambda c: SVR(C=30 * c),
}


def specialists(makers: Makers) -> Fit:
    """One estimator per combination and task, its strength chosen on the validation rows."""

    def fit(rows: Rows, split: Splits[Index], seed: int) -> Fitted:
        scales = {m: Scale.of(rows.vectors[m][split["train"]]) for m in rows.vectors}
        truth = _truths(rows)
        chosen = {
            c: {task: _choose(makers[task], _joined(rows, scales, c), y, split) for task, y in truth.items()}
            for c in rows.layout.combinations
        }

        def fitted(rows: Rows, index: Index, pattern: Index) -> Predictions:
            emotion = np.zeros((len(index), len(rows.layout.emotions)), np.float32)
            sentiment = np.full(len(index), np.nan, np.float32)
            for c, of_task in chosen.items():
                here = np.flatnonzero(pattern == COMBINATIONS.index(c))
                if not len(here):
                    continue
                x = _joined(rows, scales, c)[index[here]]
                for task, estimator in of_task.items():
                    predicted = estimator.predict(x)
                    if task == "emotion":
                        emotion[here, predicted.astype(int)] = 1
                    else:
                        sentiment[here] = np.clip(predicted, -3, 3)
            return Predictions(emotion, sentiment)

        return fitted

    return fit


def _truths(rows: Rows) -> dict[str, NDArray[Any]]:
    tasks: dict[str, NDArray[Any]] = {"emotion": rows.emotion} if rows.layout.emotions else {}
    if rows.layout.sentiment:
        tasks[{"score": "score", "ordinal": "order"}[rows.layout.sentiment]] = (
            rows.score if rows.layout.sentiment == "score" else rows.ordinal
        )
    return tasks


def _choose(maker: Callable[[float], Any], x: Floats, y: NDArray[Any], split: Splits[Index]) -> Any:
    fitted = [maker(c).fit(x[split["train"]], y[split["train"]]) for c in STRENGTHS]
    return max(fitted, key=lambda e: _agreement(y[split["dev"]], e.predict(x[split["dev"]])))


def _agreement(truth: NDArray[Any], predicted: NDArray[Any]) -> float:
    return metrics.correlation(truth, predicted) if truth.dtype.kind == "f" else float((truth == predicted).mean())


def _joined(rows: Rows, scales: Mapping[Modality, Scale], c: Combination) -> Floats:
    return np.concatenate([scales[m](rows.vectors[m]) for m in modalities_of(c)], 1)


@dataclass(frozen=True, slots=True)
class Schedule:
    """AdamW with a cosine; ``epochs`` of each stage."""

    epochs: int = 40
    batch: int = 32
    rate: float = 1e-3
    weight_decay: float = 1e-2


class MLP(nn.Module):
    """Standardised features side by side, zero where absent; two hidden layers: 43 k parameters on CMU-MOSI."""

    def __init__(self, widths: Mapping[Modality, int], outputs: int) -> None:
        super().__init__()
        hidden = 128 if sum(widths.values()) < 300 else 64
        self.layers = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(sum(widths.values()), hidden),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(hidden, 64),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(64, outputs),
        )

    def forward(self, x: Sequence[Tensor], present: Tensor) -> Tensor:
        """x: [B, d_m] per modality, present bool [B, M] -> [B, outputs]."""
        kept = [torch.where(present[:, i, None], v, torch.zeros_like(v)) for i, v in enumerate(x)]
        out: Tensor = self.layers(torch.cat(kept, 1))
        return out


class Router(nn.Module):
    """A far smaller MoMKE (ACM MM 2024): each modality goes through all unimodal experts, mixed by a softmax."""

    def __init__(self, widths: Mapping[Modality, int], outputs: int, width: int = 64) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(d, width) for d in widths.values())
        self.experts = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(0.5), nn.Linear(width, width)
            )
            for _ in widths
        )
        self.router = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, len(widths)))
        self.alone = nn.ModuleList(nn.Linear(width, outputs) for _ in widths)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(width * len(widths), outputs))

    def unimodal(self, x: Sequence[Tensor]) -> list[Tensor]:
        """Stage 1: the answer of each expert to its own modality, [B, outputs] each."""
        parts = zip(self.project, self.experts, self.alone, x, strict=True)
        return [alone(p + expert(p)) for project, expert, alone, v in parts for p in [project(v)]]

    def forward(self, x: Sequence[Tensor], present: Tensor) -> Tensor:
        mixed = []
        for i, (project, v) in enumerate(zip(self.project, x, strict=True)):
            p = project(torch.where(present[:, i, None], v, torch.zeros_like(v)))
            weights = torch.softmax(self.router(p), -1)
            y = p + (torch.stack([expert(p) for expert in self.experts], -1) * weights[:, None]).sum(-1)
            mixed.append(torch.where(present[:, i, None], y, torch.zeros_like(y)))
        out: Tensor = self.head(torch.cat(mixed, 1))
        return out


def network(make: Make, dropout: bool, plan: Schedule | None = None) -> Fit:
    """A network over one vector per modality; ``dropout``: every batch row has a random combination, else all."""

    def fit(rows: Rows, split: Splits[Index], seed: int) -> Fitted:
        schedule = plan or Schedule()
        torch.manual_seed(seed)
        random = np.random.default_rng(seed)
        used = [m for m in MODALITIES if m in rows.vectors]
        scales = {m: Scale.of(rows.vectors[m][split["train"]]) for m in used}
        net = make({m: rows.vectors[m].shape[1] for m in used}, len(rows.layout.emotions) + 3)
        ids = [COMBINATIONS.index(c) for c in rows.layout.combinations]

        def inputs(rows: Rows, index: Index, pattern: Index) -> tuple[list[Tensor], Tensor]:
            there = has(pattern, rows.layout)
            x = [torch.from_numpy(scales[m](rows.vectors[m][index])) for m in used]
            return x, torch.from_numpy(np.stack([there[m] for m in used], 1))

        def fitted(rows: Rows, index: Index, pattern: Index) -> Predictions:
            net.eval()
            with torch.no_grad():
                out = net(*inputs(rows, index, pattern))
            return Predictions(out[:, :-3].numpy(), scored_sentiment(rows.layout, out[:, -3:]))

        def pattern_of(index: Index) -> Index:
            return random.choice(ids, len(index)) if dropout else np.full(len(index), ids[0])

        best, weights = -1.0, net.state_dict()
        for alone in (True, False) if isinstance(net, Router) else (False,):
            optimizer = torch.optim.AdamW(net.parameters(), schedule.rate, weight_decay=schedule.weight_decay)
            decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, schedule.epochs)
            for _ in range(schedule.epochs // 2 if alone else schedule.epochs):
                net.train()
                order = random.permutation(split["train"])
                for index in np.array_split(order, max(1, len(order) // schedule.batch)):
                    x, present = inputs(rows, index, pattern_of(index))
                    outs = net.unimodal(x) if alone and isinstance(net, Router) else [net(x, present)]
                    loss = torch.stack([_loss(rows, index, out) for out in outs]).sum()
                    optimizer.zero_grad()
                    torch.autograd.backward(loss)
                    optimizer.step()
                decay.step()
                if alone:
                    continue
                score = quality(rows, split["dev"], lambda pattern: fitted(rows, split["dev"], pattern))
                if score > best:
                    best, weights = score, {k: v.clone() for k, v in net.state_dict().items()}
        net.load_state_dict(weights)
        return fitted

    return fit


def _loss(rows: Rows, index: Index, out: Tensor) -> Tensor:
    """The tasks that the set has, summed."""
    emotion, score, ordinal = (torch.from_numpy(x[index]) for x in (rows.emotion, rows.score, rows.ordinal))
    terms = [emotion_loss(out[:, :-3], emotion)] if rows.layout.emotions else []
    if rows.layout.sentiment:
        terms.append(sentiment_loss(out[:, -3:], score, ordinal))
    return torch.stack(terms).sum()


BASELINES: Final[Mapping[str, Fit]] = {
    "linear": specialists(LINEAR),
    "svm": specialists(KERNEL),
    "zero-fill": network(MLP, dropout=False),
    "modality dropout": network(MLP, dropout=True),
    "momke": network(Router, dropout=True),
}
__all__ = ["BASELINES", "MLP", "Fit", "Fitted", "Router", "Schedule", "network", "specialists"]
