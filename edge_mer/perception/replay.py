"""Encode recorded raw messages again, from what each recorded feature says about where it came from. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from edge_mer.contract.errors import InputError
from edge_mer.contract.messages import Feature, InputRef, Message
from edge_mer.perception.stream import FeatureDraft, FeatureStream


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A recorded feature beside what came again: ``draft``; or ``missing``, the raw message that is not there."""

    feature: Message[Feature]
    draft: FeatureDraft | None
    missing: InputRef | None = None


def replay(
    features: Iterable[Message[Feature]], raw: Callable[[InputRef], Message[Any] | None], stream: FeatureStream
) -> Iterator[Encoded]:
    """Features of one modality in the order of their making. After a missing raw message nothing can be encoded until
    the encoder began anew."""
    state, boot = stream.initial(), ""
    missing: InputRef | None = None
    for feature in features:
        body = feature.body
        if body.began or feature.envelope.boot != boot:
            state, boot = stream.initial(), feature.envelope.boot
            missing = None if body.began else _first(body)
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
                break  # it came where none was recorded
        yield Encoded(feature, None if missing else draft, missing)


def _folded(body: Feature) -> Iterator[int]:
    """The sequence numbers that went into a feature."""
    seq = body.raw_first
    for gap in sorted(body.raw_skipped, key=lambda r: r.first):
        yield from range(seq, min(gap.first, body.raw_last + 1))
        seq = max(seq, gap.last + 1)
    yield from range(seq, body.raw_last + 1)


def _first(body: Feature) -> InputRef:
    """What came before a feature whose encoder did not begin with it was not recorded."""
    return InputRef(f"raw/{body.modality}", body.raw_source, body.raw_boot, body.raw_first - 1)
