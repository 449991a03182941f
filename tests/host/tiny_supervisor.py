"""The real supervisor over one tiny worker and one that cannot start."""

from __future__ import annotations

from edge_mer.bus import Bus, ZmqBus
from edge_mer.config import Config
from edge_mer.host.launcher import SystemLauncher
from edge_mer.host.processes import ProcessRow, always
from edge_mer.host.supervisor import Supervisor

ROWS = (
    ProcessRow("tiny", "tests.host.tiny", always, "core"),
    ProcessRow("lost", "tests.host.no_such_module", always, "extra"),
)


def build(config: Config, bus: Bus) -> Supervisor:
    assert isinstance(bus, ZmqBus)
    return Supervisor(ROWS, bus, SystemLauncher(bus.directory, config))
