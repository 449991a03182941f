"""The process of a source that an installed package brings (edge_mer.contract.plugins).

It captures as ours do: its device is opened only while a lease is in force. A package that opens one by itself is found
by the kernel's list of this process's open files; then the process ends, which closes it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edge_mer.bus import Bus
from edge_mer.capture.device import Device, Release
from edge_mer.capture.gated_source import CaptureWorker, GatedSource
from edge_mer.capture.open_handles import open_files
from edge_mer.config import Config
from edge_mer.contract.errors import ConfigError, DeviceError
from edge_mer.contract.modalities import Modality
from edge_mer.contract.plugins import SOURCES, load_plugin

# Files below /dev that are no sensor.
HARMLESS = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/shm/")


def open_devices() -> list[str]:
    """Device files that this process holds open."""
    return [path for path in open_files("/dev/") if not path.startswith(HARMLESS)]


class WatchedDevice:
    """A device of others. Whether it is released is measured here too, and not only by its own word."""

    def __init__(self, inner: Device) -> None:
        self._inner = inner

    def release(self) -> Release:
        claimed = self._inner.release()
        return replace(claimed, held=tuple(dict.fromkeys((*claimed.held, *open_devices()))))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class PluginWorker(CaptureWorker):
    """As every capture process; ends at once where a device is open that no lease covers."""

    def turn(self) -> int:
        """Raises DeviceError naming what is open without a lease."""
        wait = super().turn()
        if all(source.device.closed and not source.gate.is_open for source in self.sources):
            refuse_open_devices()
        return wait


def refuse_open_devices() -> None:
    """Raises DeviceError naming the device files that are open."""
    if found := open_devices():
        raise DeviceError(f"{', '.join(found)} is open without a lease; this process ends, which closes it")


def build(config: Config, bus: Bus, modality: Modality) -> PluginWorker:
    """Raises ConfigError for a source that is not installed, DeviceError for one that opens a device by itself."""
    name = config.plugins.sources[modality]
    make = load_plugin(SOURCES, name)
    refuse_open_devices()
    try:
        device = make(config, modality, bus.clock)
    except Exception as error:
        raise ConfigError(f"plugins.sources: {name} of {modality} cannot be made: {error!r}") from error
    refuse_open_devices()
    watched: Any = WatchedDevice(device)
    return PluginWorker(GatedSource(config, bus, f"plugin.{modality}", modality, watched))
