"""Whether the voice encoder could name non-verbal sounds (crying, laughter, sneezes): of recordings never heard.

A linear reader of what the frozen front of the voice encoder makes of a window, trained and asked by whole recordings
and speakers. Nothing of it ships: see calibration/README.md.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from calibration.predictions import graphs_of
from calibration.simulate_output import publish
from calibration.strangers import Row, interval, interval_of
from calibration.strangers_affect import auc
from edge_mer.fusion.calibration import read, weights_of
from edge_mer.fusion.model import GraphFusionModel
from edge_mer.perception.load import load_encoder
from edge_mer.perception.voice import LOG_MEL
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.recordings import sound_of
from pipelines.data.voices import voices
from pipelines.encoders.shipped import FILES
from pipelines.encoders.voice_windows import frames_of, recorded_tokens, window
from pipelines.fusion.scores import last_window
from pipelines.fusion.tracks import audio_track
from pipelines.fusion.windows import Example

EVENTS: Final = ("baby_cry", "person_sneeze", "baby_laugh")
# Speech to tell them from, and how many clips of it; strong emotions of RAVDESS among them.
SPEECH: Final = {"ravdess": 160, "libri_multi": 60, "speechocean": 60, "urdu": 40}
POOLED: Final = "pooled"
FOLDS: Final = 5
FALSE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Sound:
    """One recording: what it is of ("speech", an event or a noise), and whose or which it is."""

    path: Path
    kind: str
    group: str


def rows(root: Path, runs: Path, models: Path) -> Iterator[Row]:
    """How well each event is found among speech and among other sounds, and what the product says of it today;
    ``runs`` is not used."""
    everything = [*recorded(root), *spoken(root)]
    values = pooled(models / FILES["audio"], [sound_of(s.path) for s in everything])
    kinds = np.array([s.kind for s in everything])
    scores = unseen(values, kinds, [s.group for s in everything])
    for event in EVENTS:
        groups = [s.group for s in everything]
        if len({g for g, k in zip(groups, kinds, strict=True) if k == event}) < FOLDS:
            continue
        for what, others in (("speech", kinds == "speech"), ("other sounds", (kinds != "speech") & (kinds != event))):
            yield found(f"{event} among {what}", scores[event], kinds == event, others, groups)
        yield heard(event, scores[event], kinds, groups)
    yield from labelled(models, [s for s in everything if s.kind in EVENTS])


def recorded(root: Path) -> Iterator[Sound]:
    with (root / "nonverbal" / "index.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            kind = row["cls"] if row["cls"] in EVENTS else "noise"
            yield Sound(root / "nonverbal" / row["file"], kind, f"{row['source']} {row['instance']}")


def spoken(root: Path) -> Iterator[Sound]:
    random = np.random.default_rng(0)
    for corpus, count in SPEECH.items():
        of = voices(root, (corpus,))
        for i in random.permutation(len(of))[:count]:
            yield Sound(of[i].path, "speech", of[i].speaker)


def pooled(audio: Path, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """What the front makes of the loudest windows of each clip, on average, [n, 1536]: a tensor inside ``audio``."""
    model = onnx.load(audio)
    model.graph.output.append(onnx.helper.make_tensor_value_info(POOLED, onnx.TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    out = []
    for samples in clips:
        frames = frames_of(samples)
        windows = [window(frames, int(t)) for t in recorded_tokens(frames)]
        out.append(np.concatenate([session.run([POOLED], {LOG_MEL: w})[0] for w in windows]).mean(0))
    return np.stack(out)


def unseen(
    values: NDArray[np.float32], kinds: NDArray[np.str_], groups: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """The posterior [n] of each kind, by a reader that was not trained on the recording or the speaker."""
    names = sorted(set(groups))
    fold = np.random.default_rng(0).permutation(len(names)) % FOLDS
    of = np.array([fold[names.index(g)] for g in groups])
    out = {kind: np.zeros(len(values)) for kind in set(kinds.tolist())}
    for k in range(FOLDS):
        reader = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, class_weight="balanced", max_iter=300))
        reader.fit(values[of != k], kinds[of != k])
        said = reader.predict_proba(values[of == k])
        for column, kind in enumerate(reader.classes_):
            out[kind][of == k] = said[:, column]
    return out


def found(
    what: str, score: NDArray[np.float64], event: NDArray[np.bool_], others: NDArray[np.bool_], groups: Sequence[str]
) -> Row:
    """AUC of the event against ``others``."""
    asked = np.flatnonzero(event | others)
    value, is_event = score[asked], event[asked]
    named = [groups[int(i)] for i in asked]
    figure, low, high = interval_of(lambda rows: auc(value[rows], is_event[rows]), named)
    return Row(f"{what}: AUC", figure, low, high, f"{event.sum()} + {others.sum()} ({len(set(named))})")


def heard(event: str, score: NDArray[np.float64], kinds: NDArray[np.str_], groups: Sequence[str]) -> Row:
    """The share of recordings of ``event`` above what one clip of speech in a hundred reaches."""
    limit = np.quantile(score[kinds == "speech"], 1 - FALSE)
    some = np.flatnonzero(kinds == event)
    named = [groups[int(i)] for i in some]
    value, low, high = interval((score[some] > limit).astype(np.float64), named)
    what = f"{event}: found, at {FALSE:.0%} of the clips of speech taken for it"
    return Row(what, value, low, high, f"{len(some)} ({len(set(named))})")


def labelled(models: Path, sounds: Sequence[Sound]) -> Iterator[Row]:
    """The share of each event that gets an emotion from the product as it is."""
    graphs, encoder = graphs_of(models), load_encoder("audio", OnnxRuntime(), models)
    model = GraphFusionModel(graphs, read(models, weights_of(graphs)))
    said: dict[str, list[tuple[str, float]]] = {}
    for s in sounds:
        body = publish(model, last_window(Example({"audio": audio_track(encoder, sound_of(s.path))})))
        said.setdefault(s.kind, []).append((s.group, float(body.label not in (None, "neutral"))))
    for kind, some in said.items():
        groups, share = zip(*some, strict=True)
        value, low, high = interval(np.array(share), groups)
        yield Row(f"{kind}: an emotion as label, today", value, low, high, f"{len(some)} ({len(set(groups))})")
