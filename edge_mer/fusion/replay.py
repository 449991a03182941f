"""Replays a recorded fold from its journal. Pure: the caller provides messages and models."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edge_mer.contract.domain import EMOTIONS
from edge_mer.contract.errors import SessionError
from edge_mer.contract.messages import CorrectionRef, Estimate, InputRef, Journal, Message
from edge_mer.fusion.estimate import Pending, Smoothed
from edge_mer.fusion.fold import Arrived, Corrected, Event, Fusion, ModalityPurged, Tick
from edge_mer.fusion.journal import InitialState, Result, link, opening_of, purged_inputs, results_of
from edge_mer.fusion.model import FusionModel
from edge_mer.fusion.state import FusionState, Outcome

Lookup = Callable[[InputRef], Message[Any] | None]
Place = tuple[int, str | None]
"""Tick and person of an estimate."""
LoadModel = Callable[[str], FusionModel]


@dataclass(frozen=True, slots=True)
class Replayed:
    """Replayed results of one journal entry, in the order of its digests.

    ``folded`` is False for entries from before a recording joined: they are followed, and give no results.
    """

    entry: int
    boot: str
    results: tuple[Result, ...] = ()
    folded: bool = True

    @property
    def digests(self) -> tuple[str, ...]:
        return tuple(r.digest for r in self.results)


class Refold:
    """Folds journal entries again in order, each instance of the node from its opening on.

    ``load_model`` takes the model name of the opening and raises when another one is installed. ``without``: topics
    whose messages are left out, as if their sensor had sent nothing. ``joined_us``: entries of the first instance up to
    this tick are followed without their inputs; after it the fold starts empty, and comes into step with the recording
    once its window holds recorded tokens alone (``adopt``).
    """

    def __init__(self, load_model: LoadModel, without: Collection[str] = (), joined_us: int | None = None) -> None:
        self._load_model, self._without = load_model, frozenset(without)
        self._joined_us = joined_us
        self._boot = ""
        self._last: Journal | None = None
        self._fusion: Fusion | None = None
        self._state: FusionState | None = None
        self.opening: InitialState | None = None

    @property
    def is_joining(self) -> bool:
        """Whether this is the instance that the recording joined."""
        return self._joined_us is not None

    def entry(self, message: Message[Journal], lookup: Lookup) -> Replayed:
        """Raises SessionError for a broken chain, a missing opening or a missing input."""
        entry, boot = message.body, message.envelope.boot
        if boot != self._boot:
            if self._boot:
                self._joined_us = None  # a later instance is recorded from its beginning
            self._boot, self._last, self._fusion, self._state = boot, None, None, None
        if self._last is not None:
            self._check(self._last, entry, boot)
        before, self._last = self._last, entry
        if self._fusion is None and (opening := opening_of(entry)) is not None:
            self.opening = opening
            self._fusion = Fusion(opening.settings, self._load_model(opening.model), opening.events)
            if self._joined_us is None and entry.entry == 0:
                self._state = self._fusion.initial(opening.tick_us)
                return Replayed(0, boot)
        if self._state is None:
            if self._joined_us is not None and entry.tick_us <= self._joined_us:
                return Replayed(entry.entry, boot, folded=False)
            if self._fusion is None or self._joined_us is None or before is None:
                raise SessionError(
                    f"journal of fusion {boot} begins with entry {entry.entry}, not with its opening: "
                    "the beginning was not recorded, so it cannot be replayed"
                )
            self._state = self._fusion.initial(before.tick_us)
        return Replayed(entry.entry, boot, self._fold(entry, lookup))

    def adopt(self, recorded: Mapping[Place, Estimate]) -> None:
        """While joining: continue the smoothing from recorded estimates, the newest of each tick and person.

        The average forgets earlier values only after many windows, but an estimate holds it exactly. What follows is
        computed and compared as ever.
        """
        if self._state is None:
            return
        streams = {
            name: replace(stream, pending=tuple(self._adopted(name or None, stream.pending, recorded)))
            for name, stream in self._state.streams.items()
        }
        self._state = replace(self._state, streams=streams)

    def _adopted(
        self, person: str | None, pending: Iterable[Pending], recorded: Mapping[Place, Estimate]
    ) -> Iterator[Pending]:
        before = None
        for entry in pending:
            smoothed = _recorded(entry.smoothed, recorded.get((entry.tick_us, person)))
            previous = before or _recorded(entry.previous, recorded.get((entry.tick_us - self._hop_us, person)))
            yield replace(entry, smoothed=smoothed, previous=previous if entry.previous else None)
            before = smoothed

    @property
    def _hop_us(self) -> int:
        assert self._fusion is not None
        return self._fusion.settings.hop_us

    def _check(self, last: Journal, entry: Journal, boot: str) -> None:
        if self._state is None and last.opening is not None and entry.entry > last.entry + 1:
            return  # a trimmed recording keeps only the opening of the time before it
        if entry.entry != last.entry + 1:
            raise SessionError(f"journal of fusion {boot}: entry {entry.entry} follows entry {last.entry}")
        if entry.chain != link(last):
            raise SessionError(
                f"journal of fusion {boot}: entry {entry.entry} does not continue entry {last.entry}; "
                "one of them was changed or moved"
            )

    def _fold(self, entry: Journal, lookup: Lookup) -> tuple[Result, ...]:
        assert self._fusion is not None
        assert self._state is not None
        state, outcomes = self._state, list[Outcome]()
        purged = purged_inputs(entry.inputs)
        for ref in entry.inputs:
            event: Event
            if isinstance(ref, CorrectionRef):
                event = Corrected(ref.factors)
            elif isinstance(ref, InputRef):
                if ref.topic in self._without:
                    continue
                message = lookup(ref)
                if message is None and ref in purged:
                    continue
                if message is None:
                    raise SessionError(
                        f"entry {entry.entry} needs {ref.topic} {ref.source}/{ref.boot}/{ref.seq}, "
                        "which was not recorded"
                    )
                event = Arrived(message)
            else:
                event = ModalityPurged(ref.modality, ref.mask_epoch)
            state, outcome = self._fusion.step(state, event)
            outcomes.append(outcome)
        self._state, outcome = self._fusion.step(state, Tick(entry.tick_us))
        outcomes.append(outcome)
        return results_of(outcome, [c for out in outcomes for c in out.events], entry.tick_us)


def _recorded(known: Smoothed | None, estimate: Estimate | None) -> Smoothed | None:
    """A smoothed prediction with the values of a recorded estimate, where that has any."""
    if known is None or estimate is None or estimate.probabilities is None or estimate.combination != known.combination:
        return known
    probabilities = tuple(estimate.probabilities[e] for e in EMOTIONS)
    return Smoothed(
        known.combination, replace(known.prediction, probabilities=probabilities, sentiment=estimate.sentiment)
    )


def replay(
    entries: Iterable[Message[Journal]],
    lookup: Lookup,
    load_model: LoadModel,
    without: Collection[str] = (),
    joined_us: int | None = None,
) -> Iterator[Replayed]:
    """``Refold`` over all ``entries``."""
    refold = Refold(load_model, without, joined_us)
    for message in entries:
        yield refold.entry(message, lookup)
