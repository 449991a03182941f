"""Encodes recorded raw media again, and compares every feature with the recorded one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import SessionError
from edge_mer.contract.messages import Feature, InputRef, Message, canonical, result, result_bytes
from edge_mer.perception.encoder import Encoder, people_of
from edge_mer.perception.replay import Encoded, replay
from edge_mer.perception.stream import FeatureStream
from edge_mer.session.compare import Difference, array_difference, differences
from edge_mer.session.completeness import name
from edge_mer.session.reader import Session

# A mask of persons is published twice a second, and carried out within a second.
ORDER_US = SECOND
PAYLOAD = ("values", "start_us", "end_us", "valid")


class ReencodedFeature(NamedTuple):
    """``unproven``: its raw media is incomplete, because it is from before the recording, or was masked, or a
    person was."""

    ref: InputRef
    unproven: bool = False
    differences: tuple[Difference, ...] = ()


def reencoded_features(
    session: Session, encoder: Encoder[Any, Any], any_model: bool = False
) -> Iterator[ReencodedFeature]:
    """Raises SessionError for features of another encoder (unless ``any_model``), for a gap in the raw media, and
    where the encoder gives no feature."""
    modality, spec = encoder.spec.modality, encoder.spec
    ends = _ends(session, f"raw/{modality}")
    spans, left_out = _masked_spans(session) if modality == "video" else [], set[InputRef]()
    for encoded in replay(_in_order(session, modality), session.lookup, FeatureStream(encoder)):
        recorded, ref = encoded.feature.body, encoded.feature.ref
        if (recorded.encoder, recorded.model) != (spec.name, spec.model) and not any_model:
            raise SessionError(
                f"{name(ref)} was made by encoder {recorded.encoder} {recorded.model}, configured is {spec.name} "
                f"{spec.model}; "
                "point models.directory to the former"
            )
        if encoded.missing is not None:
            low, high = ends.get(encoded.missing.boot, (0, 0))
            if any(begin <= recorded.raw_created_us <= end for begin, end in spans):
                left_out.add(encoded.missing)
            if low < encoded.missing.seq < high and encoded.missing not in left_out:
                raise SessionError(f"{name(ref)} encoded again: {name(encoded.missing)} was not recorded")
            yield ReencodedFeature(ref, unproven=True)
        else:
            yield ReencodedFeature(ref, differences=_compare(encoded))


def _masked_spans(session: Session) -> list[tuple[int, int]]:
    """When persons were masked, so that no picture was recorded: begin and end (us), with what an order may take."""
    spans: list[tuple[int, int]] = []
    for message in session.messages("privacy"):
        people, at = message.body.people, message.envelope.created_us
        if people is not None and people.holds:
            begin = spans.pop()[0] if spans and at <= spans[-1][1] else at - ORDER_US
            spans.append((begin, at + ORDER_US))
    return spans


def people_in(session: Session, modality: Modality) -> int:
    """How many people the recorded encoder followed."""
    first = next(iter(session.messages(f"feature/{modality}")), None)
    return 1 if first is None else people_of(first.body.encoder)


def _compare(encoded: Encoded) -> tuple[Difference, ...]:
    recorded, draft = encoded.feature, encoded.draft
    if draft is None:
        raise SessionError(f"{name(recorded.ref)} encoded again: the encoder gave no feature")
    if canonical(draft.origin_us, draft.body, draft.payload) == result_bytes(recorded):
        return ()
    found = differences(result(recorded.envelope.origin_us, recorded.body), result(draft.origin_us, draft.body))
    if len(recorded.payload) != len(draft.payload):
        return (*found, Difference("payload", len(recorded.payload), len(draft.payload)))
    arrays = zip(PAYLOAD, recorded.payload, draft.payload, strict=True)
    return found + tuple(d for part, a, b in arrays for d in array_difference(part, a, b))


def _ends(session: Session, topic: str) -> dict[str, tuple[int, int]]:
    """First and last recorded sequence number of every instance; a number missing between them is a gap."""
    ends: dict[str, tuple[int, int]] = {}
    for message in session.messages(topic):
        seq = message.envelope.seq
        low, high = ends.get(message.envelope.boot, (seq, seq))
        ends[message.envelope.boot] = (min(low, seq), max(high, seq))
    return ends


def _in_order(session: Session, modality: Modality) -> list[Message[Feature]]:
    """Instances in the order of recording, each by sequence number."""
    features = list(session.messages(f"feature/{modality}"))
    instances: dict[str, int] = {}
    for message in features:
        instances.setdefault(message.envelope.boot, len(instances))
    return sorted(features, key=lambda m: (instances[m.envelope.boot], m.envelope.seq))
