"""What each feature set holds: one row per set, against which its file is checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from edge_mer.contract.domain import COMBINATIONS, EMOTIONS, MODALITIES, Combination, Modality, modalities_of
from pipelines.data.corpora import DataError

ReadoutKind = Literal["window", "dialogue"]
Sentiment = Literal["score", "ordinal"]
ReaderKind = Literal["gcnet", "mmsa", "conversation"]


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """``arrays`` and ``widths`` are of the file's per-row features; ``group`` is never cut by a split.

    ``emotions`` are the classes in the order of the file's labels; ``sentiment`` is how it is annotated: a score in
    [-3, 3], an order (negative, neutral, positive), or not at all. ``get`` says how to come by the file. ``sources``:
    the corpora behind it, keys of LICENCES. ``drawn``: the rows are made of recordings and train windows are drawn.

    Sets that researchers share have a ``reader`` (``pipelines.data.literature``), no widths (the file has them), and a
    way to split them: ``official``, or one session out. ``scale`` takes their scores to [-3, 3]; ``bins`` are limits of
    accuracies on scores of that range.
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
    reader: ReaderKind | None = None
    folds: str = ""
    scale: float = 1.0
    bins: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

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


_ALL: Final[Mapping[Modality, str]] = {m: m for m in MODALITIES}
# As (-1, 0, 1) rounds: Acc-5 of scores that are cut at 2.
_CMU: Final = {"acc5": (-1.5, -0.5, 0.5, 1.5)}
# CH-SIMS in [-1, 1]: weakly and clearly negative or positive (Yu et al. 2020), here three times as large.
_SIMS: Final = {"acc3": (-0.3, 0.3), "acc5": (-2.1, -0.3, 0.3, 2.1)}


def _shared(
    name: str,
    file: str,
    reader: ReaderKind,
    get: str,
    emotions: tuple[str, ...] = (),
    bins: Mapping[str, tuple[float, ...]] | None = None,
    scale: float = 1.0,
) -> FeatureSpec:
    """A set with all three modalities: classes if ``emotions`` are named, else a score."""
    return FeatureSpec(
        name=name,
        file=file,
        arrays=_ALL,
        widths={},
        group="group",
        group_word="dialogue" if emotions else "video",
        position="position",
        readout="window" if reader == "mmsa" else "dialogue",
        emotions=emotions,
        sentiment=None if emotions else "score",
        get=get,
        sources=(re.split("[0-9-]", name.removeprefix("cmu"))[0],),
        reader=reader,
        folds="sessions" if emotions and reader == "gcnet" else "official",
        scale=scale,
        bins=bins or {},
    )


_IEMOCAP: Final = ("happy", "sad", "neutral", "angry", "excited", "frustrated")
_MELD: Final = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
_GCNET: Final = "features and label pickle of github zeroQiaoba/GCNet (one .npy an utterance)"
_MMSA: Final = "processed features of github thuiar/MMSA"
_MMGCN: Final = "feature pickle of github hujingwen6666/MMGCN and its successors"
LITERATURE: Final[Mapping[str, FeatureSpec]] = {
    layout.name: layout
    for layout in (
        _shared("iemocap4", "IEMOCAP_features_raw_4way.pkl", "gcnet", _GCNET, _IEMOCAP[:4]),
        _shared("iemocap6", "IEMOCAP_features_raw_6way.pkl", "gcnet", _GCNET, _IEMOCAP),
        _shared("cmumosi", "CMUMOSI_features_raw_2way.pkl", "gcnet", _GCNET, bins=_CMU),
        _shared("cmumosei", "CMUMOSEI_features_raw_2way.pkl", "gcnet", _GCNET, bins=_CMU),
        _shared("mosi-aligned", "aligned_50.pkl", "mmsa", _MMSA, bins=_CMU),
        _shared("mosi-unaligned", "unaligned_50.pkl", "mmsa", _MMSA, bins=_CMU),
        _shared("mosei-aligned", "aligned_50.pkl", "mmsa", _MMSA, bins=_CMU),
        _shared("mosei-unaligned", "unaligned_50.pkl", "mmsa", _MMSA, bins=_CMU),
        _shared("sims", "unaligned_39.pkl", "mmsa", _MMSA, bins=_SIMS, scale=3.0),
        _shared("iemocap-mmgcn", "iemocap_multi_features.pkl", "conversation", _MMGCN, _IEMOCAP),
        _shared("meld-mmgcn", "meld_multi_features.pkl", "conversation", _MMGCN, _MELD),
    )
}


# Generated rows: pipelines/study/planted.py.
PLANTED: Final = FeatureSpec(
    name="planted",
    file="",
    arrays=_ALL,
    widths={},
    group="group",
    group_word="row",
    position="position",
    readout="window",
    emotions=(),
    sentiment="score",
    get="python -m pipelines.study.planted",
    sources=(),
    folds="official",
)


def layout_of(name: str) -> FeatureSpec:
    """Raises DataError for an unknown set."""
    every = {**FEATURE_SPECS, **LITERATURE, PLANTED.name: PLANTED}
    if name not in every:
        raise DataError(f"data set {name!r} is unknown; expected one of {', '.join(every)}")
    return every[name]


def combinations_of(layout: FeatureSpec, names: str | None) -> tuple[Combination, ...]:
    """Comma-separated ``names`` (None: all that the set has). Raises DataError for one that it cannot have."""
    if names is None:
        return layout.combinations
    chosen = tuple(names.split(","))
    for c in chosen:
        if c not in layout.combinations:
            raise DataError(f"{layout.name}: unknown combination {c!r}; expected {', '.join(layout.combinations)}")
    return tuple(c for c in layout.combinations if c in chosen)
