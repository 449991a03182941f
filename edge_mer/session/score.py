"""Scores a recording against time-stamped labels: the metrics of ``session.evaluation_metrics``, per combination.

Labels (CSV): ``start``, ``end`` and ``label`` and/or ``sentiment``; ``file`` names the session where there are many.
Times are seconds from the beginning of the session, or wall time (ISO 8601 with an offset). A label applies to every
final estimate whose tick is in ``(start, end]``; without an ``end``, to the first tick at or after ``start``.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
from msgspec import Struct

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import COMBINATIONS, EMOTIONS, Emotion
from edge_mer.contract.errors import SessionError, missing_extra
from edge_mer.contract.messages import Estimate, Message
from edge_mer.session import evaluation_metrics as metrics
from edge_mer.session.keys import KeyStore
from edge_mer.session.reader import Session

ALL = "all"
COLUMNS = ("file", "start", "end", "label", "sentiment")


class Label(Struct, frozen=True):
    """``start`` and ``end`` as in the CSV; ``line`` is its line number, for messages."""

    line: int
    file: str
    start: str
    end: str
    label: Emotion | None
    sentiment: float | None


class LabelledEstimate(Struct, frozen=True):
    """One estimate beside its label. ``predicted`` is None where the estimate abstains."""

    combination: str
    truth: Emotion | None
    predicted: Emotion | None
    sentiment_truth: float | None
    sentiment: float | None


class ScoreRow(Struct, frozen=True):
    """Figures of one combination. ``coverage`` is the share of labelled estimates that did not abstain; accuracy and
    the other metrics are over those. None where no data exists."""

    combination: str
    labelled: int
    coverage: float | None
    accuracy: float | None
    uar: float | None
    macro_f1: float | None
    weighted_f1: float | None
    sentiments: int
    mae: float | None
    correlation: float | None
    accuracy_2: float | None
    accuracy_7: float | None


def read_labels(path: Path) -> list[Label]:
    """Raises SessionError naming the line and what is wrong with it."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or []
            if "start" not in names or not {"label", "sentiment"} & set(names):
                raise SessionError(
                    f"{path}: columns {', '.join(names) or '(none)'}; needed are start, and label or "
                    f"sentiment; known: {', '.join(COLUMNS)}"
                )
            return [_label(path, reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SessionError(f"{path}: {error}") from error


def _label(path: Path, line: int, row: dict[str, Any]) -> Label:
    text = {name: (row.get(name) or "").strip() for name in COLUMNS}
    place = f"{path}, line {line}"
    if text["label"] and text["label"] not in EMOTIONS:
        raise SessionError(f"{place}: label {text['label']!r}; known: {', '.join(EMOTIONS)}")
    sentiment = _number(text["sentiment"]) if text["sentiment"] else None
    if text["sentiment"] and (sentiment is None or not -3 <= sentiment <= 3):
        raise SessionError(f"{place}: sentiment {text['sentiment']!r}, expected a number from -3 to 3")
    for name in ("start", "end"):
        if (text[name] or name == "start") and _number(text[name]) is None and _wall_us(text[name]) is None:
            raise SessionError(
                f"{place}: {name} {text[name]!r}, expected seconds, or a time such as 2026-11-21T12:00:00+01:00"
            )
    label = cast(Emotion, text["label"]) if text["label"] else None
    return Label(line, text["file"], text["start"], text["end"], label, sentiment)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _wall_us(text: str) -> int | None:
    """None also without an offset: a local time without its place is ambiguous."""
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return round(time.timestamp() * SECOND) if time.tzinfo is not None else None


def pairs(path: Path, labels: Sequence[Label], keys: KeyStore | None = None) -> list[LabelledEstimate]:
    """Final estimates of one session beside their labels. Raises SessionError for a file that is no session."""
    session = Session(path, keys)
    finals = [m for m in session.messages("emotion") if m.body.final]
    offset = session.opening.wall_offset_us if session.opening is not None else 0
    begin = session.span_us[0]
    found = []
    for label in labels:
        start = _monotonic(label.start, begin, offset)
        if label.end:
            end = _monotonic(label.end, begin, offset)
            inside = [m for m in finals if start < m.envelope.origin_us <= end]
        else:
            inside = [m for m in finals if start <= m.envelope.origin_us][:1]
        found += [_pair(label, m) for m in inside]
    return found


def _monotonic(text: str, begin_us: int, wall_offset_us: int) -> int:
    seconds = _number(text)
    if seconds is not None:
        return begin_us + round(seconds * SECOND)
    wall = _wall_us(text)
    assert wall is not None
    return wall - wall_offset_us


def _pair(label: Label, message: Message[Estimate]) -> LabelledEstimate:
    body = message.body
    return LabelledEstimate(body.combination, label.label, body.label, label.sentiment, body.sentiment)


def table(found: Sequence[LabelledEstimate]) -> list[ScoreRow]:
    """A row per combination that occurs, and one for all."""
    names = [c for c in (*COMBINATIONS, "none") if any(p.combination == c for p in found)]
    return [*(figures(c, [p for p in found if p.combination == c]) for c in names), figures(ALL, found)]


def figures(name: str, found: Sequence[LabelledEstimate]) -> ScoreRow:
    labelled = [p for p in found if p.truth is not None]
    answered = [p for p in labelled if p.predicted is not None]
    matrix = metrics.confusion(
        _numbers(p.truth for p in answered), _numbers(p.predicted for p in answered), len(EMOTIONS)
    )
    scored = [p for p in found if p.sentiment_truth is not None and p.sentiment is not None]
    truth = np.array([p.sentiment_truth for p in scored], np.float64)
    guess = np.array([p.sentiment for p in scored], np.float64)

    def of_labels(metric: Callable[[Any], float]) -> float | None:
        return metric(matrix) if answered else None

    def of_sentiment(metric: Callable[[Any, Any], float]) -> float | None:
        return metric(truth, guess) if scored else None

    return ScoreRow(
        combination=name,
        labelled=len(labelled),
        coverage=len(answered) / len(labelled) if labelled else None,
        accuracy=of_labels(metrics.accuracy),
        uar=of_labels(metrics.uar),
        macro_f1=of_labels(metrics.macro_f1),
        weighted_f1=of_labels(metrics.weighted_f1),
        sentiments=len(scored),
        mae=of_sentiment(metrics.mae),
        correlation=of_sentiment(metrics.correlation),
        accuracy_2=of_sentiment(metrics.accuracy_2),
        accuracy_7=of_sentiment(metrics.accuracy_7),
    )


def _numbers(labels: Iterable[Emotion | None]) -> Any:
    return np.array([EMOTIONS.index(x) for x in labels if x is not None], np.int64)


Job = tuple[Path, list[Label], KeyStore | None]


def jobs(place: Path, labels: Sequence[Label], keys: KeyStore | None) -> list[Job]:
    """One per session that has labels: ``place`` itself, or those in the folder, named by file name or stem.

    Raises SessionError for a label whose session does not exist.
    """
    if not place.is_dir():
        if strange := sorted({x.file for x in labels} - {"", place.name, place.stem}):
            raise SessionError(f"the labels are for {', '.join(strange)}; give the folder that holds them")
        return [(place, list(labels), keys)]
    files = {path.name: path for path in sorted(place.rglob("*.mcap"))}
    names = {**{path.stem: path for path in files.values()}, **files}
    of_file: dict[Path, list[Label]] = {}
    for label in labels:
        if label.file not in names:
            raise SessionError(
                f"line {label.line} of the labels: {place} holds no session {label.file!r}"
                + ("; the column file must name one" if not label.file else "")
            )
        of_file.setdefault(names[label.file], []).append(label)
    return [(path, found, keys) for path, found in of_file.items()]


def run(job: Job) -> list[LabelledEstimate]:
    return pairs(*job)


def in_processes(work: Sequence[Job], count: int) -> list[LabelledEstimate]:
    """Score ``count`` files at a time in processes of this host; without processes for one at a time."""
    if count <= 1 or len(work) <= 1:
        return [p for job in work for p in run(job)]
    with ProcessPoolExecutor(min(count, len(work)), get_context("spawn")) as pool:
        return [p for found in pool.map(run, work) for p in found]


def on_ray(work: Sequence[Job], address: str) -> list[LabelledEstimate]:
    """Score on a Ray cluster whose nodes have the same files (and keys); ``local`` starts one on this host.

    Raises MissingExtra without ray, SessionError when the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no connection that was not configured
    try:
        import ray
    except ImportError:
        raise missing_extra("ray", "ray") from None
    try:
        ray.init(address=address, include_dashboard=False if address == "local" else None, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise SessionError(f"no Ray cluster at {address}: {error}") from error
    try:
        remote = ray.remote(run)
        return [p for found in ray.get([remote.remote(job) for job in work]) for p in found]
    finally:
        ray.shutdown()
