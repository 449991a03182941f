"""What tells whether two key frames show the same picture: digests, so that no picture is kept."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

H264: Final = "h264"
# The header of an H.264 slice holds the number of the key frame, which changes although the picture does not. It has
# one bit or several, so that what follows is shifted: it is compared from its end, in whole steps.
HEADER_BITS: Final = 160
STEP_BITS: Final = 64
# Arithmetic coding (CABAC) begins and ends at whole bytes, and x264 ends it with a bit that differs by frame.
TAIL_BYTES: Final = 2
IDR_SLICE: Final = 5

Print = tuple[frozenset[bytes], ...]


def print_of(body: bytes, codec: str) -> Print:
    """Of one key frame: digests of each H.264 slice behind its header, of the whole packet of any other codec."""
    found = tuple(map(_endings, _slices(body))) if codec == H264 else ()
    return found or (frozenset({_digest(body)}),)


def alike(one: Print, other: Print) -> bool:
    return len(one) == len(other) and all(a & b for a, b in zip(one, other, strict=True))


def _endings(slice_: bytes) -> frozenset[bytes]:
    """Digests of its end, at the two largest lengths of whole steps: slices of one picture share one of them. Counted
    from the last bit for one way of coding, and from the last whole bytes for the other."""
    plain = slice_.replace(b"\0\0\3", b"\0\0").rstrip(b"\0")
    value = int.from_bytes(plain, "big")
    value >>= (value & -value).bit_length()  # the stop bit and the zeros that fill its byte
    most = (8 * (len(plain) - TAIL_BYTES) - HEADER_BITS) // STEP_BITS
    if most < 2:
        return frozenset({_digest(slice_)})
    lengths = [n * STEP_BITS // 8 for n in (most, most - 1)]
    by_bit, by_byte = value.to_bytes(len(plain), "big"), plain[:-TAIL_BYTES]
    return frozenset(_digest(end[-n:]) for end in (by_bit, by_byte) for n in lengths)


def _slices(body: bytes) -> Iterator[bytes]:
    """Slices of key frames in a packet of H.264, whose units follow a start code or their length."""
    units = body.split(b"\0\0\1")[1:] if body.startswith((b"\0\0\1", b"\0\0\0\1")) else _by_length(body)
    return (unit for unit in units if unit and unit[0] & 0x1F == IDR_SLICE)


def _by_length(body: bytes) -> Iterator[bytes]:
    while len(body) > 4:
        end = 4 + int.from_bytes(body[:4], "big")
        yield body[4:end]
        body = body[end:]


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()
