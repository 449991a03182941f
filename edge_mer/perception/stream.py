"""From raw messages to feature messages: a fold around an encoder, used live and in a replay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import InputError
from edge_mer.contract.messages import Feature, Message, SeqRange
from edge_mer.contract.modalities import TABLE
from edge_mer.contract.overwrite import overwrite
from edge_mer.perception.encoder import Encoder, Tokens

MOST_GAPS = 100  # bounds the memory when most messages are missing


@dataclass(frozen=True, slots=True)
class StreamState:
    """``encoder`` is the encoder's state; ``first`` the first raw message that no feature covers yet.

    ``is_new``: the next feature cuts the context, because the stream began here. ``due`` is the next sequence number,
    ``skipped`` the messages that were missing or unusable since ``first``. ``has_masks``: single people are masked; in
    a replay these are ``exact_masks``.
    """

    encoder: Any
    boot: str = ""
    mask_epoch: int = -1
    first: int = 0
    is_new: bool = True
    due: int = 0
    skipped: tuple[SeqRange, ...] = ()
    has_masks: bool = False
    exact_masks: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FeatureDraft:
    """A feature ready to be published."""

    origin_us: int
    body: Feature
    payload: Sequence[NDArray[Any]]


class FeatureStream:
    """Folds the raw messages of one modality. A restart of the source or another mask epoch resets the encoder."""

    def __init__(self, encoder: Encoder[Any, Any]) -> None:
        """The adapter of the modality converts messages to blocks of ``encoder``."""
        row = TABLE[encoder.spec.modality]
        self.encoder = encoder
        self._block: Callable[[Message[Any]], Any] = import_module(row.adapter).block
        # ``wants`` of an encoder selects the blocks that it uses, so that the others are not decoded.
        self._wants: Callable[[Any, int], bool] | None = getattr(encoder, "wants", None)
        self._segments, self._stands_alone = row.segments, row.stands_alone

    def initial(self) -> StreamState:
        return StreamState(self.encoder.initial())

    def anew(self, state: StreamState) -> StreamState:
        """The state without anything that was heard or seen. Where a person was masked, everybody is from then on:
        numbers of people begin anew, and nobody can tell who is who."""
        fresh = self.initial()
        if state.exact_masks is not None:
            return self.masked(fresh, state.exact_masks, exactly=True)
        return self.masked(fresh, frozenset(), everybody=True) if state.has_masks else fresh

    def masked(
        self, state: StreamState, persons: frozenset[str], everybody: bool = False, exactly: bool = False
    ) -> StreamState:
        """``state`` with these people masked, or everybody, and no others; what was held of them is overwritten.
        ``exactly``: whatever happens, as in a replay.

        Raises InputError where the encoder does not tell people apart.
        """
        mask = getattr(self.encoder, "masked", None)
        if mask is None:
            if not persons and not everybody:
                return state
            raise InputError("nobody can be masked alone: one face is followed; set video.people to 2 or more")
        after = replace(
            state,
            encoder=mask(state.encoder, persons, everybody, exactly),
            has_masks=bool(persons) or everybody,
            exact_masks=persons if exactly else None,
        )
        overwrite(state, keep=after)
        return after

    def masks_everybody(self, state: StreamState) -> bool:
        return bool(getattr(state.encoder, "everybody", False))

    def in_view(self, state: StreamState) -> tuple[str, ...]:
        """Who is followed, and masked persons who were lost."""
        found = {p.name for p in getattr(state.encoder, "people", ())}
        return tuple(sorted(found | {place.owner for place in getattr(state.encoder, "places", ())}))

    def step(self, state: StreamState, message: Message[Any]) -> tuple[StreamState, FeatureDraft | None]:
        """Fold one raw message in. Raises InputError when its content cannot be used; the state stays as it was."""
        envelope, body = message.envelope, message.body
        if envelope.boot != state.boot or body.mask_epoch != state.mask_epoch:
            seq = envelope.seq
            state = replace(self.anew(state), boot=envelope.boot, mask_epoch=body.mask_epoch, first=seq, due=seq)
        state = _follow(state, envelope.seq)
        if self._wants is not None and not self._wants(state.encoder, envelope.origin_us):
            return state, None
        inner, tokens = self.encoder.step(state.encoder, self._block(message))
        state = replace(state, encoder=inner)
        if not len(tokens) and not self._segments:
            return state, None
        draft = self._draft(state, message, tokens)
        return replace(state, first=envelope.seq + 1, is_new=False, skipped=()), draft

    def _draft(self, state: StreamState, message: Message[Any], tokens: Tokens) -> FeatureDraft:
        envelope, body, spec = message.envelope, message.body, self.encoder.spec
        end = int(tokens.end_us.max()) if len(tokens) else envelope.origin_us
        feature = Feature(
            modality=spec.modality,
            encoder=spec.name,
            model=spec.model,
            raw_source=envelope.source,
            raw_boot=envelope.boot,
            raw_first=state.first,
            raw_last=envelope.seq,
            context=tokens.context if len(tokens) else getattr(body, "segment", 0),
            cut=state.is_new or tokens.cut,
            final=getattr(body, "final", True),
            watermark_us=end,
            biometric=not self._stands_alone or body.parent is not None,
            mask_epoch=body.mask_epoch,
            reason=getattr(state.encoder, "reason", None) or None,
            raw_skipped=state.skipped,
            began=state.is_new,
            raw_created_us=envelope.created_us,
            people=tokens.people,
            voice=tokens.voice,
        )
        origin = int(tokens.start_us.min()) if len(tokens) else envelope.origin_us
        payload = (tokens.values, tokens.start_us, tokens.end_us, tokens.valid.astype(np.uint8))
        return FeatureDraft(origin, feature, payload)


def _follow(state: StreamState, seq: int) -> StreamState:
    """Record the gap before ``seq``. A message that could not be used counts as missing."""
    if seq <= state.due:
        return replace(state, due=seq + 1)
    gap = SeqRange(state.due, seq - 1)
    return replace(state, due=seq + 1, skipped=(*state.skipped, gap)[-MOST_GAPS:])
