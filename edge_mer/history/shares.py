"""Hours as shares: what the page draws, the command prints, a table holds, and a summary is written from."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from msgspec import Struct

from edge_mer.contract.domain import Emotion, Modality
from edge_mer.history.store import ReadHour

K = TypeVar("K")
COLUMNS = ("hour", "kind", "name", "seconds", "share")


class HourShares(Struct, frozen=True):
    """One hour, local time. Shares are of ``seconds``, the time of all windows; labels and reasons fill it but for what
    was erased. ``erased``: modalities whose part of this hour was erased."""

    day: str
    hour: int
    seconds: float
    labels: dict[Emotion, float]
    reasons: dict[str, float]
    masked: dict[Modality, float]
    erased: tuple[Modality, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """``hours``: time with an estimate. Shares of it: ``labels`` and ``reasons``, the largest first; ``masked``."""

    hours: float
    first: int
    last: int
    labels: tuple[tuple[Emotion, float], ...]
    reasons: tuple[tuple[str, float], ...]
    masked: tuple[tuple[Modality, float], ...]
    erased: tuple[Modality, ...]


def shares_of(read: ReadHour) -> HourShares:
    labels, reasons = Counter[Emotion](), Counter[str]()
    for tally in read.hour.tallies.values():
        labels.update(tally.labels)
        reasons.update(tally.reasons)
    total = max(read.hour.counted_ms, 1)
    return HourShares(
        day=read.start.date().isoformat(),
        hour=read.start.hour,
        seconds=read.hour.counted_ms / 1000,
        labels={e: ms / total for e, ms in labels.items()},
        reasons={r: ms / total for r, ms in reasons.items()},
        masked={m: ms / total for m, ms in read.hour.masked_ms.items()},
        erased=read.erased,
    )


def summary_of(hours: Sequence[HourShares]) -> Summary:
    """The whole of some hours; shares are 0 where nothing was counted."""
    seconds = sum(h.seconds for h in hours)
    counted = [h.hour for h in hours if h.seconds]
    return Summary(
        hours=seconds / 3600,
        first=min(counted, default=0),
        last=max(counted, default=0),
        labels=_ranked((h.seconds, h.labels) for h in hours),
        reasons=_ranked((h.seconds, h.reasons) for h in hours),
        masked=_ranked((h.seconds, h.masked) for h in hours),
        erased=tuple(dict.fromkeys(m for h in hours for m in h.erased)),
    )


def _ranked(parts: Iterable[tuple[float, Mapping[K, float]]]) -> tuple[tuple[K, float], ...]:
    """Shares of the whole time, the largest first."""
    total, sums = 0.0, dict[K, float]()
    for seconds, shares in parts:
        total += seconds
        for name, share in shares.items():
            sums[name] = sums.get(name, 0.0) + share * seconds
    return tuple(sorted(((n, s / total) for n, s in sums.items() if total), key=lambda item: -item[1]))


def table(hours: Iterable[HourShares]) -> str:
    """CSV: one row per hour and label, reason or mask."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for h in hours:
        for kind, shares in (("label", h.labels), ("reason", h.reasons), ("masked", h.masked)):
            for name, share in sorted(shares.items()):
                writer.writerow((f"{h.day}T{h.hour:02}:00", kind, name, round(share * h.seconds, 1), round(share, 4)))
        for modality in h.erased:
            writer.writerow((f"{h.day}T{h.hour:02}:00", "erased", modality, "", ""))
    return out.getvalue()
