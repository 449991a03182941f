"""Messages whose strings are escaped for a terminal (edge_mer.contract.plain_text)."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from edge_mer.contract.plain_text import visible

T = TypeVar("T", bound=Struct)


def visible_fields(body: T) -> T:
    """A message whose strings, at any depth, are ``visible``."""
    return msgspec.convert(_walk(msgspec.to_builtins(body)), type(body))


def _walk(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {_walk(k): _walk(v) for k, v in value.items()}
    return [_walk(v) for v in value] if isinstance(value, list | tuple) else value
