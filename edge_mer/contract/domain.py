"""The fixed vocabularies of the field: modalities, their combinations, emotion labels."""

from __future__ import annotations

from typing import Final, Literal, get_args

Modality = Literal["audio", "video", "text"]
Combination = Literal["atv", "at", "av", "tv", "a", "t", "v", "none"]
Emotion = Literal["neutral", "happy", "sad", "angry", "fear", "disgust", "surprise"]
Gate = Literal["live", "masked", "hard"]
Health = Literal["ok", "absent", "frozen", "warming", "failed"]

MODALITIES: Final[tuple[Modality, ...]] = get_args(Modality)
EMOTIONS: Final[tuple[Emotion, ...]] = get_args(Emotion)
# The seven trained combinations in the MCULoRA code's order; "none" has no model.
COMBINATIONS: Final[tuple[Combination, ...]] = get_args(Combination)[:7]

# How corpora and other models call the seven, in lower case.
NAMES: Final[dict[str, Emotion]] = {
    **{e: e for e in EMOTIONS},
    **dict.fromkeys(("neu",), "neutral"),
    **dict.fromkeys(("hap", "happiness", "joy"), "happy"),
    **dict.fromkeys(("sadness",), "sad"),
    **dict.fromkeys(("ang", "anger"), "angry"),
    **dict.fromkeys(("fea", "fearful", "scared"), "fear"),
    **dict.fromkeys(("dis", "disgusted"), "disgust"),
    **dict.fromkeys(("sur", "surprised"), "surprise"),
}

LETTER: Final[dict[Modality, str]] = {"audio": "a", "text": "t", "video": "v"}


def combination_of(present: set[Modality] | frozenset[Modality]) -> Combination:
    """Name the combination of the modalities that are present: ``{"audio", "video"}`` is ``"av"``."""
    letters = "".join(sorted(LETTER[m] for m in present))
    return next((c for c in COMBINATIONS if c == letters), "none")


def modalities_of(combination: Combination) -> tuple[Modality, ...]:
    """The modalities that a combination uses, in the order audio, video, text."""
    return tuple(m for m in MODALITIES if combination != "none" and LETTER[m] in combination)
