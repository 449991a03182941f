"""Reads protobuf messages without their schema (https://protobuf.dev/programming-guides/encoding)."""

from __future__ import annotations

from collections.abc import Iterator


def fields_of(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each top-level field, in order. Raises ValueError for what is no message."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(content, at)
            yield number, value
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"no protobuf at byte {at}")
        size, at = _varint(content, at) if kind == 2 else (8 if kind == 1 else 4, at)
        if at + size > len(content):
            raise ValueError(f"truncated: {len(content)} bytes, expected at least {at + size}")
        yield number, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(content) and shift < 64:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError(f"truncated: {len(content)} bytes, a number is cut off")
