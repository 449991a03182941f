"""What this home said of wrong events: a file in the state directory (0600) that raises thresholds; never sent away.

Each wrong event raises the threshold of its label and combination by a quarter, at most four times. It can be taken
back, and all of it erased.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, get_args

import msgspec
from msgspec import Struct

from edge_mer.contract.domain import COMBINATIONS, EventLabel
from edge_mer.contract.errors import InputError, ModelError
from edge_mer.events.fold import key
from edge_mer.host.files import Version, remove, version_of, write_atomic

FILE: Final = "events.json"
STEP, MOST = 1.25, 4
EVENT: Final = re.compile(
    rf"({'|'.join(get_args(EventLabel))})-({'|'.join(COMBINATIONS)})-\d{{1,15}}(-p\d{{1,9}}|-voice)?"
)
# Ids of events that were called wrong, the newest last: more are forgotten, which takes their part back.
KEPT: Final = 1000


class Corrections(Struct, frozen=True, forbid_unknown_fields=True):
    """``wrong``: ids of events, each once."""

    wrong: tuple[str, ...] = ()

    @property
    def factors(self) -> dict[str, float]:
        """By which each threshold is multiplied."""
        counts: dict[str, int] = {}
        for event in self.wrong:
            name = threshold_of(event)
            counts[name] = counts.get(name, 0) + 1
        return {name: STEP ** min(n, MOST) for name, n in sorted(counts.items())}


def threshold_of(event: str) -> str:
    """``angry/av`` of the event ``angry-av-1234``. Raises InputError for anything that is no event's id."""
    found = EVENT.fullmatch(event)
    if found is None:
        raise InputError(f"{event[:60]!r} is no event; edge-mer events shows them, as angry-av-1234")
    return key(found[1], found[2])


def read(directory: Path) -> Corrections:
    """Empty where nothing was called wrong. Raises ModelError for a damaged file, which is not used."""
    path = directory / FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Corrections)
        for event in found.wrong:
            threshold_of(event)
    except FileNotFoundError:
        return Corrections()
    except (OSError, msgspec.DecodeError, InputError) as error:
        raise ModelError(f"{path} is damaged ({error}); run: edge-mer events erase") from error
    return found


def version(directory: Path) -> Version | None:
    """Changes with every change of the file."""
    return version_of(directory / FILE)


def wrong(directory: Path, event: str) -> Corrections:
    """Call an event wrong; once more changes nothing. Raises InputError, ModelError, OSError."""
    threshold_of(event)
    known = read(directory)
    return known if event in known.wrong else _write(directory, (*known.wrong, event)[-KEPT:])


def take_back(directory: Path, event: str) -> Corrections:
    """An event was right after all. Raises InputError where it was not called wrong."""
    known = read(directory)
    if event not in known.wrong:
        raise InputError(f"{event[:60]!r} was not called wrong")
    return _write(directory, tuple(e for e in known.wrong if e != event))


def erase(directory: Path) -> bool:
    """Returns whether there was anything."""
    there = (directory / FILE).exists()
    if there:
        remove(directory / FILE)
    return there


def _write(directory: Path, events: tuple[str, ...]) -> Corrections:
    made = Corrections(events)
    write_atomic(directory / FILE, msgspec.json.encode(made))
    return made
