"""What one row of the table of modalities says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_mer.contract.raw import Body


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How a modality is called towards people. ``icon`` is the path of an SVG of 24 x 24."""

    sensor: str
    channel: str
    active: str
    icon: str
    question: str
    nothing: str
    stale: str
    indicator: str
    large_encoder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityRow:
    """One modality.

    ``letter`` names it in combinations. ``raw``: the body of its raw messages; ``raw_rate_hz`` and ``feature_rate_hz``
    are the most that normal work sends, ``raw_bytes`` and ``feature_bytes`` bound one message.
    ``made_from``: modalities whose raw data this one's is made from; their masks mask it too. ``stands_alone``: it may
    also come from elsewhere (typed words); its raw body says in ``parent`` which it is, and the configuration whether
    those masks reach it.

    ``source`` is the value of ``[name] source`` that means its own sensor, and the default; ``process`` and ``capture``
    are name and module of the process that owns it, which offers ``build(config, bus)``. ``adapter``: the module that
    offers ``open_encoder(backend, models, yunet)`` and ``block(message)``. ``models``: files that its encoder loads.

    ``segments``: messages are segments that grow; a later one replaces the earlier of the same number, a late one
    revises estimates, and one recent token makes the modality present. ``posterior``: tokens are shares that sum to 1,
    compared by their logarithm. ``neutral_tokens``: tokens that make a personal baseline (10 s); None: it has none.
    ``max_age_s``: age of the newest token after which it is absent. ``weak``: the property of the section ``sensors``
    that says whether the calibrated room is hard on it.

    ``channel`` is the name of EmotionML 1.0, section 2.4.2. ``foxglove`` and ``dtype``: Foxglove's schema of the raw
    payload, and the type of its one array; None: recorded in our own form.
    """

    name: str
    letter: str
    raw: type[Body]
    raw_rate_hz: float
    raw_bytes: int
    feature_rate_hz: float
    feature_bytes: int
    source: str
    process: str
    capture: str
    adapter: str
    channel: str
    words: Words
    made_from: tuple[str, ...] = ()
    stands_alone: bool = False
    models: tuple[str, ...] = ()
    segments: bool = False
    posterior: bool = False
    neutral_tokens: int | None = None
    max_age_s: float = 1.0
    weak: str | None = None
    foxglove: Literal["foxglove.RawAudio", "foxglove.CompressedImage"] | None = None
    dtype: str | None = None
