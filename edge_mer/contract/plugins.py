"""Installed packages that take part: entry points of the groups below, by the packaging specification of the same name.

Installing one starts nothing: the configuration names what is used. A package registers, in its own pyproject.toml::

    [project.entry-points."edge_mer.outlets"]
    door_display = "my_package.door:DoorDisplay"

* ``edge_mer.encoders``: ``open_encoder(modality, backend, models_dir) -> perception.encoder.Encoder``; used where
  ``plugins.encoders`` names it.
* ``edge_mer.outlets``: a subclass of ``gateway.outlet.Outlet``; ``plugins.outlets``.
* ``edge_mer.recognisers``: a ``contract.recognisers.RecogniserRow``; ``text.engine`` or ``text.source``.
* ``edge_mer.sources``: ``open_source(config, modality, clock) -> capture.device.Device``; ``plugins.sources``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from edge_mer.contract.errors import ConfigError

ENCODERS, OUTLETS = "edge_mer.encoders", "edge_mer.outlets"
RECOGNISERS, SOURCES = "edge_mer.recognisers", "edge_mer.sources"
GROUPS: Final = (ENCODERS, OUTLETS, RECOGNISERS, SOURCES)


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point. ``package`` is the distribution that brings it, with its version."""

    group: str
    name: str
    package: str
    entry: EntryPoint

    def load(self) -> Any:
        """Import it. Raises ConfigError naming the package and what is wrong with it."""
        try:
            return self.entry.load()
        except Exception as error:
            raise ConfigError(f"{self.name} of {self.package} cannot be loaded: {error!r}") from error


def installed_plugins(group: str) -> dict[str, Plugin]:
    """By name. Nothing is imported."""
    found = {}
    for entry in entry_points(group=group):
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.value
        found[entry.name] = Plugin(group, entry.name, package, entry)
    return found


def load_plugin(group: str, name: str) -> Any:
    """Raises ConfigError for a name that no installed package registers, and for one that cannot be imported."""
    found = installed_plugins(group)
    if name not in found:
        raise ConfigError(f"no installed package registers {name!r} in {group}; there: {', '.join(found) or 'none'}")
    return found[name].load()
