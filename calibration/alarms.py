"""How often events are wrong, and how many bursts of expression they find: ``python -m calibration.alarms``.

Hours of people who express nothing, and of sounds, are put together from pieces and run through fusion and the real
fold of events (``calibration/alarm_streams.py``, ``calibration/alarm_fit.py``). ``--fit`` settles the evidence on dev
people, measures thresholds on these and others, and writes ``events.json`` beside the models. Writes the section Alarms
of ``calibration/RESULTS.md``, and a DET curve (false events per hour against missed bursts).
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np

from calibration import report
from calibration.alarm_fit import (
    Begun,
    BurstTrack,
    Found,
    Wrong,
    added,
    begun,
    curve,
    express,
    fit,
    found,
    settings_at,
    wrong,
)
from calibration.alarm_pieces import Pieces, pieces
from calibration.alarm_sounds import RATIOS_DB, SPLITS, Piece, Split
from calibration.alarm_streams import HOP_S, SETTINGS, Fusions, Track, hours_of, joined, longer, stream_of
from edge_mer.contract.domain import COMBINATIONS, EVENT_LABELS, Combination, EventLabel, Modality, modalities_of
from edge_mer.contract.errors import EdgeMerError
from edge_mer.events.settings import FILE, EventFile, Fitted, choose, read
from pipelines.data.corpora import DEFAULT_ROOT
from pipelines.data.files import draft
from pipelines.encoders.shipped import MODELS

COMMAND: Final = "python -m calibration.alarms"
CACHE: Final = Path("runs/alarms")
PICTURE: Final = Path(__file__).with_name("alarms.png")
HOURS: Final[Mapping[Split, float]] = {"dev": 75.0, "confirm": 25.0}
# Of these, hours that go through fusion; the visits in them are then drawn again and again.
UNLIKE: Final[Mapping[Split, float]] = {"dev": 6.0, "confirm": 3.0}
BUDGETS: Final = {"1 an hour": 1.0, "1 in 20 h": 0.05, "1 a day": 1 / 24, "1 a week": 1 / 168}
DEFAULT: Final = 1 / 24
SEEDS, SEED_HOURS, ALPHA = 100, 2.0, 0.05
EXPLAINED: Final = """\
Wrong events per hour with 95 % by person, on hours put together from pieces, per combination: 75 h of dev people,
on whom the evidence was fitted, and 25 h of others. Thresholds are chosen on both, so neither confirms them. Only 6 and
3 h of these go through fusion; their visits are drawn again and again, so hours are not independent: the interval is
that of the people. Recall of bursts of 3 s of RAVDESS dev actors (words: of dev texts) at 0, 10 and 20 dB over noise,
music or other voices, and the median delay of those found from the burst's beginning. The evidence was fitted on these
same bursts, and counting estimates that are not sure was decided with them in view: expect less. Voice and face of `av`
are of two people on negatives, of one in bursts; words are label-paired. `proven`: hours in which the sequential test
alone allows one wrong event, which supposes a mean factor of at most 1; a missed row below shows that it does not hold.
Combinations without a row were not measured, and have no events. DET curves: `calibration/alarms.png`."""


class Alarms:
    """Tracks of every combination and split, kept in ``cache``."""

    def __init__(self, root: Path, models: Path, cache: Path, hours: float, seed: int) -> None:
        self.models, self._cache, self._share, self._seed = models, cache, hours, seed
        self.fusions = Fusions(models)
        self.pieces = pieces(root, models, cache, seed)

    def track(self, combination: Combination, split: Split, number: int = 0) -> Track:
        """Hours of negatives; ``number`` draws others."""
        hours, some = UNLIKE[split] * self._share, _negatives(self.pieces, combination, split)
        stamp = f"{self.fusions.model.name} {combination} {split} {hours} {self._seed} {number} {_size(some)}"
        path = self._cache / f"track-{combination}-{split}-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}.npz"
        if not path.is_file():
            random = np.random.default_rng([self._seed, number, *stamp.encode()])
            _write(path, self.fusions.track(combination, hours_of(some, hours, random)))
        once = _read(path, combination)
        return longer(once, HOURS[split] * self._share, np.random.default_rng([self._seed, number, 1]))

    def bursts(self, combination: Combination) -> list[BurstTrack]:
        """Every burst that ``combination`` can show; words beside a voice or face are those of the same label."""
        out = list[BurstTrack]()
        needed, words = set(modalities_of(combination)), _by_label(self.pieces.word_bursts)
        random = np.random.default_rng(self._seed)
        quiet = [p for p in self.pieces.words if p.seconds < 6]
        if combination == "t":
            for piece in self.pieces.word_bursts:
                lead = quiet[int(random.integers(len(quiet)))]
                track = self.fusions.track("t", stream_of([{"text": lead}, {"text": piece}]))
                out.append(BurstTrack(track, piece.label, lead.seconds, 10, "words", piece.person))
            return out
        for piece in self.pieces.bursts:
            if not needed - {"text"} <= set(piece.tracks):
                continue
            shown: dict[Modality, Piece] = dict.fromkeys(needed & set(piece.tracks), piece)
            if "text" in needed:
                if not words.get(piece.label):
                    continue
                said = words[piece.label][int(random.integers(len(words[piece.label])))]
                shown["text"] = _moved(said, piece.onset_s, piece.seconds)
            track = self.fusions.track(combination, stream_of([shown]))
            out.append(BurstTrack(track, piece.label, piece.onset_s, piece.ratio_db, piece.source, piece.person))
        return out


def _moved(piece: Piece, by_s: float, seconds: float) -> Piece:
    """Words that begin ``by_s`` later."""
    track = piece.tracks["text"]
    return replace(piece, tracks={"text": replace(track, end_s=track.end_s + by_s)}, seconds=seconds)


def _by_label(some: Sequence[Piece]) -> dict[str, list[Piece]]:
    return {label: [p for p in some if p.label == label] for label in {p.label for p in some}}


def _negatives(held: Pieces, combination: Combination, split: Split) -> dict[Modality, list[Piece]]:
    every: dict[Modality, Sequence[Piece]] = {"audio": held.voices, "video": held.faces, "text": held.words}
    return {m: [p for p in every[m] if p.split == split] for m in modalities_of(combination)}


def _size(some: Mapping[Modality, Sequence[Piece]]) -> str:
    return " ".join(f"{m} {len(pieces)} {sum(p.seconds for p in pieces):.3f}" for m, pieces in some.items())


def _write(path: Path, track: Track) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            allow_pickle=False,
            shares=track.shares.astype(np.float32),
            sentiment=track.sentiment.astype(np.float32),
            novel=track.novel,
            withheld=track.withheld,
            piece=track.piece,
            sources=track.sources,
            people=track.people,
            labels=track.labels,
            visits=track.visits,
        )


def _read(path: Path, combination: Combination) -> Track:
    with np.load(path, allow_pickle=False) as file:
        return Track(
            combination,
            file["shares"].astype(np.float64),
            file["sentiment"].astype(np.float64),
            file["novel"],
            file["withheld"],
            file["piece"],
            file["sources"],
            file["people"],
            file["labels"],
            file["visits"],
        )


@dataclass(frozen=True, slots=True)
class Rows:
    """Of one combination: what is fitted, and its rows in the tables of the report."""

    fitted: dict[EventLabel, Fitted]
    rates: list[list[str]]
    sources: list[list[str]]
    days: list[list[str]]
    bound: list[list[str]]


def measured(alarms: Alarms, c: Combination, known: Mapping[EventLabel, Fitted] | None) -> Rows:
    """Fit one combination on dev speakers, unless it is ``known``, and judge it on both halves."""
    tracks, bursts = {split: alarms.track(c, split) for split in SPLITS}, alarms.bursts(c)
    settled = dict(known) if known is not None else fitted(c, tracks, bursts)
    days = list[list[str]]()
    for split, track in tracks.items():
        given = ~track.withheld & ~np.isnan(track.shares[:, 0])
        top = np.nan_to_num(track.shares).argmax(1)
        days.append([c, split, f"{track.hours:.0f}", f"{given.mean():.3f}", f"{(given & (top != 0)).mean():.3f}"])
    rates, sources = list[list[str]](), list[list[str]]()
    for label, some in settled.items():
        for budget, per_hour in BUDGETS.items():
            rule = choose(some, per_hour, SETTINGS.hop_us)
            if isinstance(rule, str):
                rates.append([label, c, budget, "off", "", "", "", "", "", rule])
                continue
            settings = settings_at(rule.threshold, c, {label: some.ratio})
            events = {split: list(begun(settings, track)) for split, track in tracks.items()}
            wrongs = [_rate(wrong(label, tracks[split], events[split])) for split in SPLITS]
            hits = [_found(found(settings, bursts, label, db, "" if c == "t" else "ravdess")) for db in RATIOS_DB]
            proven = f"{rule.proven_hours:.2g} h"
            rates.append([label, c, budget, f"{rule.threshold:g}", *wrongs, *hits, proven])
            if per_hour == DEFAULT:
                sources += _by_source(label, tracks["confirm"], events["confirm"])
    return Rows(settled, rates, sources, days, bound(c, tracks["confirm"], settled))


def fitted(c: Combination, tracks: Mapping[Split, Track], bursts: Sequence[BurstTrack]) -> dict[EventLabel, Fitted]:
    """Evidence is fitted on dev people alone; the rates of thresholds, by which budgets choose, are those of both."""
    ratios = {label: r for label in EVENT_LABELS if (r := fit(label, tracks["dev"], bursts)) is not None}
    track = joined(*tracks.values())
    people, hours = len(set(track.people.tolist())), round(track.hours, 1)
    return {
        label: Fitted(ratios[label], points, hours, people) for label, points in curve(c, ratios, track, bursts).items()
    }


def _by_source(label: EventLabel, track: Track, events: Sequence[Begun]) -> list[list[str]]:
    """Sources with a wrong event."""
    every = [(name, wrong(label, track, events, name)) for name in sorted(set(track.sources.tolist()))]
    return [[label, track.combination, name, _rate(rate)] for name, rate in every if rate.events]


def bound(c: Combination, track: Track, settled: Mapping[EventLabel, Fitted]) -> list[list[str]]:
    """Whether the e-process, begun once, stays below 1 / ALPHA in 95 of 100 seeds."""
    rows, random = list[list[str]](), np.random.default_rng(1)
    hops = min(len(track.shares), round(SEED_HOURS * 3600 / HOP_S))
    for label, some in settled.items():
        nats, kept = added(label, some.ratio, track), 0
        nats[express(label, track)] = 0
        for _ in range(SEEDS):
            start = int(random.integers(len(nats) - hops + 1))
            kept += bool(np.cumsum(nats[start : start + hops]).max() < math.log(1 / ALPHA))
        rows.append([label, c, f"{kept}", "reached" if kept >= SEEDS * (1 - ALPHA) else "missed"])
    return rows


def markdown(found: Sequence[Rows]) -> str:
    """The section."""
    head = ["label", "of", "budget", "threshold", "wrong/h, dev", "wrong/h, confirm", *(f"{db} dB" for db in RATIOS_DB)]
    parts = {
        "": report.table([*head, "proven"], [row for rows in found for row in rows.rates]),
        "Wrong events at the default budget (1 a day) by source, confirm speakers; sources without any are left out": (
            report.table(["label", "of", "source", "wrong/h"], [row for rows in found for row in rows.sources])
        ),
        f"The e-process, begun once, stays below {1 / ALPHA:g} for {SEED_HOURS:g} h of confirm speakers": (
            report.table(["label", "of", "seeds of 100", ""], [row for rows in found for row in rows.bound])
        ),
        "Share of the hours of people who express nothing with a label, and with another one than neutral": (
            report.table(
                ["of", "speakers", "hours", "labelled", "not neutral"], [row for rows in found for row in rows.days]
            )
        ),
    }
    return "\n\n".join(f"{title}:\n\n{table}" if title else f"{EXPLAINED}\n\n{table}" for title, table in parts.items())


def _rate(rate: Wrong) -> str:
    return f"{rate.per_hour:.3f} ({rate.low:.3f} to {rate.high:.3f})"


def _found(hit: Found | None) -> str:
    if hit is None:
        return ""
    return f"{hit.recall:.2f}" + ("" if math.isnan(hit.delay_s) else f", {hit.delay_s:.1f} s")


def draw(path: Path, file: EventFile) -> None:
    """The DET curves: one panel per combination."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [c for c in COMBINATIONS if any(c in some for some in file.labels.values())]
    figure, panels = pyplot.subplots(1, len(shown), figsize=(3.2 * len(shown), 3.2), sharey=True, squeeze=False)
    for c, panel in zip(shown, panels[0], strict=True):
        for label, some in file.labels.items():
            points = [p for p in some[c].curve if p.recall is not None] if c in some else []
            rates, missed = [max(p.wrong_per_hour, 1e-3) for p in points], [1 - (p.recall or 0) for p in points]
            panel.plot(rates, missed, "o-", ms=3, label=label)
        panel.axvline(DEFAULT, color="grey", lw=0.7)
        panel.set(xscale="log", title=c, xlabel="wrong events per hour")
    panels[0][0].set_ylabel("bursts missed (10 dB)")
    panels[0][0].legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _measured(arguments: argparse.Namespace, c: Combination) -> Rows:
    """``measured`` in a process of its own."""
    cv2.setNumThreads(1)
    alarms = Alarms(arguments.data, arguments.models, arguments.cache, arguments.hours, arguments.seed)
    file = None if arguments.fit else read(arguments.models)
    known = None if file is None else {label: some[c] for label, some in file.labels.items() if c in some}
    return measured(alarms, c, known)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog=COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fit", action="store_true", help=f"settle the settings, and write {FILE}")
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--models", type=Path, default=MODELS, help=f"directory of the graphs; {FILE} is written there")
    parser.add_argument("--cache", type=Path, default=CACHE, help="directory of tokens and estimates")
    parser.add_argument("--hours", type=float, default=1.0, help="times 75 h of dev and 25 h of confirm speakers each")
    parser.add_argument("--of", nargs="+", choices=COMBINATIONS, default=COMBINATIONS, help="only these combinations")
    parser.add_argument("--jobs", type=int, default=1, help="combinations at once, each in a process")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, default=report.FILE)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    try:
        alarms = Alarms(arguments.data, arguments.models, arguments.cache, arguments.hours, arguments.seed)
        with ProcessPoolExecutor(arguments.jobs) as pool:
            found = dict(zip(arguments.of, pool.map(partial(_measured, arguments), arguments.of), strict=True))
        labels: dict[EventLabel, dict[Combination, Fitted]] = {}
        for c, rows in found.items():
            for label, some in rows.fitted.items():
                labels.setdefault(label, {})[c] = some
        file = EventFile(alarms.fusions.model.name, SETTINGS.hop_us, SETTINGS.window_us, labels)
        if arguments.fit:
            (arguments.models / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n")
        draw(arguments.picture, file)
    except (EdgeMerError, OSError) as error:
        raise SystemExit(f"error: {error}") from error
    text = markdown(list(found.values()))
    report.section(arguments.report, "Alarms", f"`{COMMAND} --fit`\n\n{text}")
    print(text)


if __name__ == "__main__":
    main()
