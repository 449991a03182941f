"""Builds the trailer of a recording from the messages written to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from edge_mer.contract.errors import SessionError
from edge_mer.contract.messages import Feature, Journal, Message, digest
from edge_mer.fusion.journal import opening_of
from edge_mer.session import format
from edge_mer.session.completeness import Completeness
from edge_mer.session.writer import SessionWriter


class TrailerBuilder:
    """``take`` is called with every message that is written to the file, in order."""

    def __init__(self, opening: format.SessionOpening, lost: Collection[str] = ()) -> None:
        """``lost``: topics that are copied without being read."""
        self._completeness = Completeness(opening.opened_us if opening.joined else None, lost)
        self._opening = opening
        self._models: dict[str, str] = {}
        self._runtime: dict[str, str] = {}

    def take(self, message: Message[Any]) -> None:
        body = message.body
        if not isinstance(body, Journal):
            self._completeness.recorded(message.ref)
            if isinstance(body, Feature):
                self._models[message.topic] = f"{body.encoder} {body.model}"
            return
        self._completeness.entry(message)
        try:
            opening = opening_of(body)
        except SessionError:
            return  # the verifier reports it
        if opening is not None:
            self._models["fusion"], self._runtime = opening.model, dict(opening.runtime)

    def build(
        self,
        writer: SessionWriter,
        closed_us: int,
        counters: Mapping[str, int],
        unverifiable: str | None = None,
        origin: str = "recorded",
    ) -> format.Trailer:
        """``unverifiable`` takes precedence over the reason found here."""
        completeness, opening = self._completeness, self._opening
        completeness.close()
        computed = {**opening.versions, **opening.host, **self._runtime}
        return format.Trailer(
            closed_us=closed_us,
            entries=completeness.entries,
            results=completeness.results,
            digest=completeness.digest,
            journal=completeness.journal,
            unverifiable=unverifiable or completeness.unverifiable,
            models=self._models,
            config=digest(msgspec.json.encode(opening.config, order="sorted")),
            runtime=digest(msgspec.json.encode(computed, order="sorted")),
            threads={**opening.threads, "inference": self._runtime.get("threads", "")},
            messages={topic: n for topic, n in writer.messages.items() if n},
            counters=dict(counters),
            origin=origin,
        )
