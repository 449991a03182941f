"""What was expressed when in a clip, from its final estimates: rows, a table of spans, and one line. No I/O."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import EMOTIONS
from edge_mer.contract.messages import Estimate, Message, RawText, WordTime

WHEN, EXPRESSED, LIKELIEST = 15, 36, 15  # widths of the table's columns; what was heard takes the rest
LEAST_HEARD = 14


@dataclass(frozen=True, slots=True)
class Window:
    """One final estimate. ``at_s``: from the clip's begin to its end; ``words``: spoken since the one before."""

    at_s: float
    body: Estimate
    words: tuple[str, ...]

    @property
    def likeliest(self) -> str | None:
        found = self.body.probabilities
        return max(found, key=lambda emotion: found[emotion]) if found else None

    @property
    def reason(self) -> str:
        """Why there is no label; without the size of a set, which changes from window to window."""
        return re.sub(r" \(\d+ labels\)", "", self.body.abstain or "none")

    @property
    def outcome(self) -> str:
        """The label, or the kind of reason why there is none."""
        return self.body.label or self.reason.partition(" (")[0]


@dataclass
class Timeline:
    """Folds the messages of one clip of this length; windows that end after it are left out."""

    name: str
    is_photo: bool
    seconds: float
    began_us: int | None = None
    _finals: dict[int, Estimate] = field(default_factory=dict)
    _segments: dict[tuple[str, int], tuple[WordTime, ...]] = field(default_factory=dict)

    def take(self, message: Message[Any]) -> None:
        body = message.body
        if isinstance(body, Estimate) and body.final:
            self._finals[message.envelope.origin_us] = body
        elif isinstance(body, RawText):
            self._segments[message.envelope.boot, body.segment] = body.words

    def windows(self) -> list[Window]:
        """In order of time; of a photograph one."""
        if self.began_us is None:
            return []
        end_us = self.began_us + round(self.seconds * SECOND)
        words = sorted((w for s in self._segments.values() for w in s), key=lambda w: w.end_us)
        found, since = list[Window](), 0
        for at in sorted(at for at in self._finals if self.began_us < at <= end_us):
            spoken = tuple(w.text for w in words if since < w.end_us <= at)
            found.append(Window((at - self.began_us) / SECOND, self._finals[at], spoken))
            since = at
        return [_typical(found)] if found and self.is_photo else found

    def rows(self) -> Iterator[dict[str, Any]]:
        """One flat record for each window, for CSV and JSON."""
        for window in self.windows():
            body = window.body
            yield {
                "file": self.name,
                "photograph": self.is_photo,
                "at_s": None if self.is_photo else round(window.at_s, 2),
                "words": " ".join(window.words),
                "combination": body.combination,
                "label": body.label,
                "confidence": body.confidence,
                "abstain": body.abstain,
                "likeliest": window.likeliest,
                **{f"p_{e}": (body.probabilities or {}).get(e) for e in EMOTIONS},
            }

    def table(self, width: int) -> list[str]:
        """A line for each span of equal outcomes, at most ``width`` columns where that is 80 or more."""
        heard = max(LEAST_HEARD, width - WHEN - EXPRESSED - LIKELIEST)
        lines = [f"{'when':<{WHEN}}{'expressed':<{EXPRESSED}}{'likeliest':<{LIKELIEST}}heard"]
        before = 0.0
        for _, group in groupby(self.windows(), key=lambda w: w.body.label or w.reason):
            span = list(group)
            when = "photograph" if self.is_photo else f"{_clock(before)}-{_clock(span[-1].at_s)}"
            before = span[-1].at_s
            words = " ".join(word for window in span for word in window.words)
            first, *more = textwrap.wrap(words, heard) or [""]
            lines.append(
                f"{when:<{WHEN}}{_expressed(span):<{EXPRESSED}}{_likeliest(span):<{LIKELIEST}}{first}".rstrip()
            )
            lines += [" " * (WHEN + EXPRESSED + LIKELIEST) + line for line in more]
        return lines

    def summary(self) -> str:
        """``mostly happy (12 of 14 windows)``. Windows in which nothing was sensed are not counted."""
        used = [w for w in self.windows() if w.body.combination != "none"]
        if not used:
            reasons = Counter(w.outcome for w in self.windows()).most_common(1)
            return "nothing was heard or seen" + (f": {reasons[0][0]}" if reasons else "")
        if self.is_photo:
            return f"{_expressed(used)} (a photograph: one face, one moment)"
        labels = Counter(w.body.label for w in used if w.body.label)
        total = f"{len(used)} window{'' if len(used) == 1 else 's'}"
        withheld = Counter(w.outcome for w in used if not w.body.label).most_common(2)
        why = ", ".join(f"{reason} in {count}" for reason, count in withheld)
        if not labels:
            likeliest = Counter(w.likeliest for w in used).most_common(1)[0][0]
            return f"no label in {total}: {why}; likeliest {likeliest}"
        (label, count), *others = labels.most_common(3)
        if 2 * count > len(used):
            return f"mostly {label} ({count} of {total})"
        found = ", ".join(f"{name} in {n}" for name, n in ((label, count), *others))
        return f"{found} of {total}" + (f"; no label: {why}" if why else "")


def _typical(windows: list[Window]) -> Window:
    """The last of the most common outcome, among those that used anything where there are any."""
    used = [w for w in windows if w.body.combination != "none"] or windows
    outcome = Counter(w.outcome for w in used).most_common(1)[0][0]
    return [w for w in used if w.outcome == outcome][-1]


def _expressed(span: list[Window]) -> str:
    """The label with its mean confidence, or why it was withheld."""
    label = span[0].body.label
    if label is None:
        return span[0].reason
    sure = [w.body.confidence for w in span if w.body.confidence is not None]
    return f"{label} {sum(sure) / len(sure):.2f}" if sure else label


def _likeliest(span: list[Window]) -> str:
    """The emotion of the highest mean probability."""
    found = [w.body.probabilities for w in span if w.body.probabilities]
    if not found:
        return "-"
    means = {e: sum(p.get(e, 0.0) for p in found) / len(found) for e in EMOTIONS}
    top = max(means, key=lambda e: means[e])
    return f"{top} {means[top]:.2f}"


def _clock(seconds: float) -> str:
    """``1:02.5``."""
    minutes, rest = divmod(round(seconds * 2) / 2, 60)
    return f"{minutes:.0f}:{rest:04.1f}"
