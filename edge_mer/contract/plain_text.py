"""Text from outside made harmless: control characters are shown as ``\\u001b``, so that no terminal obeys them.

Device and peer errors, file names, metadata of sessions and words pass here before they become a reason that is
published, and once more before anything is printed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# What a terminal may obey (ECMA-48 C0, DEL and C1), what reorders or breaks a line (Unicode UAX 9 and UAX 14), and
# lone surrogates, which no encoding can write.
_OBEYED: Final[tuple[range, ...]] = (
    range(0x20),
    range(0x7F, 0xA0),
    range(0x61C, 0x61D),
    range(0x200E, 0x2010),
    range(0x2028, 0x202F),
    range(0x2066, 0x206A),
    range(0xD800, 0xE000),
)


def _table(kept: str) -> dict[int, str]:
    codes: Iterable[int] = (code for part in _OBEYED for code in part)
    return {code: f"\\u{code:04x}" for code in codes if chr(code) not in kept}


_LINE, _LINES = _table(""), _table("\n\t")


def visible(text: str) -> str:
    """``text`` on one line; whatever would move a cursor, colour, reorder or break it is written as its code."""
    return text.translate(_LINE)


def visible_lines(text: str) -> str:
    """As ``visible``, but line ends and tabs stay."""
    return text.translate(_LINES)
