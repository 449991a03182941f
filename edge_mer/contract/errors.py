"""Typed errors. Every message names the cause and the fix."""

from __future__ import annotations


class EdgeMerError(Exception):
    """Root of all errors that a user can cause and fix."""


class ConfigError(EdgeMerError):
    """A configuration value is unknown, of the wrong type or out of range."""


class BadMessage(EdgeMerError):
    """A message on the bus does not fit its row of the services table; it is dropped and counted."""


class Stale(EdgeMerError):
    """The newest message of a topic is older than the reader can use."""


class EndpointInUse(EdgeMerError):
    """Another live process owns the socket of this topic, or the privacy state directory."""


class DeviceError(EdgeMerError):
    """A capture device cannot be opened, or was lost."""


class MissingExtra(EdgeMerError):
    """An optional package is not installed; the message is the command that installs it."""


class ModelError(EdgeMerError):
    """A model file is missing, damaged or of another contract."""


class GpuError(EdgeMerError):
    """There is no usable GPU, or it ran out of memory, or one of its calls failed."""


class InputError(EdgeMerError):
    """An array handed to a model or an encoder has the wrong shape, type or range."""


class LeaseError(EdgeMerError):
    """A lease is forged, expired, replayed or issued for another holder."""


class PrivacyError(EdgeMerError):
    """A grant, key, receipt or state file of the privacy switch is missing, damaged or forged."""


class SessionError(EdgeMerError):
    """A recorded session is damaged, incomplete or does not replay."""


def missing_extra(package: str, extra: str) -> MissingExtra:
    """The error for an optional package that is not installed."""
    return MissingExtra(f"{package} is not installed; run: pip install 'edge-mer[{extra}]'")
