"""Other heads of the voice, on what its front gives, as they were tried: ``python -m calibration.voice_heads``.

All are one linear layer, trained on all windows at once, for the same speakers and corpora as the eight networks that
ship. ``own``: less what the windows of the same person are on average, known as a whole (``all``) or from earlier clips
alone (``earlier``), as a device could follow somebody; it is asked also about two people in turn (``two``) and about
somebody who shows one emotion all the time (``one``). A corpus left out is asked once more with the shares of its
classes estimated from its unlabelled clips (Saerens et al. 2002). Writes the section Voice, other heads of
``calibration/RESULTS.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import one_hot

from calibration import report
from calibration.strangers import Row
from calibration.strangers_voice import Answered, acted, gaps, left_out, neutral
from edge_mer.contract.errors import EdgeMerError
from pipelines.data.corpora import ACTED, DEFAULT_ROOT
from pipelines.data.voices import DEV_FOLD, EMOTIONAL, Voice, fold_of, reserved
from pipelines.encoders.shipped import RUNS
from pipelines.encoders.voice import (
    CARRIED,
    QUIET,
    Chosen,
    Corpora,
    Features,
    draws,
    loss_of,
    of_clips,
    prior_of,
    shares,
    targets,
)
from pipelines.exporting.voice_features import features

Logits = NDArray[np.float64]
STEPS, RATE = 60, 2e-2
# Windows of the others that count as much as those of a person whose mean is taken away.
DOUBT: Final = 20.0
ROUNDS: Final = 30


@dataclass(frozen=True, slots=True)
class Idea:
    """``ravdess``: how many times more RAVDESS weighs; ``decay`` of the weights; ``own``: whose mean is taken away in
    training, and ``asked``: when it is asked, where that differs."""

    name: str
    ravdess: float
    decay: float
    own: str = ""
    asked: str = ""


IDEAS: Final = (
    Idea("RAVDESS twice", 2, 0.01),
    Idea("six times", 6, 0.03),
    Idea("less the speaker's mean, of all clips", 6, 0.02, own="all"),
    Idea("of earlier clips", 6, 0.02, own="earlier"),
    Idea("the same, two people in turn", 6, 0.02, own="earlier", asked="two"),
    Idea("the same, one emotion all the time", 6, 0.02, own="earlier", asked="one"),
)


def fit(found: Features, voices: Sequence[Voice], chosen: Chosen, idea: Idea, seed: int = 0) -> torch.nn.Linear:
    """A linear head [1536] -> [8], trained on the clips ``chosen`` [n] alone."""
    random, goal = np.random.default_rng(seed), targets(voices)
    rows, odds = draws(found, shares(voices, chosen, idea.ravdess))
    corpora, clip = Corpora.of(found, voices, rows), found.clip[rows]
    pooled, share = torch.from_numpy(found.pooled[rows]).float(), torch.from_numpy(odds).float()
    moves, of_clip = torch.from_numpy(corpora.neutral), torch.from_numpy(corpora.of_clip[clip])
    label, has, either = (x[torch.from_numpy(clip)] for x in (goal.label, goal.has, goal.either))
    head = torch.nn.Linear(pooled.shape[1], len(ACTED))
    torch.nn.init.zeros_(head.weight), torch.nn.init.zeros_(head.bias)
    optimizer = torch.optim.Adam(head.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    narrow = pooled.bfloat16()
    for _ in range(STEPS):
        # To move a window and then to weigh it is to add what the move weighs.
        goes = torch.from_numpy(random.random(len(rows)) < CARRIED) & (of_clip >= 0)
        there = one_hot(torch.from_numpy(random.integers(len(moves), size=len(rows))), len(moves))
        here = one_hot(of_clip.clamp(min=0), len(moves))
        step = goes[:, None] * (there - here).float() @ (moves @ head.weight.T)
        logits = (narrow @ head.weight.T.bfloat16()).float() + head.bias + step
        loss = (share * loss_of(logits, label, has, either)).sum() + idea.decay * head.weight.square().sum()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    return head


def scaled(found: Features) -> Features:
    """Every value less its mean and in its deviations, over all windows: no label is looked at."""
    mean, std = found.pooled.mean(0, np.float32), found.pooled.astype(np.float32).std(0) + 1e-3
    return replace(found, pooled=((found.pooled - mean) / std).clip(-4, 4).astype(np.float16))


def less_own(found: Features, voices: Sequence[Voice], how: str, seed: int = 0) -> Features:
    """Windows less the mean of their stream's, which counts as much as there is of it; as they are without ``how``.

    A stream is a person, with ``two`` a pair of one corpus, with ``one`` a person in one emotion. But with ``all`` the
    mean is of the clips that came before, in an order drawn at random.
    """
    if not how:
        return found
    stream, place = streams(voices, how)[found.clip], np.random.default_rng(seed).permutation(len(voices))
    out = found.pooled.astype(np.float32)
    for one in range(stream.max() + 1):
        rows = np.flatnonzero(stream == one)
        when = place[found.clip[rows]]
        recorded = rows[~found.moved[rows]]
        order = recorded[np.argsort(place[found.clip[recorded]], kind="stable")]
        sums = np.concatenate([np.zeros((1, out.shape[1])), np.cumsum(found.pooled[order], 0, np.float64)])
        known = np.full(len(rows), len(order))
        if how != "all":
            known = np.searchsorted(place[found.clip[order]], when)
        out[rows] -= (sums[known] / (known + DOUBT)[:, None]).astype(np.float32)
    return replace(found, pooled=out.astype(np.float16))


def streams(voices: Sequence[Voice], how: str) -> NDArray[np.int64]:
    """The stream of each clip [n], counted from 0: see ``less_own``."""
    people = sorted({(v.corpus, v.speaker) for v in voices})
    within = [sum(other == corpus for other, _ in people[:i]) for i, (corpus, _) in enumerate(people)]
    pair = {person: (person[0], i // 2) for person, i in zip(people, within, strict=True)}
    names = [
        repr(pair[v.corpus, v.speaker] if how == "two" else (v.speaker, v.label if how == "one" else ""))
        for v in voices
    ]
    return np.asarray(np.unique(names, return_inverse=True)[1], np.int64)


def shifted(logits: Logits) -> Logits:
    """``logits`` [n, 8] with the log shares of the classes that make the clips likeliest, neutral and calm as one."""
    each = np.exp(logits - logits.max(1, keepdims=True))
    prior = np.ones(len(ACTED))
    for _ in range(ROUNDS):
        weighed = each * prior
        prior = (weighed / weighed.sum(1, keepdims=True)).mean(0) * len(ACTED) + 0.05
        prior[list(QUIET)] = prior[list(QUIET)].mean()
    return np.asarray(logits + np.log(prior), np.float64)


def rows(found: Features, voices: Sequence[Voice], idea: Idea) -> Iterator[Row]:
    """What ``calibration.strangers voice`` asks of the head that ships, of ``idea``."""
    some, strange = (less_own(scaled(found), voices, how) for how in (idea.own, idea.asked or idea.own))
    fold, kept, corpus = fold_of(voices), reserved(voices), np.array([v.corpus for v in voices])
    learned = (fold != DEV_FOLD) & ~kept

    def asked(held: Chosen) -> Logits:
        head, recorded = fit(some, voices, learned & ~held, idea), np.flatnonzero(~some.moved & held[some.clip])
        with torch.no_grad():
            logits = head(torch.from_numpy(strange.pooled[recorded]).float()).numpy()
        return of_clips(logits, some, recorded, len(voices))

    logits = asked(~learned)
    quiet = np.isin(np.arange(len(ACTED)), QUIET) * prior_of(logits[kept & (fold != DEV_FOLD)])
    for k in range(DEV_FOLD):
        logits[learned & (fold == k)] = asked(learned & (fold == k))[learned & (fold == k)]
    answers = Answered(voices, logits + quiet)
    yield from acted(answers.some(corpus == "ravdess"))
    yield from neutral(answers)
    for name in (c for c in EMOTIONAL if c != "ravdess"):
        here = corpus == name
        people, abroad = [v for v in voices if v.corpus == name], asked(here)[here] + quiet
        yield left_out(name, Answered(people, abroad))
        yield left_out(f"{name}, shares estimated", Answered(people, shifted(abroad)))
    yield from gaps(answers)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m calibration.voice_heads",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--report", type=Path, default=report.FILE)
    arguments = parser.parse_args()
    try:
        voices, found = features(arguments.data, arguments.runs)
        columns = []
        for idea in IDEAS:
            columns.append(list(rows(found, voices, idea)))
            print(idea.name, *(f"{r.what} {r.value:.3f}" for r in columns[-1]), sep="\n  ", flush=True)
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error
    body = [(r[0].what, *(f"{one.value:.3f}" for one in r), r[0].target) for r in zip(*columns, strict=True)]
    text = report.table(("what", *(i.name for i in IDEAS), "target"), body)
    report.section(arguments.report, "Voice, other heads", f"`python -m calibration.voice_heads`\n\n{text}")


if __name__ == "__main__":
    main()
