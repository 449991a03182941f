"""The history in one paragraph, in English or German."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from edge_mer.gateway.page.strings import Language, listed, plain, sensor_text, text
from edge_mer.history.shares import HourShares, summary_of

MOST = 3
SMALL = 0.01


def paragraph(language: Language, hours: Sequence[HourShares]) -> str:
    """How long, mostly what, how often without label and why, what was masked and what was erased."""
    found = summary_of(hours)
    if not found.hours:
        return text(language, "history.empty")
    days = sorted({h.day for h in hours if h.seconds})
    parts = [
        text(
            language,
            "history.sensed",
            when=" … ".join(_date(language, day) for day in dict.fromkeys((days[0], days[-1]))),
            hours=_number(language, found.hours),
            first=f"{found.first:02}:00",
            last=f"{(found.last + 1) % 24:02}:00",
        )
    ]
    if shares := [(text(language, f"emotion.{e}"), s) for e, s in found.labels[:MOST] if s >= SMALL]:
        named = listed(language, [f"{name} ({percent(share)})" for name, share in shares])
        parts.append(text(language, "history.mostly", labels=named))
    if without := sum(share for _, share in found.reasons):
        reason = plain(language, found.reasons[0][0])
        parts.append(text(language, "history.withheld", share=percent(without), reason=reason))
    if masked := [(m, s) for m, s in found.masked if s >= SMALL]:
        named = listed(language, [f"{sensor_text(language, m, 'name')} ({percent(share)})" for m, share in masked])
        parts.append(text(language, "history.masked", sensors=named))
    if found.erased:
        named = listed(language, [sensor_text(language, m, "name") for m in found.erased])
        parts.append(text(language, "history.erased", sensors=named))
    return " ".join(parts)


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _date(language: Language, day: str) -> str:
    date = datetime.date.fromisoformat(day)
    return text(language, "history.date", day=date.day, month=date.month, year=date.year)


def _number(language: Language, hours: float) -> str:
    shown = f"{hours:.1f}"
    return shown.replace(".", ",") if language == "de" else shown
