"""Trains the head of the voice encoder on acted emotion of five languages and neutral speech of many people.

The front is frozen, so what it makes of every window is computed once (``Features``). What distinguishes a corpus
(its microphones, language, people) must not decide: most windows are moved by the difference between the neutral
speech of another corpus and of their own. A corpus teaches nothing of classes that it lacks, but reading aloud and
commands are taken for no emotion at all. Neutral and calm are told apart on RAVDESS alone, elsewhere either is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.data.corpora import ACTED
from pipelines.data.voices import EMOTIONAL, Voice
from pipelines.encoders.average import running_average
from pipelines.encoders.train_log import warm_cosine
from pipelines.encoders.voice_net import MEMBERS, TOKEN_DIM, VoiceHead

STEPS, BATCH, RATE, DECAY, AVERAGE = 1100, 128, 3e-3, 5e-2, 0.98
# Of what is drawn this share is as it was recorded; noise in deviations of each value; mixup (Zhang et al. 2018).
RECORDED, NOISY, MIXED, SMOOTH = 0.5, 0.3, 0.4, 0.1
# Each network of the head learns from about this share of the speakers.
BAGGED: Final = 0.75
# The share of windows that are moved to another corpus.
CARRIED: Final = 0.6
# A corpus weighs by this power of its speakers, RAVDESS, which alone has all eight classes, this many times more.
POWER, ACTED_SHARE = 0.25, 2.0
# Neutral speech of others is called neutral or calm in this share, for at most this much of prior either way.
SETTLED, MOST_PRIOR = 0.7, 2.0
QUIET: Final = (ACTED.index("neutral"), ACTED.index("calm"))
Chosen = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Of windows: ``pooled`` float16 [n, 1536], ``voiced`` frames [n] of 100, the ``clip`` [n] it is of, whether it was
    ``moved`` [n] to another room, and which ``token`` [n] of its recording it is, two a second."""

    pooled: NDArray[np.float16]
    voiced: NDArray[np.float32]
    clip: NDArray[np.int64]
    moved: NDArray[np.bool_]
    token: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Of clips: ``label`` [n] of ACTED, the classes that its corpus ``has`` [n, 8], and whether neutral and calm are
    ``either`` [n] right."""

    label: Tensor
    has: Tensor
    either: Tensor


def targets(voices: Sequence[Voice]) -> Targets:
    label = np.array([ACTED.index(v.label) for v in voices])
    corpus = np.array([v.corpus for v in voices])
    has = np.ones((len(voices), len(ACTED)), np.bool_)
    for name in EMOTIONAL:
        there = set(label[corpus == name].tolist())
        there |= set(QUIET) if there & set(QUIET) else set()
        has[corpus == name] = [c in there for c in range(len(ACTED))]
    either = (corpus != "ravdess") & np.isin(label, QUIET)
    return Targets(*(torch.from_numpy(x) for x in (label, has, either)))


def shares(voices: Sequence[Voice], chosen: Chosen, acted: float = ACTED_SHARE) -> NDArray[np.float64]:
    """How often each clip is drawn: classes alike, and in a class corpora by how many people they have, RAVDESS
    ``acted`` times as often."""
    names = np.array([v.label if v.label != "calm" else "neutral" for v in voices])
    corpus, speaker = np.array([v.corpus for v in voices]), np.array([v.speaker for v in voices])
    out = np.zeros(len(voices))
    for name in sorted(set(names[chosen])):
        here = chosen & (names == name)
        for c in sorted(set(corpus[here])):
            some, people = here & (corpus == c), len(set(speaker[corpus == c]))
            out[some] = people**POWER * (acted if c == "ravdess" else 1) / some.sum()
        out[here] /= out[here].sum()
    return np.asarray(out / out.sum(), np.float64)


def loss_of(logits: Tensor, label: Tensor, has: Tensor, either: Tensor) -> Tensor:
    """Smoothed cross-entropy [B] among the classes that a corpus ``has``."""
    each = logits.masked_fill(~has, -1e4).log_softmax(-1)
    right = each.gather(1, label[:, None])[:, 0]
    right = torch.where(either, torch.logsumexp(each[:, list(QUIET)], 1), right)
    return -(1 - SMOOTH) * right - SMOOTH * (each * has).sum(1) / has.sum(1)


def fit(features: Features, voices: Sequence[Voice], chosen: Chosen, seed: int = 0, steps: int = STEPS) -> VoiceHead:
    """A head trained on the clips ``chosen`` [n] alone; each of its networks on most of their speakers."""
    torch.manual_seed(seed)
    random, goal = np.random.default_rng(seed), targets(voices)
    rows, odds = draws(features, shares(voices, chosen))
    drawn = random.choice(rows, (steps, BATCH), p=odds)
    bags = torch.from_numpy(bagged(voices, random))
    head = VoiceHead()
    sample = features.pooled[np.unique(drawn[: 8000 // BATCH])].astype(np.float32)
    head.mean.copy_(torch.from_numpy(sample.mean(0)))
    head.std.copy_(torch.from_numpy(sample.std(0) + 1e-3))
    corpora = Corpora.of(features, voices, rows)
    optimizer = torch.optim.AdamW(head.parameters(), RATE, weight_decay=DECAY)
    average = running_average(head, AVERAGE)

    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * warm_cosine(step / steps)
        pooled = features.pooled[drawn[step]].astype(np.float32)
        clip = torch.from_numpy(features.clip[drawn[step]])
        moved = torch.from_numpy(pooled + corpora.carried(features.clip[drawn[step]], random))
        moved = moved + NOISY * torch.randn_like(moved) * head.std
        order, share = torch.randperm(BATCH), float(random.beta(MIXED, MIXED))
        each = head.members(share * moved + (1 - share) * moved[order])
        other = clip[order]
        has = goal.has[clip] | goal.has[other]
        own, mixed = (loss_of_each(each, goal, some, has) for some in (clip, other))
        weight = bags[clip] * bags[other]
        optimizer.zero_grad()
        torch.autograd.backward(((share * own + (1 - share) * mixed) * weight).sum() / weight.sum())
        optimizer.step()
        average.update_parameters(head)
    kept: Any = average.module
    out: VoiceHead = kept.eval()
    return out


def loss_of_each(each: Tensor, goal: Targets, clip: Tensor, has: Tensor) -> Tensor:
    """``loss_of`` [B, M] of the logits of each network [B, M, 8] on the clips ``clip`` [B]."""
    of_all = (x.repeat_interleave(each.shape[1], 0) for x in (goal.label[clip], has, goal.either[clip]))
    return loss_of(each.flatten(0, 1), *of_all).view(each.shape[:2])


def bagged(voices: Sequence[Voice], random: np.random.Generator) -> NDArray[np.float32]:
    """1 where a network of the head learns from a clip: [n, 8]. Of each speaker about BAGGED of them do."""
    names, index = np.unique([v.speaker for v in voices], return_inverse=True)
    return (random.random((len(names), MEMBERS)) < BAGGED).astype(np.float32)[index]


@dataclass(frozen=True, slots=True, eq=False)
class Corpora:
    """``neutral`` [c, 1536]: what neutral speech of each corpus is on average; ``of_clip`` [n] is that of a clip."""

    neutral: NDArray[np.float32]
    of_clip: NDArray[np.int64]

    @classmethod
    def of(cls, features: Features, voices: Sequence[Voice], rows: NDArray[np.int64]) -> Corpora:
        """Of the windows ``rows`` alone."""
        quiet = np.array([v.label in ("neutral", "calm") for v in voices])[features.clip[rows]]
        names = np.array([v.corpus for v in voices])
        known = sorted(set(names[features.clip[rows[quiet]]]))
        index = {name: i for i, name in enumerate(known)}
        of_clip = np.array([index.get(name, -1) for name in names])
        means = [
            features.pooled[rows[quiet & (of_clip[features.clip[rows]] == i)]].mean(0, np.float32)
            for i in range(len(known))
        ]
        return cls(np.stack(means), of_clip)

    def carried(self, clips: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.float32]:
        """What moves a window of each of ``clips`` to another corpus, or nothing: [n, 1536]."""
        where, there = self.of_clip[clips], random.integers(len(self.neutral), size=len(clips))
        goes = (random.random(len(clips)) < CARRIED) & (where >= 0)
        return np.asarray(goes[:, None] * (self.neutral[there] - self.neutral[where]), np.float32)


def draws(features: Features, share: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The windows to draw from and how often: those of a recording share what falls to it; of one elsewhere only the
    fullest is taken, for the others hold more of the room than of the voice."""
    odds = np.zeros(len(features.clip))
    for some, part in ((~features.moved, RECORDED), (fullest(features), 1 - RECORDED)):
        count = np.bincount(features.clip[some], minlength=len(share))
        odds[some] = part * (share / np.maximum(count, 1))[features.clip[some]]
    rows = np.flatnonzero(odds)
    return rows, odds[rows] / odds[rows].sum()


