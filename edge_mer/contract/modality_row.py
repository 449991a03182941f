"""The type of the rows of the table of modalities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_mer.contract.raw import Body


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Display texts of a modality. ``icon`` is the path of an SVG of 24 x 24."""

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
    are the highest rates in normal operation, ``raw_bytes`` and ``feature_bytes`` bound one message.
    ``made_from``: modalities from whose raw data this one is derived; their masks mask it too. ``stands_alone``: it may
    also have another source (typed words); ``parent`` of its raw body names the origin, and the configuration decides
    whether those masks apply.

    ``source`` is the value of ``[name] source`` that means its own sensor, and the default; ``process`` and ``capture``
    are name and module of the process that owns it, which defines ``build(config, bus)``. ``adapter``: the module that
    defines ``open_encoder(backend, models, yunet)`` and ``block(message)``. ``models``: files that its encoder loads.

    ``segments``: messages are segments that grow; a later one replaces the earlier of the same number, a late one
    revises estimates, and one recent token makes the modality present. ``posterior``: tokens are shares that sum to 1,
    compared by their logarithm. ``neutral_tokens``: tokens that make a personal baseline (10 s); None: it has none.
    ``max_age_s``: age of the newest token after which it is absent. ``weak``: the property of the section ``sensors``
    that is true when the calibration found a weak signal.

    ``channel`` is the name of EmotionML 1.0, section 2.4.2. ``foxglove`` and ``dtype``: Foxglove's schema of the raw
    payload, and the type of its one array; None: recorded in the format of edge_mer.session.
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
