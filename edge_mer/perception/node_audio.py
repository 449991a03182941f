"""The ``perception.audio`` process."""

from __future__ import annotations

from edge_mer.bus import Bus
from edge_mer.config import Config
from edge_mer.perception.node import PerceptionNode


def build(config: Config, bus: Bus) -> PerceptionNode:
    return PerceptionNode.open("audio", config, bus)
