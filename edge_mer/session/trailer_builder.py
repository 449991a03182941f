"""What a recorder, or whoever rewrites a recording, must know of its content to close it with a trailer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from edge_mer.contract.errors import SessionError
from edge_mer.contract.messages import Feature, Journal, Message, digest
from edge_mer.fusion.journal import opening_of
from edge_mer.session import format
from edge_mer.session.completeness import Ledger
from edge_mer.session.writer import SessionWriter


class Account:
    """``take`` gets every message that goes into the file, in order."""

    def __init__(self, opening: format.SessionOpening, lost: Collection[str] = ()) -> None:
        """``lost``: topics that are copied without being read."""
        self._ledger = Ledger(opening.opened_us if opening.joined else None, lost)
        self._opening = opening
        self._models: dict[str, str] = {}
        self._runtime: dict[str, str] = {}

    def take(self, message: Message[Any]) -> None:
        body = message.body
        if not isinstance(body, Journal):
            self._ledger.recorded(message.ref)
            if isinstance(body, Feature):
                self._models[message.topic] = f"{body.encoder} {body.model}"
            return
        self._ledger.entry(message)
        try:
            told = opening_of(body)
        except SessionError:
            return  # the verifier names it
        if told is not None:
            self._models["fusion"], self._runtime = told.model, dict(told.runtime)

    def trailer(
        self,
        writer: SessionWriter,
        closed_us: int,
        counters: Mapping[str, int],
        unverifiable: str | None = None,
        origin: str = "recorded",
    ) -> format.Trailer:
        """``unverifiable`` is said before what is found missing here."""
        ledger, told = self._ledger, self._opening
        ledger.close()
        computed = {**told.versions, **told.host, **self._runtime}
        return format.Trailer(
            closed_us=closed_us,
            entries=ledger.entries,
            results=ledger.results,
            digest=ledger.digest,
            journal=ledger.journal,
            unverifiable=unverifiable or ledger.unverifiable,
            models=self._models,
            config=digest(msgspec.json.encode(told.config, order="sorted")),
            runtime=digest(msgspec.json.encode(computed, order="sorted")),
            threads={**told.threads, "inference": self._runtime.get("threads", "")},
            messages={topic: n for topic, n in writer.messages.items() if n},
            counters=dict(counters),
            origin=origin,
        )
