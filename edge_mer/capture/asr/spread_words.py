"""Approximate times of words without times: spread evenly over the time of their segment."""

from __future__ import annotations

from edge_mer.contract.messages import WordTime


def spread(text: str, start_us: int, end_us: int) -> tuple[WordTime, ...]:
    """The words of ``text``, flagged ``approx``."""
    words = text.split()
    edges = [start_us + (end_us - start_us) * i // max(1, len(words)) for i in range(len(words) + 1)]
    return tuple(WordTime(w, a, b, approx=True) for w, a, b in zip(words, edges[:-1], edges[1:], strict=True))
