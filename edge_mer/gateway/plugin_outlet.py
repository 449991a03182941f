"""The process of an outlet that an installed package brings (edge_mer.contract.plugins)."""

from __future__ import annotations

from edge_mer.bus import Bus
from edge_mer.config import Config
from edge_mer.contract.errors import ConfigError
from edge_mer.contract.plugins import OUTLETS, load_plugin
from edge_mer.gateway.outlet import Outlet, OutletWorker, lower_priority


def build(config: Config, bus: Bus, name: str) -> OutletWorker:
    """Raises ConfigError where ``name`` is no outlet, NotPublic where it asks for what may not leave this host."""
    kind = load_plugin(OUTLETS, name)
    if not (isinstance(kind, type) and issubclass(kind, Outlet)):
        raise ConfigError(f"plugins.outlets: {name} is no subclass of edge_mer.gateway.outlet.Outlet")
    lower_priority()
    return OutletWorker(f"outlet.{name}", bus, lambda own: [kind(config, own)], config.run.room_name)
