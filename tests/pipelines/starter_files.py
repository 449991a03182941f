"""Small corpora of the layout that ``data = "starter"`` reads: a second of sound per clip, every label in each."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import av
import cv2
import numpy as np
import soundfile

from edge_mer.contract.domain import EMOTIONS
from edge_mer.demo.config import SESSION

RAVDESS = ("neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised")
GOEMOTIONS = ("neutral", "joy", "sadness", "anger", "fear", "disgust", "surprise")
WORDS = ("well it is a table", "so happy today", "i miss you", "go away now", "please no", "how gross", "oh wow")
SENTIMENT = ("neutral", "positive", "negative", "negative", "negative", "negative", "positive")
ACTORS = {1: "train", 2: "train", 3: "train", 17: "dev"}


def write(root: Path, seed: int = 0) -> Path:
    """The folder of all corpora. Level, face and words tell the label, so that a small model can learn it."""
    random = np.random.default_rng(seed)
    _ravdess(root / "ravdess_av", random)
    _fer2013(root / "fer2013", random)
    (root / "ferplus").mkdir()
    np.savez(root / "ferplus" / "ferplus_votes.npz", train_leak_index=np.array([], np.int32))
    _texts(root)
    return root


def recorded_voice() -> np.ndarray:
    """The sound of the bundled demo session, 16 kHz."""
    resampler = av.AudioResampler("fltp", "mono", 16_000)
    frames = [g for f in av.open(str(SESSION)).decode(audio=0) for g in resampler.resample(f)]
    return np.concatenate([f.to_ndarray()[0] for f in frames])


def _ravdess(folder: Path, random: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    voice, frames = recorded_voice(), 30
    clips = [(actor, label) for actor in ACTORS for label in range(7)]
    posteriors = []
    for actor, label in clips:
        start = int(random.integers(len(voice) - 16_000))
        soundfile.write(folder / f"{actor}_{label}.wav", voice[start : start + 16_000] * 0.8**label, 16_000)
        posteriors += [(0.7 * np.eye(7)[label] + 0.3 * random.dirichlet(np.ones(7))) for _ in range(frames)]
    np.savez(
        folder / "ravdess_av.npz",
        audio_path=np.array([f"{actor}_{label}.wav" for actor, label in clips]),
        emotion=np.array([label for _, label in clips]),
        emotion_names=np.array(RAVDESS),
        visual_names=np.array(EMOTIONS),
        visual_seq=np.array(posteriors, np.float16),
        visual_offsets=np.arange(len(clips) + 1) * frames,
        visual_frame=np.tile(np.arange(1, frames + 1), len(clips)),
        duration_s=np.ones(len(clips)),
        actor=np.array([actor for actor, _ in clips]),
        split=np.array([ACTORS[actor] for actor, _ in clips]),
    )


def _fer2013(folder: Path, random: np.random.Generator) -> None:
    folder.mkdir()
    pictures = [cv2.imencode(".webp", random.integers(0, 255, (48, 48), np.uint8))[1].ravel() for _ in range(7)]
    np.savez(
        folder / "fer2013_train_dev.npz",
        webp=np.concatenate(pictures),
        offsets=np.cumsum([0, *map(len, pictures)]),
        label=np.arange(7),
        label_names=np.array(EMOTIONS),
        split=np.array(["train"] * 7),
    )


def _texts(root: Path) -> None:
    for split in ("train", "dev"):
        (root / "goemotions").mkdir(exist_ok=True)
        with gzip.open(root / "goemotions" / f"{split}.csv.gz", "wt", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(("id", "text", "fine", "ekman", "sentiment"))
            for i in range(42):
                table.writerow((f"{split}{i}", WORDS[i % 7], "", GOEMOTIONS[i % 7], SENTIMENT[i % 7]))
        (root / "meld_text").mkdir(exist_ok=True)
        with (root / "meld_text" / f"{split}_sent_emo.csv").open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(("Utterance", "Emotion", "Sentiment", "Dialogue_ID"))
            table.writerows((WORDS[i], GOEMOTIONS[i], SENTIMENT[i], i) for i in range(7))
    (root / "mosi_utt").mkdir()
    np.savez(
        root / "mosi_utt" / "mosi_utt.npz",
        transcript=np.array([WORDS[i % 7] for i in range(14)]),
        sentiment=np.array([{"neutral": 0.0, "positive": 2.0, "negative": -2.0}[SENTIMENT[i % 7]] for i in range(14)]),
        video_id=np.array([f"v{i}" for i in range(14)]),
        split=np.array(["train"] * 7 + ["dev"] * 7),
    )
