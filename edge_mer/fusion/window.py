"""Tokens of one modality, and the window of them that one estimate uses. Pure functions over immutable values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.modalities import TABLE, Modality

# Modalities that are sent in segments: late segments revise estimates.
SEGMENTED: Final[tuple[Modality, ...]] = tuple(m for m, row in TABLE.items() if row.segments)


@dataclass(frozen=True, slots=True, eq=False)
class TokenPiece:
    """The tokens of one feature message. Arrays as in ``messages.Feature``; ``start_us`` and ``end_us`` as corrected
    for the sensor's delay; ``reason``: why the newest token is not valid.

    ``raw_created_us`` and ``created_us`` are used for latency figures only and never change a result.
    """

    values: NDArray[np.float32]
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    valid: NDArray[np.bool_]
    context: int
    biometric: bool
    raw_created_us: int
    created_us: int
    reason: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TokenWindow:
    """Right-aligned, zero-padded in front: ``values`` float32 [T, D], ``mask`` float32 [T], ``age`` float32 [T] s."""

    values: NDArray[np.float32]
    mask: NDArray[np.float32]
    age: NDArray[np.float32]
    tokens: int
    newest_us: int
    biometric: bool
    evidence: TokenPiece | None


def insert(pieces: tuple[TokenPiece, ...], piece: TokenPiece, replaces: bool) -> tuple[TokenPiece, ...]:
    """Add a piece in order of time; with ``replaces`` it replaces the pieces of its context (a segment)."""
    kept = tuple(p for p in pieces if not (replaces and p.context == piece.context))
    if not len(piece.values):
        return kept
    return tuple(sorted((*kept, piece), key=lambda p: int(p.end_us[-1])))


def prune(pieces: tuple[TokenPiece, ...], before_us: int, most: int) -> tuple[tuple[TokenPiece, ...], int]:
    """Drop pieces that ended before ``before_us``, and the oldest above ``most`` tokens; also returns their number."""
    kept = [p for p in pieces if p.end_us[-1] >= before_us]
    dropped, total = 0, sum(len(p.values) for p in kept)
    while kept and total > most:
        total -= len(kept[0].values)
        dropped += len(kept.pop(0).values)
    return tuple(kept), dropped


def newest_end(pieces: tuple[TokenPiece, ...], until_us: int) -> int | None:
    """End of the newest token, valid or not, that ended by ``until_us``."""
    ends = [int(e) for p in pieces for e in p.end_us if e <= until_us]
    return max(ends, default=None)


def newest_reason(pieces: tuple[TokenPiece, ...], until_us: int) -> str | None:
    """Reason of the encoder for its newest token that ended by ``until_us``, where that one is not valid."""
    seen = [p for p in pieces if p.end_us[0] <= until_us]
    return seen[-1].reason if seen and not seen[-1].valid[-1] else None


def select(
    pieces: tuple[TokenPiece, ...], until_us: int, span_us: int, after_us: int, capacity: int, dim: int
) -> TokenWindow:
    """The newest ``capacity`` valid tokens that ended in ``(until - span, until]`` and after the cut ``after_us``."""
    since = max(until_us - span_us, after_us)
    rows: list[tuple[int, TokenPiece, int]] = [
        (int(end), piece, i)
        for piece in pieces
        for i, end in enumerate(piece.end_us)
        if piece.valid[i] and since < end <= until_us
    ]
    rows.sort(key=lambda row: row[0])
    rows = rows[-capacity:]
    values = np.zeros((capacity, dim), np.float32)
    mask, age = np.zeros(capacity, np.float32), np.zeros(capacity, np.float32)
    for slot, (end, piece, i) in enumerate(rows, start=capacity - len(rows)):
        values[slot], mask[slot], age[slot] = piece.values[i], 1, (until_us - end) / 1e6
    last = rows[-1] if rows else None
    return TokenWindow(
        values,
        mask,
        age,
        len(rows),
        last[0] if last else 0,
        any(p.biometric for _, p, _ in rows),
        last[1] if last else None,
    )


def same(one: TokenWindow | None, other: TokenWindow | None) -> bool:
    """Whether both windows give a model the same bytes."""
    if one is None or other is None:
        return one is other
    return all(
        np.array_equal(a, b) for a, b in ((one.values, other.values), (one.mask, other.mask), (one.age, other.age))
    )


@dataclass(frozen=True, slots=True)
class ModalityTrack:
    """State of one modality in the fold. ``cut_us``: tokens that ended by then are not used in later windows.

    ``blocked``: why the sensor cannot take part at all (masked, absent, frozen, failed, silent), measured by
    the gate; ``poor_hops`` counts hops of missing quality; ``context`` is the face track or audio stretch.
    """

    pieces: tuple[TokenPiece, ...] = ()
    mask_epoch: int = 0
    blocked: tuple[str, str | None] | None = None
    cut_us: int = -1
    watermark_us: int = -1
    context: int | None = None
    present: bool = False
    poor_hops: int = 0


def purge(track: ModalityTrack, mask_epoch: int) -> ModalityTrack:
    """The track after a mask: the epoch, without any content."""
    return ModalityTrack(mask_epoch=max(mask_epoch, track.mask_epoch), blocked=track.blocked)


def drop(track: ModalityTrack, tick_us: int) -> ModalityTrack:
    """The modality becomes absent: tokens seen by then are cut from later windows (older ones may still be revised)."""
    seen = newest_end(track.pieces, tick_us)
    cut = track.cut_us if seen is None else max(track.cut_us, seen)
    return replace(track, present=False, poor_hops=0, cut_us=cut)


def replaces_context(modality: Modality) -> bool:
    """Whether messages replace their context: a growing segment is resent as a whole; other modalities append."""
    return TABLE[modality].segments
