"""Proves that a session replays: folds its journal again and compares every result byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from edge_mer.clock import SECOND
from edge_mer.config import Models
from edge_mer.errors import EdgeMerError, SessionError
from edge_mer.fusion.model import FusionModel, load_fusion_model
from edge_mer.fusion.replay import Replayed, replay
from edge_mer.messages import Envelope, Estimate, Journal, Message, digest, result, result_bytes
from edge_mer.runtime.select import models_directory, open_backend
from edge_mer.session import format
from edge_mer.session.ledger import Ledger
from edge_mer.session.reader import Session

LoadModel = Callable[[str], FusionModel]
ONE_TICK_US = SECOND // 10
ABSENT = "(no such field)"


class Difference(Struct, frozen=True):
    """One field of one result as recorded and as replayed; ``field`` is a path: ``probabilities.sad``."""

    field: str
    recorded: Any
    replayed: Any


class Report(Struct, kw_only=True, frozen=True):
    """``identical`` only if every result came again byte for byte; else ``reason`` names the first fault.

    ``estimates`` of the file were compared too; ``unproven`` ones were published in the moment before their
    fusion node died, so that no journal entry holds them. ``span_us`` is the time that the journal covers.
    """

    path: str
    identical: bool
    reason: str | None
    differences: tuple[Difference, ...] = ()
    entries: int = 0
    results: int = 0
    estimates: int = 0
    unproven: int = 0
    span_us: int = 0


class _Failed(SessionError):
    def __init__(self, reason: str, differences: tuple[Difference, ...] = ()) -> None:
        super().__init__(reason)
        self.differences = differences


def verify(path: Path, load_model: LoadModel) -> Report:
    """Never raises for what is in the file: everything that is wrong with it is a report.

    ``load_model`` gets the name of the model that the session was recorded with; see ``installed``.
    """
    run = _Verification(path, load_model)
    try:
        run.all()
    except EdgeMerError as error:
        return run.report(str(error), getattr(error, "differences", ()))
    return run.report(None)


def installed(settings: Models) -> LoadModel:
    """Loads the configured model; the loader raises SessionError when the session was made with another."""

    def load(name: str) -> FusionModel:
        model = load_fusion_model(open_backend(settings.backend), models_directory(settings.directory))
        if model.name != name:
            raise SessionError(
                f"recorded with {name}, configured is {model.name}; point models.directory to the former"
            )
        return model

    return load


class _Verification:
    def __init__(self, path: Path, load_model: LoadModel) -> None:
        self._path, self._load_model = path, load_model
        self._ledger = Ledger()
        self._proven: set[str] = set()
        self._last_us: dict[str, int] = {}
        self._unproven_us: dict[str, int] = {}
        self._replayed: dict[tuple[int, int], tuple[int, Estimate]] = {}
        self._estimates = self._unproven = 0
        self._span: tuple[int, int] | None = None

    def all(self) -> None:
        session = Session(self._path)
        if faults := session.check():
            raise _Failed(faults[0])
        if session.trailer is None:
            raise _Failed("the file has no trailer: its recording was not finished, and nothing proves how it ended")
        if session.trailer.unverifiable:
            raise _Failed(f"unverifiable: {session.trailer.unverifiable}")
        self._journal(session)
        self._recorded_estimates(session)
        self._trailer(session.trailer)

    def report(self, reason: str | None, differences: tuple[Difference, ...] = ()) -> Report:
        first, last = self._span or (0, 0)
        return Report(path=str(self._path), identical=reason is None, reason=reason, differences=differences,
                      entries=self._ledger.entries, results=self._ledger.results, estimates=self._estimates,
                      unproven=self._unproven, span_us=last - first)  # fmt: skip

    def _journal(self, session: Session) -> None:
        recorded: list[Message[Journal]] = []

        def entries() -> Iterator[Message[Journal]]:
            for message in session.messages("journal"):
                self._in_time(message)
                recorded.append(message)
                yield message

        for again in replay(entries(), session.lookup, self._load_model):
            self._compare(session, recorded.pop(), again)

    def _in_time(self, message: Message[Journal]) -> None:
        tick, boot = message.body.tick_us, message.envelope.boot
        first, last = self._span or (tick, tick)
        if tick < last:
            raise _Failed(f"journal of fusion {boot}: entry {message.body.entry} is older than the one before it")
        self._span = (first, tick)
        self._last_us[boot] = message.envelope.created_us

    def _compare(self, session: Session, message: Message[Journal], again: Replayed) -> None:
        entry = message.body
        self._ledger.entry(message)
        self._proven.update(entry.results)
        for origin_us, estimate in again.results:
            self._replayed[origin_us, estimate.revision] = (origin_us, estimate)
        if again.digests == entry.results:
            return
        place = f"entry {entry.entry} of fusion {again.boot}"
        told, got = len(entry.results), len(again.digests)
        if told != got:
            raise _Failed(f"{place}: {told} results were recorded, the replay gave {got}")
        at = next(i for i in range(told) if entry.results[i] != again.digests[i])
        for found in session.messages("emotion"):
            if digest(result_bytes(found)) == entry.results[at]:
                raise _Failed(f"{place}: result {at} differs", _differences(found, again.results[at]))
        raise _Failed(f"{place}: result {at} differs: digest {entry.results[at]} was recorded, the replay gave "
                      f"{again.digests[at]}; the estimate itself was not recorded")  # fmt: skip

    def _recorded_estimates(self, session: Session) -> None:
        for message in session.messages("emotion"):
            self._estimates += 1
            if digest(result_bytes(message)) in self._proven:
                continue
            envelope, body = message.envelope, message.body
            if envelope.created_us > self._last_us.get(envelope.boot, -1):
                self._leave_unproven(envelope)
                continue
            again = self._replayed.get((envelope.origin_us, body.revision))
            raise _Failed(f"recorded estimate {envelope.seq} of fusion {envelope.boot} is in no journal entry",
                          _differences(message, again) if again else ())  # fmt: skip

    def _leave_unproven(self, envelope: Envelope) -> None:
        """One tick may have been published and not journalled, when its node died in between; not more."""
        self._unproven += 1
        first = self._unproven_us.setdefault(envelope.boot, envelope.created_us)
        if envelope.created_us - first > ONE_TICK_US:
            raise _Failed(f"estimates of fusion {envelope.boot} go on after its last journal entry: "
                          "the end of its journal is missing")  # fmt: skip

    def _trailer(self, trailer: format.Trailer) -> None:
        found = self._ledger
        for field in ("entries", "results", "digest", "journal"):
            told, held = getattr(trailer, field), getattr(found, field)
            if told != held:
                raise _Failed(f"the trailer is that of other content: {field} {told}, the file holds {held}")


def _differences(recorded: Message[Estimate], replayed: tuple[int, Estimate]) -> tuple[Difference, ...]:
    return differences(result(recorded.envelope.origin_us, recorded.body), result(*replayed))


def differences(recorded: Any, replayed: Any, path: str = "") -> tuple[Difference, ...]:
    """Field by field; two numbers are equal only if their JSON is, as in the canonical bytes."""
    if isinstance(recorded, dict) and isinstance(replayed, dict):
        names = dict.fromkeys([*recorded, *replayed])
        pairs = [(f"{path}.{n}", recorded.get(n, ABSENT), replayed.get(n, ABSENT)) for n in names]
        return tuple(d for place, a, b in pairs for d in differences(a, b, place))
    if msgspec.json.encode(recorded) == msgspec.json.encode(replayed):
        return ()
    return (Difference(path.lstrip("."), recorded, replayed),)
