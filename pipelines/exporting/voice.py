"""The voice encoder as it ships: its INT8 front and a head that was trained on what that front gives, in one graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from onnx import compose

from edge_mer.perception.voice import LOG_MEL
from pipelines.data.corpora import ACTED, DataError
from pipelines.data.voices import EMOTIONAL, NEUTRAL
from pipelines.encoders import checkpoint
from pipelines.encoders.audio import figures
from pipelines.encoders.train_log import Log
from pipelines.encoders.voice import answers, fit, reserved, settled
from pipelines.encoders.voice_net import SIZE, VoiceHead, VoiceHeadGraph
from pipelines.exporting.onnx_file import GraphDraft, plain, ranges_of
from pipelines.exporting.onnx_variants import golden_of
from pipelines.exporting.voice_features import FRONT, exported, features

OUTPUTS: Final = ("token", "logits", "weight")
TRAIN_ACTORS: Final = 16
LICENCE: Final = (
    "RAVDESS, nEMO CC BY-NC-SA 4.0; TESS, TurEV CC BY-NC-ND 4.0; EMOVO, URDU research only (non-commercial); "
    "LibriSpeech CC BY 4.0, speechocean762 free, wake words Apache-2.0 and public domain; front: Whisper tiny.en, MIT"
)


def train(root: Path, out: Path, seed: int = 0) -> dict[str, Any]:
    """Train ``OUT/voice.pt`` on all voices but those of the RAVDESS dev actors 17-20; returns the facts of the card."""
    log = Log(out / "voice.log")
    everyone, found = features(root, out)
    dev = np.array([v.corpus == "ravdess" and int(v.speaker.split()[1]) > TRAIN_ACTORS for v in everyone])
    kept = reserved(everyone)
    head = settled(fit(found, everyone, ~dev & ~kept, seed), found, kept)
    rows = answers(head, found, len(everyone))[dev]
    truth = np.array([ACTED.index(v.label) for v in everyone])[dev]
    facts: dict[str, Any] = {
        "data": [*EMOTIONAL, *NEUTRAL],
        "licence": LICENCE,
        "classes": list(ACTED),
        "seed": seed,
        "metrics": {"ravdess dev, per clip": figures(torch.from_numpy(rows).float(), truth)},
    }
    log(f"voice, seed {seed}: {facts['metrics']}, prior {head.prior[0]:.2f}")
    checkpoint.save(out / "voice.pt", checkpoint.TrainingCheckpoint(head.state_dict(), facts))
    return facts


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
