"""Encode recorded raw messages again, by the sequence range in each recorded feature. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from edge_mer.contract.errors import InputError
from edge_mer.contract.messages import Feature, InputRef, Message
from edge_mer.perception.stream import FeatureDraft, FeatureStream


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A recorded feature with its re-encoded ``draft``, or with ``missing``, the raw message that was not recorded."""

    feature: Message[Feature]
    draft: FeatureDraft | None
    missing: InputRef | None = None


def replay(
    features: Iterable[Message[Feature]], raw: Callable[[InputRef], Message[Any] | None], stream: FeatureStream
) -> Iterator[Encoded]:
    """Features of one modality in the order of creation. After a missing raw message, nothing is encoded until the next
    restart of the encoder."""
    state, boot = stream.initial(), ""
    missing: InputRef | None = None
    for feature in features:
        body = feature.body
        if body.began or feature.envelope.boot != boot:
            state, boot = stream.initial(), feature.envelope.boot
            missing = None if body.began else _first(body)
        if body.people is not None:
            state = stream.masked(state, frozenset(p.person for p in body.people if p.masked), exactly=True)
        draft: FeatureDraft | None = None
        for seq in _folded(body) if missing is None else ():
            ref = InputRef(f"raw/{body.modality}", body.raw_source, body.raw_boot, seq)
            message = raw(ref)
            if message is None:
                missing = ref
                break
            try:
                state, draft = stream.step(state, message)
            except InputError:
                draft = None
            if draft is not None and seq != body.raw_last:
                break  # a feature where none was recorded
        yield Encoded(feature, None if missing else draft, missing)


def _folded(body: Feature) -> Iterator[int]:
    """The sequence numbers of the raw messages of a feature."""
    seq = body.raw_first
    for gap in sorted(body.raw_skipped, key=lambda r: r.first):
        yield from range(seq, min(gap.first, body.raw_last + 1))
        seq = max(seq, gap.last + 1)
    yield from range(seq, body.raw_last + 1)


def _first(body: Feature) -> InputRef:
    """The missing message before a feature that does not begin with a restart of its encoder."""
    return InputRef(f"raw/{body.modality}", body.raw_source, body.raw_boot, body.raw_first - 1)
