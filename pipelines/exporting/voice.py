"""The voice encoder as it ships: its INT8 front and a head that was trained on what that front gives, in one graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import compose

from edge_mer.perception.voice import LOG_MEL
from pipelines.data.corpora import ACTED, LICENCES, DataError
from pipelines.data.unseen import ABROAD, UNSEEN, Unseen, joined
from pipelines.data.voices import DEV_FOLD, EMOTIONAL, NEUTRAL, Voice, fold_of, reserved
from pipelines.encoders import checkpoint
from pipelines.encoders.audio import figures
from pipelines.encoders.train_log import Log
from pipelines.encoders.voice import QUIET, Chosen, answers, fit, settled, tokens
from pipelines.encoders.voice_net import SIZE, VoiceHead, VoiceHeadGraph
from pipelines.exporting.onnx_file import GraphDraft, plain, ranges_of
from pipelines.exporting.onnx_variants import golden_of
from pipelines.exporting.voice_features import FRONT, exported, features

OUTPUTS: Final = ("token", "logits", "weight")
LICENCE: Final = "Whisper tiny.en, MIT"
OPTIONAL: Final = tuple(c for c in EMOTIONAL if c != "ravdess")


def train(root: Path, out: Path, seed: int = 0, without: Collection[str] = ()) -> dict[str, Any]:
    """Train ``OUT/voice.pt`` on the voices of all corpora but ``without``; returns the facts of the card.

    Nothing is trained on DEV_FOLD. Beside it ``OUT/voice_unseen.npz``: the tokens of every window by a head of this
    recipe that was not trained on its speaker, as fusion will meet strangers' voices; and ``OUT/voice_abroad.npz``: by
    one that was not trained on its corpus, as confidence must expect.
    """
    if unknown := set(without) - set(EMOTIONAL) | set(without) & {"ravdess"}:
        raise DataError(f"{', '.join(sorted(unknown))}: cannot be left out; expected some of {', '.join(OPTIONAL)}")
    log = Log(out / "voice.log")
    everyone, found = features(root, out)
    corpus, fold, kept = np.array([v.corpus for v in everyone]), fold_of(everyone), reserved(everyone)
    used = ~np.isin(corpus, list(without))
    learned = used & (fold != DEV_FOLD) & ~kept
    head = settled(fit(found, everyone, learned, seed), found, kept & (fold != DEV_FOLD))

    def others(held: Chosen, moved: bool) -> Unseen:
        """The tokens of the clips ``held`` by a head that was trained without them."""
        rows = np.flatnonzero(held[found.clip] & (moved | ~found.moved))
        values = tokens(fit(found, everyone, learned & ~held, seed), found, rows)
        return Unseen(values, found.clip[rows], found.moved[rows], found.token[rows], everyone)

    rows = np.flatnonzero((used & ~learned)[found.clip])
    parts = [Unseen(tokens(head, found, rows), found.clip[rows], found.moved[rows], found.token[rows], everyone)]
    for k in range(DEV_FOLD):
        parts.append(others(learned & (fold == k), moved=True))
        log(f"voice, seed {seed}: speakers, {k + 1} of {DEV_FOLD}")
    abroad = []
    for name in (c for c in OPTIONAL if c not in without):
        abroad.append(others(used & (corpus == name), moved=False))
        log(f"voice, seed {seed}: without {name}")
    facts: dict[str, Any] = {
        "data": [c for c in (*EMOTIONAL, *NEUTRAL) if c not in without],
        "licence": "; ".join(LICENCES[c] for c in (*EMOTIONAL, *NEUTRAL) if c not in without) + f"; front: {LICENCE}",
        "classes": list(ACTED),
        "seed": seed,
        "metrics": figures_of(answers(head, found, len(everyone)), everyone, fold == DEV_FOLD),
        "unseen": joined(parts).write(out / UNSEEN),
        "abroad": joined(abroad).write(out / ABROAD) if abroad else "",
    }
    log(f"voice, seed {seed}: {facts['metrics']}, prior {head.prior[0]:.2f}")
    checkpoint.save(out / "voice.pt", checkpoint.TrainingCheckpoint(head.state_dict(), facts))
    return facts


def figures_of(logits: NDArray[np.float64], everyone: Sequence[Voice], dev: Chosen) -> dict[str, dict[str, float]]:
    """Of the dev speakers: those of RAVDESS as the card has them, others by how much of them is called neutral."""
    corpus = np.array([v.corpus for v in everyone])
    truth = np.array([ACTED.index(v.label) for v in everyone])
    acted = dev & (corpus == "ravdess")
    out = {"ravdess dev, per clip": figures(torch.from_numpy(logits[acted]).float(), truth[acted])}
    for name in NEUTRAL:
        some = logits[dev & (corpus == name)]
        quiet = np.logaddexp.reduce(some[:, list(QUIET)], axis=1) > np.delete(some, QUIET, 1).max(1)
        out[f"{name} dev, per clip"] = {"neutral or calm": round(float(quiet.mean()), 4)}
    return out


def graph(runs: Path, name: str, head: VoiceHead, metadata: Mapping[str, Any]) -> GraphDraft:
    """The front of ``RUNS`` and ``head`` in one graph: ``logmel`` [1, 200, 80] -> OUTPUTS. Raises DataError without the
    front."""
    path = runs / FRONT
    if not path.is_file():
        raise DataError(f"{path} is absent; run: python -m pipelines.train voice")
    below = onnx.load(path)
    del below.metadata_props[:]
    above = exported(VoiceHeadGraph(head.eval()), {"pooled": torch.zeros(1, SIZE), "voiced": torch.ones(1, 1)}, OUTPUTS)
    above.ir_version = below.ir_version
    joint = [("pooled", "pooled"), ("voiced", "voiced")]
    above = compose.add_prefix(above, "head_", rename_inputs=False, rename_outputs=False)
    model = plain(compose.merge_models(below, above, joint))
    ranges = ranges_of([LOG_MEL])
    return GraphDraft(name, model, metadata, ranges, golden_of(model, ranges, "int8"), "int8")