def fullest(features: Features) -> Chosen:
    """Of each clip elsewhere the window that holds most of the voice: true [n]."""
    rows = np.flatnonzero(features.moved)
    order = rows[np.lexsort((features.voiced[rows], features.clip[rows]))]
    out = np.zeros(len(features.clip), np.bool_)
    out[order[np.append(np.diff(features.clip[order]) != 0, True)]] = True
    return out


def tokens(head: VoiceHead, features: Features, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """What ``head`` makes of the windows ``rows``: [len(rows), 64]."""
    out = np.empty((len(rows), TOKEN_DIM), np.float32)
    with torch.no_grad():
        for start in range(0, len(rows), 4096):
            some = features.pooled[rows[start : start + 4096]].astype(np.float32)
            out[start : start + 4096] = head(torch.from_numpy(some)).numpy()
    return out


def answers(head: VoiceHead, features: Features, clips: int) -> NDArray[np.float64]:
    """Logits [clips, 8] from the windows as they were recorded, by how much of each is voiced."""
    rows = np.flatnonzero(~features.moved)
    with torch.no_grad():
        logits = head.logits(torch.from_numpy(tokens(head, features, rows))).numpy()
    return of_clips(logits, features, rows, clips)


def of_clips(
    logits: NDArray[np.floating], features: Features, rows: NDArray[np.int64], clips: int
) -> NDArray[np.float64]:
    """Logits [clips, 8] from ``logits`` of the windows ``rows``, by how much of each is voiced; zeros without any."""
    total, weight = np.zeros((clips, len(ACTED))), np.zeros(clips)
    np.add.at(total, features.clip[rows], logits * features.voiced[rows, None])
    np.add.at(weight, features.clip[rows], features.voiced[rows])
    return np.asarray(total / np.maximum(weight, 1e-9)[:, None], np.float64)


def settled(head: VoiceHead, features: Features, neutral: Chosen) -> VoiceHead:
    """``head`` with what must be added to neutral and calm for the clips ``neutral`` to be called so in SETTLED."""
    head.prior[list(QUIET)] = prior_of(answers(head, features, len(neutral))[neutral])
    return head


def prior_of(logits: NDArray[np.float64]) -> float:
    """What must be added to neutral and calm for SETTLED of clips with ``logits`` [n, 8] to be called so."""
    quiet = np.logaddexp.reduce(logits[:, list(QUIET)], axis=1)
    others = np.delete(logits, QUIET, 1).max(1)
    return float(np.clip(np.quantile(others - quiet, SETTLED), -MOST_PRIOR, MOST_PRIOR))
