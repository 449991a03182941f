"""Re-run a recorded fold from its journal. Pure: where messages and models come from is the caller's business."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from edge_mer.errors import SessionError
from edge_mer.fusion.estimate import Output
from edge_mer.fusion.fold import Arrived, Fusion, Purged, State, Tick
from edge_mer.fusion.journal import Opening, forgotten, link, output_digest
from edge_mer.fusion.model import FusionModel
from edge_mer.messages import Estimate, InputRef, Journal, Message


@dataclass(frozen=True, slots=True)
class Replayed:
    """What one journal entry gave again: ``results`` as (origin_us, estimate) and their ``digests``."""

    entry: int
    boot: str
    results: tuple[tuple[int, Estimate], ...]
    digests: tuple[str, ...]


@dataclass
class _Run:
    fusion: Fusion
    state: State
    last: Journal


def replay(entries: Iterable[Message[Journal]], lookup: Callable[[InputRef], Message[Any] | None],
           load_model: Callable[[str], FusionModel]) -> Iterator[Replayed]:  # fmt: skip
    """Fold the journal again. Raises SessionError for a broken chain, a missing opening or a missing input.

    ``load_model`` gets the model name of the opening and raises when it has another one.
    """
    run: _Run | None = None
    boot = ""
    for message in entries:
        entry = message.body
        if message.envelope.boot != boot:
            boot = message.envelope.boot
            run = _open(entry, boot, load_model)
            yield Replayed(entry.entry, boot, (), ())
            continue
        assert run is not None
        _check(run.last, entry, boot)
        outputs = _fold(run, entry, lookup)
        run.last = entry
        yield Replayed(entry.entry, boot, tuple((o.origin_us, o.estimate) for o in outputs),
                       tuple(output_digest(o) for o in outputs))  # fmt: skip


def _open(entry: Journal, boot: str, load_model: Callable[[str], FusionModel]) -> _Run:
    if entry.entry != 0 or entry.opening is None:
        raise SessionError(f"journal of fusion {boot} begins with entry {entry.entry}, not with its opening: "
                           "the beginning was not recorded, so it cannot be replayed")  # fmt: skip
    try:
        opening = msgspec.json.decode(entry.opening, type=Opening)
    except msgspec.DecodeError as error:
        raise SessionError(f"journal of fusion {boot}: its opening is damaged: {error}") from error
    fusion = Fusion(opening.settings, load_model(opening.model))
    return _Run(fusion, fusion.initial(opening.tick_us), entry)


def _check(last: Journal, entry: Journal, boot: str) -> None:
    if entry.entry != last.entry + 1:
        raise SessionError(f"journal of fusion {boot}: entry {entry.entry} follows entry {last.entry}")
    if entry.chain != link(last):
        raise SessionError(f"journal of fusion {boot}: entry {entry.entry} does not continue entry {last.entry}; "
                           "one of them was changed or moved")  # fmt: skip


def _fold(run: _Run, entry: Journal, lookup: Callable[[InputRef], Message[Any] | None]) -> list[Output]:
    outputs: list[Output] = []
    undone = forgotten(entry.inputs)
    for ref in entry.inputs:
        event: Arrived | Purged
        if isinstance(ref, InputRef):
            message = lookup(ref)
            if message is None and ref in undone:
                continue
            if message is None:
                raise SessionError(f"entry {entry.entry} needs {ref.topic} {ref.source}/{ref.boot}/{ref.seq}, "
                                   "which was not recorded")  # fmt: skip
            event = Arrived(message)
        else:
            event = Purged(ref.modality, ref.mask_epoch)
        run.state, outcome = run.fusion.step(run.state, event)
        outputs.extend(outcome.outputs)
    run.state, outcome = run.fusion.step(run.state, Tick(entry.tick_us))
    return [*outputs, *outcome.outputs]
