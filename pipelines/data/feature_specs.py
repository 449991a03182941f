"""What each feature set holds: one row per set, against which its file is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from edge_mer.contract.domain import COMBINATIONS, EMOTIONS, Combination, Modality, modalities_of
from pipelines.data.corpora import DataError

ReadoutKind = Literal["window", "dialogue"]
Sentiment = Literal["score", "ordinal"]


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """``arrays`` and ``widths`` are of the file's per-row features; ``group`` is never cut by a split.

    ``emotions`` are the classes in the order of the file's labels; ``sentiment`` is how it is annotated: a score in
    [-3, 3], an order (negative, neutral, positive), or not at all. ``get`` says how to come by the file. ``sources``:
    the corpora behind it, keys of LICENCES. ``drawn``: the rows are made of recordings and train windows are drawn.
    """

    name: str
    file: str
    arrays: Mapping[Modality, str]
    widths: Mapping[Modality, int]
    group: str
    group_word: str
    position: str | None
    readout: ReadoutKind
    emotions: tuple[str, ...]
    sentiment: Sentiment | None
    get: str
    sources: tuple[str, ...]
    drawn: bool = False

    @property
    def combinations(self) -> tuple[Combination, ...]:
        """Those whose modalities the set really has, in the order of COMBINATIONS."""
        return tuple(c for c in COMBINATIONS if set(modalities_of(c)) <= set(self.arrays))


FEATURE_SPECS: Final[Mapping[str, FeatureSpec]] = {
    layout.name: layout
    for layout in (
        FeatureSpec(
            name="mosi",
            file="mosi_utt/mosi_utt.npz",
            arrays={"audio": "audio", "video": "visual", "text": "text"},
            widths={"audio": 73, "video": 100, "text": 100},
            group="video_id",
            group_word="video",
            position="utterance_no",
            readout="dialogue",
            emotions=(),
            sentiment="score",
            get="CMU-MOSI features of github soujanyaporia/contextual-utterance-level-multimodal-sentiment-analysis",
            sources=("mosi",),
        ),
        FeatureSpec(
            name="ravdess",
            file="ravdess_av/ravdess_av.npz",
            arrays={"audio": "audio_stats", "video": "visual_stats"},
            widths={"audio": 201, "video": 35},
            group="actor",
            group_word="actor",
            position=None,
            readout="window",
            emotions=("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"),
            sentiment=None,
            get="RAVDESS speech (zenodo 1188976) at 16 kHz with face posteriors per frame",
            sources=("ravdess",),
        ),
        FeatureSpec(
            name="meld",
            file="meld_dev_feats/meld_dev_feats.npz",
            arrays={"audio": "audio", "text": "text"},
            widths={"audio": 768, "text": 768},
            group="dialogue_id",
            group_word="dialogue",
            position="utterance_no",
            readout="window",
            emotions=("neutral", "joy", "sadness", "anger", "surprise", "fear", "disgust"),
            sentiment="ordinal",
            get="MELD dev embeddings of github iosonopersia/Multimodal-Emotion-Recognition",
            sources=("meld",),
        ),
        FeatureSpec(
            name="starter",
            file="",
            arrays={"audio": "audio", "video": "video", "text": "text"},
            widths={"audio": 64, "video": 7, "text": 64},
            group="actor",
            group_word="actor",
            position=None,
            readout="window",
            emotions=EMOTIONS,
            sentiment="ordinal",
            get="the corpora of pipelines.data.corpora, through the encoders that ship",
            sources=("ravdess", "fer2013", "goemotions", "meld", "mosi"),
            drawn=True,
        ),
    )
}


def layout_of(name: str) -> FeatureSpec:
    """Raises DataError for an unknown set."""
    if name not in FEATURE_SPECS:
        raise DataError(f"data set {name!r} is unknown; expected one of {', '.join(FEATURE_SPECS)}")
    return FEATURE_SPECS[name]


def combinations_of(layout: FeatureSpec, names: str | None) -> tuple[Combination, ...]:
    """Comma-separated ``names`` (None: all that the set has). Raises DataError for one that it cannot have."""
    if names is None:
        return layout.combinations
    chosen = tuple(names.split(","))
    for c in chosen:
        if c not in layout.combinations:
            raise DataError(f"{layout.name}: unknown combination {c!r}; expected {', '.join(layout.combinations)}")
    return tuple(c for c in layout.combinations if c in chosen)
