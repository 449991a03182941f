"""Topic names as people type them, and a reader of any topic, reliable ones included."""

from __future__ import annotations

import difflib
from typing import Any, Protocol

import typer

from edge_mer.bus import Bus, ReliableReader
from edge_mer.contract.messages import Message
from edge_mer.contract.services import SERVICES


class Drains(Protocol):
    def drain(self) -> list[Message[Any]]: ...

    @property
    def counters(self) -> Any: ...


def known(topic: str) -> str:
    """The topic. Raises BadParameter (exit code 2) that names the nearest one."""
    if topic in SERVICES:
        return topic
    close = difflib.get_close_matches(topic, SERVICES, n=1, cutoff=0.3)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(SERVICES)}"
    raise typer.BadParameter(f"unknown topic {topic!r}; {hint}")


def read(bus: Bus, topic: str) -> Drains:
    """Raises BadParameter for a topic that only clients of the gateway get."""
    if (source := SERVICES[topic].split_from) is not None:
        raise typer.BadParameter(f"{topic} is for clients of the gateway; on this host {source} has these messages too")
    return ReliableReader(bus, topic) if SERVICES[topic].policy == "reliable" else bus.reader(topic)
