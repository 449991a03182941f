"""Recorded raw media through perception once more, and every feature beside the recorded one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import SessionError
from edge_mer.contract.messages import Feature, InputRef, Message, canonical, result, result_bytes
from edge_mer.perception.encoder import Encoder
from edge_mer.perception.replay import Encoded, replay
from edge_mer.perception.stream import FeatureStream
from edge_mer.session.compare import Difference, array_difference, differences
from edge_mer.session.completeness import name
from edge_mer.session.reader import Session

PAYLOAD = ("values", "start_us", "end_us", "valid")


class Again(NamedTuple):
    """``unproven``: its raw media is not wholly there, because it is from before the recording, or was masked."""

    ref: InputRef
    unproven: bool = False
    differences: tuple[Difference, ...] = ()


def encoded_again(session: Session, encoder: Encoder[Any, Any], any_model: bool = False) -> Iterator[Again]:
    """Raises SessionError for features of another encoder (unless ``any_model``), for a hole in the raw media, and
    where nothing comes again."""
    modality, spec = encoder.spec.modality, encoder.spec
    ends = _ends(session, f"raw/{modality}")
    for again in replay(_in_order(session, modality), session.lookup, FeatureStream(encoder)):
        told, ref = again.feature.body, again.feature.ref
        if (told.encoder, told.model) != (spec.name, spec.model) and not any_model:
            raise SessionError(
                f"{name(ref)} was made by encoder {told.encoder} {told.model}, configured is {spec.name} {spec.model}; "
                "point models.directory to the former"
            )
        if again.missing is not None:
            low, high = ends.get(again.missing.boot, (0, 0))
            if low < again.missing.seq < high:
                raise SessionError(f"{name(ref)} encoded again: {name(again.missing)} was not recorded")
            yield Again(ref, unproven=True)
        else:
            yield Again(ref, differences=_compare(again))


def _compare(again: Encoded) -> tuple[Difference, ...]:
    recorded, draft = again.feature, again.draft
    if draft is None:
        raise SessionError(f"{name(recorded.ref)} encoded again: nothing came")
    if canonical(draft.origin_us, draft.body, draft.payload) == result_bytes(recorded):
        return ()
    found = differences(result(recorded.envelope.origin_us, recorded.body), result(draft.origin_us, draft.body))
    if len(recorded.payload) != len(draft.payload):
        return (*found, Difference("payload", len(recorded.payload), len(draft.payload)))
    arrays = zip(PAYLOAD, recorded.payload, draft.payload, strict=True)
    return found + tuple(d for part, a, b in arrays for d in array_difference(part, a, b))


def _ends(session: Session, topic: str) -> dict[str, tuple[int, int]]:
    """First and last recorded sequence number of every life: what is missing between them is a hole."""
    ends: dict[str, tuple[int, int]] = {}
    for message in session.messages(topic):
        seq = message.envelope.seq
        low, high = ends.get(message.envelope.boot, (seq, seq))
        ends[message.envelope.boot] = (min(low, seq), max(high, seq))
    return ends


def _in_order(session: Session, modality: Modality) -> list[Message[Feature]]:
    """Lives in the order in which they were recorded, each in its own order."""
    features = list(session.messages(f"feature/{modality}"))
    lives: dict[str, int] = {}
    for message in features:
        lives.setdefault(message.envelope.boot, len(lives))
    return sorted(features, key=lambda m: (lives[m.envelope.boot], m.envelope.seq))
