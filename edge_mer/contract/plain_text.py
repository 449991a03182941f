"""Escapes control characters in external text, as ``\\u001b``, so that no terminal interprets them.

Device and peer errors, file names, metadata of sessions and words are escaped before they are published as a reason,
and again before they are printed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# Characters that a terminal may interpret (ECMA-48 C0, DEL and C1) or that reorder or break a line (Unicode UAX 9 and
# UAX 14), and lone surrogates, which no encoding can write.
_CONTROL: Final[tuple[range, ...]] = (
    range(0x20),
    range(0x7F, 0xA0),
    range(0x61C, 0x61D),
    range(0x200E, 0x2010),
    range(0x2028, 0x202F),
    range(0x2066, 0x206A),
    range(0xD800, 0xE000),
)


def _table(kept: str) -> dict[int, str]:
    codes: Iterable[int] = (code for part in _CONTROL for code in part)
    return {code: f"\\u{code:04x}" for code in codes if chr(code) not in kept}


_LINE, _LINES = _table(""), _table("\n\t")


def visible(text: str) -> str:
    """``text`` on one line; characters that move a cursor, colour, reorder or break it are written as their code."""
    return text.translate(_LINE)


def visible_lines(text: str) -> str:
    """As ``visible``, but line ends and tabs stay."""
    return text.translate(_LINES)
