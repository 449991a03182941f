"""From a feature message to tokens of the fold. Pure."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from edge_mer.contract.messages import Feature, Message
from edge_mer.fusion.window import TokenPiece


def earlier(body: Feature, delay_us: int) -> Feature:
    """A feature with the times of the other sensors: watermark, motion of mouths and loudness."""
    replaced = msgspec.structs.replace
    voice, rows = body.voice, body.people
    if voice is not None:
        voice = replaced(voice, begin_us=voice.begin_us - delay_us)
    if rows is not None:
        rows = tuple(replaced(r, mouth=tuple(replaced(o, at_us=o.at_us - delay_us) for o in r.mouth)) for r in rows)
    return replaced(body, watermark_us=body.watermark_us - delay_us, voice=voice, people=rows)


def piece_of(message: Message[Feature], delay_us: int) -> TokenPiece | None:
    """The tokens of a feature message, stamped ``delay_us`` earlier; None when its payload is inconsistent."""
    payload, body = message.payload, message.body
    if [a.dtype for a in payload] != [np.float32, np.int64, np.int64, np.uint8]:
        return None
    values, start, end, valid = payload
    n = len(values)
    if values.ndim != 2 or any(a.shape != (n,) for a in (start, end, valid)):
        return None
    if (start > end).any() or (np.diff(end) < 0).any():
        return None
    return TokenPiece(
        values,
        start - delay_us,
        end - delay_us,
        valid.astype(np.bool_),
        body.context,
        body.biometric,
        body.raw_created_us,
        message.envelope.created_us,
        body.reason,
    )


def row_of(piece: TokenPiece, row: int, reason: str | None) -> TokenPiece:
    """One token of a piece, as one of its own."""
    part = slice(row, row + 1)
    return replace(
        piece,
        values=piece.values[part],
        start_us=piece.start_us[part],
        end_us=piece.end_us[part],
        valid=piece.valid[part],
        reason=reason,
    )
