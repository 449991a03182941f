"""Verifies that a session replays: folds its journal again, and compares every result byte for byte.

Where raw media was recorded, it is encoded again too, and every feature is compared. On another backend, version or
processor than the session was recorded with, results are compared within a tolerance, which the report states.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from msgspec import Struct

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import EdgeMerError, SessionError
from edge_mer.contract.messages import Envelope, Estimate, Journal, Message, digest, result, result_bytes
from edge_mer.fusion.journal import RESULTS, Result
from edge_mer.fusion.replay import Place, Refold, Replayed
from edge_mer.session import format
from edge_mer.session.compare import Difference, beyond, differences, size
from edge_mer.session.completeness import JOIN_US, Completeness, name
from edge_mer.session.keys import KeyStore
from edge_mer.session.reader import Session, check_own
from edge_mer.session.reencode_check import people_in, reencoded_features
from edge_mer.session.replay_components import ReplayComponents

NAMES = dict(zip(RESULTS, ("estimate", "estimate", "event", "view of people"), strict=True))
ONE_TICK_US = SECOND // 10
TOLERANCE = 1e-3
# A fold that starts empty is in step with the recorded one once earlier inputs left window, smoothing and hysteresis.
IN_STEP_US, IN_STEP_ENTRIES = 60 * SECOND, 4
RECENT_US = 30 * SECOND  # longer than any horizon


class Report(Struct, kw_only=True, frozen=True):
    """``identical`` only if every result was reproduced byte for byte; ``equal`` also if all agree within ``tolerance``
    (0: none is allowed). Else ``reason`` names the first fault, and ``differences`` its fields.

    ``estimates`` of the file, and its events, were compared too; ``unproven`` ones were published in the moment before
    their fusion node ended, so that no journal entry holds them. ``joining`` entries were followed but not proven: the
    recording joined a running node; ``before`` of them are from before the recording. ``proven`` entries hold
    ``proven_results``, all reproduced. ``features`` were encoded again from raw media; of ``features_unproven`` the
    raw media is incomplete (from before the recording, or masked). ``largest`` is the largest difference found,
    ``elsewhere`` the differences of the runtime here. ``span_us`` is the time that the journal covers.
    """

    path: str
    identical: bool
    equal: bool
    reason: str | None
    differences: tuple[Difference, ...] = ()
    entries: int = 0
    results: int = 0
    estimates: int = 0
    unproven: int = 0
    joining: int = 0
    before: int = 0
    proven: int = 0
    proven_results: int = 0
    features: int = 0
    features_unproven: int = 0
    tolerance: float = 0.0
    largest: float = 0.0
    elsewhere: dict[str, tuple[str, str]] = {}
    erased: tuple[Modality, ...] = ()
    span_us: int = 0


class _Failed(SessionError):
    def __init__(self, reason: str, found: tuple[Difference, ...] = ()) -> None:
        super().__init__(reason)
        self.differences = found


def verify(
    path: Path, components: ReplayComponents, keys: KeyStore | None = None, tolerance: float | None = None
) -> Report:
    """Does not raise for the content of the file: every fault is reported.

    ``tolerance``: largest allowed difference of a number; None: 0 on the runtime of the recording, else ``TOLERANCE``.
    """
    run = _Verification(path, components, keys, tolerance)
    try:
        run.all()
    except EdgeMerError as error:
        return run.report(str(error), getattr(error, "differences", ()))
    return run.report(None)


class _Verification:
    def __init__(
        self, path: Path, components: ReplayComponents, keys: KeyStore | None, tolerance: float | None
    ) -> None:
        self._path, self._components, self._keys, self._requested = path, components, keys, tolerance
        self._tolerance = tolerance or 0.0
        self._elsewhere: dict[str, tuple[str, str]] = {}
        self._largest = 0.0
        self._completeness = Completeness()
        self._proven: set[str] = set()
        self._last_us: dict[str, int] = {}
        self._unproven_us: dict[str, int] = {}
        self._replayed: dict[tuple[int, int, str | None], Result] = {}
        self._estimates = self._unproven = self._features = self._features_unproven = 0
        self._joining = self._before = self._in_step = self._results = 0
        self._joined_us: int | None = None
        self._newest: dict[Place, Estimate] = {}
        self._span: tuple[int, int] | None = None
        self._erased: tuple[Modality, ...] = ()

    def all(self) -> None:
        self._session = session = Session(self._path, self._keys)
        check_own(session)
        if faults := session.check():
            raise _Failed(faults[0])
        if session.trailer is None or session.opening is None:
            raise _Failed("the file has no trailer: its recording was not finished, so its end cannot be verified")
        self._erased = session.unreadable
        if session.trailer.unverifiable:
            raise _Failed(f"unverifiable: {session.trailer.unverifiable}")
        if session.opening.joined:
            self._joined_us = session.opening.opened_us + JOIN_US
        self._journal(session)
        if self._erased:
            raise _Failed(unreadable_reason(session, self._keys))
        self._recorded_results(session)
        self._trailer(session.trailer)
        for modality in MODALITIES if self._components.encoder else ():
            self._perception(session, modality)

    def report(self, reason: str | None, found: tuple[Difference, ...] = ()) -> Report:
        first, last = self._span or (0, 0)
        equal = reason is None
        return Report(
            path=str(self._path),
            identical=equal and not self._largest,
            equal=equal,
            reason=reason,
            differences=found,
            entries=self._completeness.entries,
            results=self._completeness.results,
            estimates=self._estimates,
            unproven=self._unproven,
            joining=self._joining,
            before=self._before,
            proven=self._in_step,
            proven_results=self._results,
            features=self._features,
            features_unproven=self._features_unproven,
            tolerance=self._tolerance,
            largest=self._largest,
            elsewhere=self._elsewhere,
            erased=self._erased,
            span_us=last - first,
        )

    # -- fusion ------------------------------------------------------------------------------------------------

    def _journal(self, session: Session) -> None:
        refold = Refold(self._components.fusion, session.lost_topics, self._joined_us)
        for message in session.messages("journal"):
            self._in_time(message)
            replayed = refold.entry(message, session.lookup)
            self._completeness.entry(message)
            if refold.opening is not None and not self._elsewhere:
                self._settle_tolerance(session, refold.opening.runtime)
            self._proven.update(message.body.results)
            if not replayed.folded:
                self._joining += 1
                self._before += 1
                self._span = (message.body.tick_us, message.body.tick_us)
            elif not self._erased:
                self._step(message, replayed, refold)
        if self._joining and self._in_step < IN_STEP_ENTRIES and not self._erased:
            raise _Failed(
                "the recording joined a running fusion node and is too short to come into step with it; "
                "record for longer"
            )

    def _settle_tolerance(self, session: Session, runtime: Mapping[str, str]) -> None:
        assert session.opening is not None
        recorded = {**runtime, "cpu": session.opening.host.get("cpu", "")}
        here = self._components.runtime
        self._elsewhere = {k: (recorded.get(k, ""), here[k]) for k in sorted(here) if recorded.get(k, "") != here[k]}
        if self._elsewhere and self._requested is None:
            self._tolerance = TOLERANCE

    def _in_time(self, message: Message[Journal]) -> None:
        tick, boot = message.body.tick_us, message.envelope.boot
        first, last = self._span or (tick, tick)
        if tick < last:
            raise _Failed(f"journal of fusion {boot}: entry {message.body.entry} is older than the one before it")
        self._span = (first, tick)
        self._last_us[boot] = message.envelope.created_us

    def _step(self, message: Message[Journal], replayed: Replayed, refold: Refold) -> None:
        for made in replayed.results:
            if isinstance(made.body, Estimate):
                self._replayed[made.origin_us, made.body.revision, made.body.person] = made
        if refold.is_joining:
            self._note_recorded(message.body)
        try:
            self._compare(message.body, replayed)
        except _Failed:
            if not refold.is_joining or message.body.tick_us > (self._joined_us or 0) + IN_STEP_US:
                raise
            self._joining += 1 + self._in_step
            self._in_step = self._results = 0
            refold.adopt(self._newest)
        else:
            self._in_step += 1
            self._results += len(message.body.results)

    def _note_recorded(self, entry: Journal) -> None:
        """Keep the newest recorded estimate of each recent tick, from which a joining fold may continue."""
        found = [m for d in entry.results if (m := self._by_digest.get(d)) is not None]
        self._newest.update(
            ((m.envelope.origin_us, m.body.person), m.body) for m in found if isinstance(m.body, Estimate)
        )
        self._newest = {at: body for at, body in self._newest.items() if at[0] > entry.tick_us - RECENT_US}

    def _compare(self, entry: Journal, replayed: Replayed) -> None:
        if replayed.digests == entry.results:
            return
        place = f"entry {entry.entry} of fusion {replayed.boot}"
        expected, got = len(entry.results), len(replayed.digests)
        if expected != got:
            raise _Failed(f"{place}: {expected} results were recorded, the replay gave {got}")
        for at in range(expected):
            if entry.results[at] == replayed.digests[at]:
                continue
            found = self._by_digest.get(entry.results[at])
            if found is None:
                raise _Failed(
                    f"{place}: result {at} differs: digest {entry.results[at]} was recorded, the replay gave "
                    f"{replayed.digests[at]}; the estimate itself was not recorded"
                )
            self._allow(f"{place}: result {at} differs", _differences(found, replayed.results[at]))

    @cached_property
    def _by_digest(self) -> dict[str, Message[Any]]:
        """The recorded results; read only when one differs."""
        return {digest(result_bytes(m)): m for m in self._session.messages(*RESULTS)}

    def _allow(self, reason: str, found: tuple[Difference, ...]) -> None:
        """Raises when a difference is above the tolerance."""
        if not self._tolerance or beyond(found, self._tolerance):
            raise _Failed(reason, found)
        self._largest = max([self._largest, *(size(d) for d in found if size(d) != float("inf"))])

    def _recorded_results(self, session: Session) -> None:
        for message in session.messages(*RESULTS):
            is_estimate = isinstance(message.body, Estimate)
            self._estimates += is_estimate
            if digest(result_bytes(message)) in self._proven:
                continue
            envelope, body = message.envelope, message.body
            if self._joined_us is not None and envelope.origin_us <= self._joined_us:
                continue
            if envelope.created_us > self._last_us.get(envelope.boot, -1):
                self._leave_unproven(envelope)
                continue
            replayed = self._replayed.get((envelope.origin_us, body.revision, body.person)) if is_estimate else None
            raise _Failed(
                f"recorded {NAMES[message.topic]} {envelope.seq} of fusion {envelope.boot} is in no journal entry",
                _differences(message, replayed) if replayed else (),
            )

    def _leave_unproven(self, envelope: Envelope) -> None:
        """A node that ended after publishing may lack the journal entry of one tick, not of more."""
        self._unproven += 1
        first = self._unproven_us.setdefault(envelope.boot, envelope.created_us)
        if envelope.created_us - first > ONE_TICK_US:
            raise _Failed(
                f"estimates of fusion {envelope.boot} go on after its last journal entry: "
                "the end of its journal is missing"
            )

    def _trailer(self, trailer: format.Trailer) -> None:
        found = self._completeness
        for field in ("entries", "results", "digest", "journal"):
            expected, held = getattr(trailer, field), getattr(found, field)
            if expected != held:
                raise _Failed(f"the trailer does not match the file: {field} {expected}, the file holds {held}")
        counted = self._session.counted
        for topic in sorted(trailer.messages.keys() | counted.keys()):
            if trailer.messages.get(topic, 0) != counted[topic]:
                raise _Failed(
                    f"messages of {topic} were removed or added: the trailer counts {trailer.messages.get(topic, 0)}, "
                    f"the file holds {counted[topic]}"
                )

    # -- perception --------------------------------------------------------------------------------------------

    def _perception(self, session: Session, modality: Modality) -> None:
        assert self._components.encoder is not None
        if not {f"raw/{modality}", f"feature/{modality}"} <= session.topics:
            return
        encoder = self._components.encoder(modality, people_in(session, modality))
        for replayed in reencoded_features(session, encoder, any_model=bool(self._tolerance)):
            if replayed.unproven:
                self._features_unproven += 1
                continue
            self._features += 1
            if replayed.differences:
                self._allow(f"{name(replayed.ref)} encoded again differs", replayed.differences)


def unreadable_reason(session: Session, keys: KeyStore | None) -> str:
    """Which modalities cannot be read, and why."""
    reasons = []
    assert session.opening is not None
    for modality in session.unreadable:
        when = keys.erased_at(session.opening.session, modality) if keys else None
        reasons.append(f"{modality} was erased" if when is not None else f"the key of {modality} is not on this host")
    return "; ".join(reasons) + ": without it the results differ from the recorded ones (edge-mer replay plays them)"


def refolded(
    session: Session, components: ReplayComponents, without: Collection[str] = ()
) -> Iterator[tuple[Message[Journal], Replayed]]:
    """Every journal entry with its replayed results: the recorded run without erased topics, and ``without``."""
    joined = session.opening is not None and session.opening.joined
    joined_us = session.opening.opened_us + JOIN_US if session.opening is not None and joined else None
    refold = Refold(components.fusion, session.lost_topics | frozenset(without), joined_us)
    for message in session.messages("journal"):
        yield message, refold.entry(message, session.lookup)


def _differences(recorded: Message[Any], replayed: Result) -> tuple[Difference, ...]:
    return differences(result(recorded.envelope.origin_us, recorded.body), result(replayed.origin_us, replayed.body))
