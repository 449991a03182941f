"""How the shipped encoders do outside their training data: CREMA-D clips, real videos, real speech.

``python -m pipelines.study.domain_shift`` prints one JSON object per line; the model cards quote it.
Few clips: signs, not figures.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from edge_mer.perception.encoder import AudioBlock
from edge_mer.perception.load import load_encoder
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.corpora import DEFAULT_ROOT, DataError
from pipelines.data.labelled import LABELS_FILE, Kind
from pipelines.data.recordings import pictures_of, sound_of
from pipelines.encoders.shipped import MODELS
from pipelines.study.score import score

# CREMA-D file names end in the emotion that was acted.
ACTED: Final[Mapping[str, tuple[Kind, str]]] = {
    "CREMA-D faces, actor 1001": ("face", "av_clips/1001_DFA_*_XX.flv"),
    "CREMA-D voices, actor 1001": ("audio", "av_clips/1001_DFA_*_XX.flv"),
    "CREMA-D voices, actor 1002": ("audio", "speech_clips/crema_1002_DFA_*_XX.wav"),
}
PICTURES: Final = ("pyfeat_*.mp4", "pyfeat_*.mov", "pyfeat_*.jpg", "fer_*.mp4")


def acted(root: Path, models: Path, yunet: Path | None) -> Iterator[dict[str, Any]]:
    """Accuracy on acted clips of another corpus."""
    for name, (kind, pattern) in ACTED.items():
        clips = sorted(root.resolve().glob(pattern))
        if not clips:
            raise DataError(f"{root / pattern}: no such clips; see the README of the folder")
        with TemporaryDirectory() as folder:
            with (Path(folder) / LABELS_FILE).open("w", newline="") as file:
                csv.writer(file).writerows([("path", "emotion"), *((str(c), c.stem.split("_")[-2]) for c in clips)])
            found = score(kind, models, Path(folder), yunet=yunet)
        kept = ("rows", "unanswered", "accuracy", "uar", "classes", "confusion")
        yield {"clips": name, **{k: found[k] for k in kept}}


def presence(root: Path, models: Path, yunet: Path | None) -> Iterator[dict[str, Any]]:
    """Which share of the token frames of each video gave a token, and why the others did not."""
    for path in sorted(p for pattern in PICTURES for p in (root / "av_clips").glob(pattern)):
        video = load_encoder("video", OnnxRuntime(), models, yunet)
        state, reasons, cuts = video.initial(), Counter[str](), 0
        for frame in pictures_of(path):
            state, tokens = video.step(state, frame)
            if len(tokens):
                reasons[state.reason or "face"] += 1
                cuts += int(tokens.cut)
        yield {"video": path.name, "token frames": reasons.total(), **reasons, "tracks": cuts}


def voices(root: Path, models: Path) -> Iterator[dict[str, Any]]:
    """Which share of the tokens of each recording holds a voice."""
    audio = load_encoder("audio", OnnxRuntime(), models)
    for path in sorted((root / "speech_clips").glob("*.[fw][la][av]*")):
        _, tokens = audio.step(audio.initial(), AudioBlock(sound_of(path), 0))
        yield {"speech": path.name, "tokens": len(tokens), "voiced": round(float(tokens.valid.mean()), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.study.domain_shift", description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--yunet", type=Path, help="YuNet file for OpenCV; default: the one beside the models")
    a = parser.parse_args()
    for line in (*acted(a.data, a.models, a.yunet), *presence(a.data, a.models, a.yunet), *voices(a.data, a.models)):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
