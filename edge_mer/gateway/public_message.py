"""Messages lent to outlets: when a mask overtakes them, whatever an outlet kept of them is empty."""

from __future__ import annotations

from functools import partial
from typing import Any
from weakref import ref

import msgspec
from msgspec import Struct

from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.messages import Body, Envelope, Message
from edge_mer.contract.services import SERVICES


class Overtaken(EdgeMerError):
    """A mask has overtaken this message: it must not leave any more."""


class Json(bytearray):
    """The JSON of a message, which can be emptied wherever it is kept."""

    __slots__ = ("__weakref__",)


class PublicMessage:
    """One message of a public topic. Once a mask has overtaken it, ``envelope``, ``body`` and ``json`` raise Overtaken,
    and a body or JSON that was kept holds nothing any more.

    ``json`` is the object of envelope and body as it is on the wire (UTF-8, one line). Text and numbers copied out of
    it are the outlet's own: its ``forget`` must drop them.
    """

    __slots__ = ("__weakref__", "_held", "topic")

    def __init__(self, message: Message[Any]) -> None:
        self.topic = message.topic
        self._held: tuple[Envelope, Body, Json] | None = (message.envelope, message.body, Json(message.header))

    @property
    def overtaken(self) -> bool:
        return self._held is None

    @property
    def envelope(self) -> Envelope:
        return self._lent()[0]

    @property
    def body(self) -> Any:
        return self._lent()[1]

    @property
    def json(self) -> bytearray:
        return self._lent()[2]

    def _lent(self) -> tuple[Envelope, Body, Json]:
        if self._held is None:
            raise Overtaken(f"{self.topic}: a mask has overtaken this message; drop it")
        return self._held


class Lender:
    """Remembers, without keeping them alive, the messages that a mask can overtake: those derived from a person."""

    def __init__(self) -> None:
        self._lent: dict[int, ref[Any]] = {}

    def lend(self, message: Message[Any]) -> PublicMessage:
        lent = PublicMessage(message)
        if SERVICES[message.topic].biometric:
            for part in (lent, lent.body, lent.json):
                self._lent[id(part)] = ref(part, partial(self._gave_back, id(part)))
        return lent

    def _gave_back(self, key: int, _: object) -> None:
        self._lent.pop(key, None)

    def recall(self) -> None:
        """Empty all that is still held somewhere: the messages, and bodies and JSON taken out of them."""
        for lent in list(self._lent.values()):
            part = lent()
            if isinstance(part, PublicMessage):
                part._held = None
            else:
                _empty(part)
        self._lent.clear()


def _empty(value: object) -> None:
    """Leave nothing in an object, or in those within it, though it is frozen: the reader made it for us alone."""
    if isinstance(value, Json):
        value[:] = bytes(len(value))  # its size stays: a view of it may be in use
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
