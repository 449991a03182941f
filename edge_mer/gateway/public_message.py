"""Messages that outlets receive. A mask revokes them: every part that an outlet still holds is emptied."""

from __future__ import annotations

from functools import partial
from typing import Any
from weakref import ref

import msgspec
from msgspec import Struct

from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.messages import Body, Envelope, Message
from edge_mer.contract.services import SERVICES


class Revoked(EdgeMerError):
    """A mask has revoked this message: it must not leave the host."""


class Json(bytearray):
    """The JSON of a message. It is mutable, so that every reference to it can be emptied."""

    __slots__ = ("__weakref__",)


class PublicMessage:
    """One message of a public topic. After a mask has revoked it, ``envelope``, ``body`` and ``json`` raise Revoked,
    and bodies and JSON that were kept are empty.

    ``json`` is the object of envelope and body as sent on the wire (UTF-8, one line). The outlet itself must drop text
    and numbers that it copied, in its ``forget``.
    """

    __slots__ = ("__weakref__", "_held", "topic")

    def __init__(self, message: Message[Any]) -> None:
        self.topic = message.topic
        self._held: tuple[Envelope, Body, Json] | None = (message.envelope, message.body, Json(message.header))

    @property
    def revoked(self) -> bool:
        return self._held is None

    @property
    def envelope(self) -> Envelope:
        return self._held_parts()[0]

    @property
    def body(self) -> Any:
        return self._held_parts()[1]

    @property
    def json(self) -> bytearray:
        return self._held_parts()[2]

    def _held_parts(self) -> tuple[Envelope, Body, Json]:
        if self._held is None:
            raise Revoked(f"{self.topic}: a mask has revoked this message; drop it")
        return self._held


class MessageTracker:
    """Weak references to the messages that a mask revokes: those derived from a person."""

    def __init__(self) -> None:
        self._tracked: dict[int, ref[Any]] = {}

    def track(self, message: Message[Any]) -> PublicMessage:
        tracked = PublicMessage(message)
        if SERVICES[message.topic].biometric:
            for part in (tracked, tracked.body, tracked.json):
                self._tracked[id(part)] = ref(part, partial(self._released, id(part)))
        return tracked

    def _released(self, key: int, _: object) -> None:
        self._tracked.pop(key, None)

    def revoke(self) -> None:
        """Empty everything that is still referenced: messages, and bodies and JSON taken from them."""
        for reference in list(self._tracked.values()):
            part = reference()
            if isinstance(part, PublicMessage):
                part._held = None
            else:
                _empty(part)
        self._tracked.clear()


def _empty(value: object) -> None:
    """Empty an object and its parts, even frozen ones: the reader decoded them for this process only."""
    if isinstance(value, Json):
        value[:] = bytes(len(value))  # keep the size: a memoryview may be in use
    elif isinstance(value, Struct):
        for name in value.__struct_fields__:
            _empty(getattr(value, name))
            msgspec.structs.force_setattr(value, name, None)
    elif isinstance(value, dict):
        for held in value.values():
            _empty(held)
        value.clear()
    elif isinstance(value, tuple | list):
        for held in value:
            _empty(held)
