"""What papers print for the sets of ``pipelines.reproduce``: one row per system and protocol, with where it is from.

In percent. ``columns``: a combination or a rate of missing entries -> the two figures of the set's protocol: accuracy
and weighted F1 of the sign on non-zero scores (CMU-MOSI, CMU-MOSEI), WA and UA (IEMOCAP). Sources: [P] the paper, [L]
the authors' log, [S] a secondary source; "chosen on test": epochs were chosen by the rows that are scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edge_mer.contract.domain import COMBINATIONS

Pair = tuple[float, float]
# The order in which the papers print combinations.
PRINTED: Final = ("a", "t", "v", "at", "av", "tv", "atv")
assert set(PRINTED) == set(COMBINATIONS)
RATES: Final = ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7")


@dataclass(frozen=True, slots=True)
class Published:
    """One printed row. ``mean``: over the seven combinations, where only that is printed."""

    data: str
    system: str
    source: str
    columns: Mapping[str, Pair]
    mean: Pair | None = None


def _pairs(text: str) -> list[Pair]:
    """``66.7/68.1 74.2/75.1``."""
    return [(float(a), float(b)) for a, b in (pair.split("/") for pair in text.split())]


def _fixed(data: str, system: str, source: str, pairs: str) -> Published:
    return Published(data, system, source, dict(zip(PRINTED, _pairs(pairs), strict=True)))


def _random(data: str, system: str, source: str, pairs: str) -> Published:
    return Published(data, system, source, dict(zip(RATES, _pairs(pairs), strict=True)))


_TEST: Final = "one model per pattern, chosen on test [S]"
_RATE: Final = "one model per rate, chosen on test [S]"
_LOG: Final = "one model, authors' log [L]"
_FAGM: Final = "accuracy and weighted F1; FAGM, Table 1 [P]"
PUBLISHED: Final = (
    _fixed(
        "cmumosi",
        "MCULoRA",
        _LOG,
        "59.30/58.72 84.91/84.86 57.16/55.26 84.76/84.49 61.43/61.52 83.69/83.73 84.76/84.62",
    ),
    Published("cmumosi", "MoMKE", _TEST, {}, (77.05, 76.46)),
    Published("cmumosi", "TMDC", _TEST, {}, (77.64, 77.35)),
    _random(
        "cmumosi", "GCNet", _RATE, "80.95/81.02 78.51/78.53 77.59/77.39 73.32/73.48 74.39/74.46 65.70/65.91 64.79/64.99"
    ),
    _random(
        "cmumosi", "MoMKE", _RATE, "86.74/86.74 83.38/83.44 80.64/80.72 77.90/78.02 76.68/76.80 73.93/74.08 70.58/70.76"
    ),
    _random(
        "cmumosi", "ComP", _RATE, "87.20/87.11 85.37/85.23 83.69/83.67 81.10/81.18 79.27/78.96 75.61/75.74 73.17/73.33"
    ),
    _fixed(
        "cmumosei",
        "MCULoRA, rank 8",
        _LOG,
        "70.83/69.22 86.60/86.54 70.39/68.96 87.12/87.07 72.78/71.30 87.42/87.31 87.31/87.21",
    ),
    Published("cmumosei", "MoMKE", _TEST, {}, (80.44, 79.98)),
    Published("cmumosei", "MoMKE, independent re-run", "GUARD [S]", {}, (80.30, 80.11)),
    Published("cmumosei", "TMDC", _TEST, {}, (81.22, 80.76)),
    _random(
        "cmumosei",
        "GCNet",
        _RATE,
        "85.80/85.82 85.14/85.10 84.48/84.35 83.05/82.90 82.03/82.08 81.29/81.03 80.05/80.03",
    ),
    _random(
        "cmumosei",
        "MoMKE",
        _RATE,
        "85.88/85.65 84.76/84.60 82.61/82.42 80.99/80.77 79.09/78.93 77.49/76.92 76.00/75.86",
    ),
    _random(
        "cmumosei", "ComP", _RATE, "86.60/86.48 85.83/85.59 85.28/85.10 84.20/83.94 83.30/83.12 82.17/81.78 80.82/80.55"
    ),
    _fixed(
        "iemocap4",
        "MCULoRA",
        _LOG,
        "66.75/68.11 74.16/75.08 55.35/52.52 79.96/81.29 71.94/72.06 76.98/77.71 80.76/81.96",
    ),
    Published("iemocap4", "MoMKE", _TEST, {}, (73.35, 72.78)),
    Published("iemocap4", "TMDC", _TEST, {}, (73.77, 73.64)),
    _random(
        "iemocap4",
        "GCNet",
        _RATE,
        "74.82/74.21 75.87/75.59 74.49/74.31 74.43/73.96 72.67/72.34 72.65/73.33 71.00/70.26",
    ),
    _random(
        "iemocap4",
        "MoMKE",
        _RATE,
        "76.70/75.80 75.25/74.02 73.47/72.59 71.42/70.25 69.73/68.95 67.95/66.60 66.52/65.53",
    ),
    _random(
        "iemocap4", "ComP", _RATE, "80.66/81.09 79.58/80.22 78.37/79.16 77.21/77.96 75.62/76.44 74.28/75.27 73.41/74.09"
    ),
    _random(
        "iemocap6",
        "GCNet",
        _RATE,
        "57.44/57.94 56.81/54.84 55.38/53.33 56.44/54.86 56.12/54.12 54.14/53.62 52.59/52.16",
    ),
    _random(
        "iemocap6",
        "MoMKE",
        _RATE,
        "60.54/58.36 58.47/56.67 55.97/53.37 53.85/52.02 51.93/49.03 49.46/47.72 48.89/46.64",
    ),
    _random(
        "iemocap6", "ComP", _RATE, "62.02/61.41 60.53/58.79 59.67/58.33 57.66/56.22 56.50/54.76 55.23/53.86 54.58/53.01"
    ),
    Published("meld-mmgcn", "MMGCN", _FAGM, {"atv": (59.95, 57.71), "at": (59.79, 57.29)}),
    Published("meld-mmgcn", "MMGCN + FAGM", _FAGM, {"atv": (61.15, 58.48), "at": (60.69, 57.59)}),
    Published("iemocap-mmgcn", "MMGCN", _FAGM, {"atv": (62.67, 62.67), "at": (62.72, 62.66)}),
    Published("iemocap-mmgcn", "MMGCN + FAGM", _FAGM, {"atv": (64.51, 64.53), "at": (63.40, 63.25)}),
)
