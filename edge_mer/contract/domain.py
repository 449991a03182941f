"""The fixed vocabularies of the field: modalities, their combinations, emotion labels."""

from __future__ import annotations

from typing import Final, Literal, get_args

from edge_mer.contract.modalities import COMBINATIONS as COMBINATIONS
from edge_mer.contract.modalities import LETTER as LETTER
from edge_mer.contract.modalities import MODALITIES as MODALITIES
from edge_mer.contract.modalities import Combination as Combination
from edge_mer.contract.modalities import Modality as Modality

Emotion = Literal["neutral", "happy", "sad", "angry", "fear", "disgust", "surprise"]
# What an event may be of: an expressed emotion, or a sentiment extreme.
EventLabel = Literal["happy", "sad", "angry", "fear", "disgust", "surprise", "positive", "negative"]
Gate = Literal["live", "masked", "hard"]
Health = Literal["ok", "absent", "frozen", "warming", "failed", "silent"]

EMOTIONS: Final[tuple[Emotion, ...]] = get_args(Emotion)
EVENT_LABELS: Final[tuple[EventLabel, ...]] = get_args(EventLabel)

# Names of the seven labels in corpora and other models, in lower case.
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


def combination_of(present: set[Modality] | frozenset[Modality]) -> Combination:
    """Name the combination of the modalities that are present: ``{"audio", "video"}`` is ``"av"``."""
    letters = "".join(sorted(LETTER[m] for m in present))
    return next((c for c in COMBINATIONS if c == letters), "none")


def modalities_of(combination: Combination) -> tuple[Modality, ...]:
    """The modalities that a combination uses, in the order of MODALITIES."""
    return tuple(m for m in MODALITIES if combination != "none" and LETTER[m] in combination)
