"""Typed errors. Every message names the cause and the fix."""

from __future__ import annotations

from typing import ClassVar, Final

# Exit code of a command that cannot prove what it was asked to: a mask that is not confirmed, a receipt that is wrong.
UNPROVEN: Final = 6


class EdgeMerError(Exception):
    """Root of all errors that a user can cause and fix. ``exit_code``: of a command that ends with it."""

    exit_code: ClassVar[int] = 1


class ConfigError(EdgeMerError):
    """A configuration value is unknown, of the wrong type, out of range, or asks for what is not there."""

    exit_code = 3


class BadMessage(EdgeMerError):
    """A message on the bus does not fit its row of the services table; it is dropped and counted."""


class Stale(EdgeMerError):
    """The newest message of a topic is older than the reader can use."""


class EndpointInUse(EdgeMerError):
    """Another live process owns the socket of this topic, or the privacy state directory."""


class DeviceError(EdgeMerError):
    """A capture device cannot be opened, or was lost."""

    exit_code = 5


class MissingExtra(EdgeMerError):
    """An optional package is not installed; the message is the command that installs it."""

    exit_code = 3


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


class ConsentError(PrivacyError):
    """Nobody has agreed to what is to be sensed, or it may not be sensed here at all."""

    exit_code = 4


class SessionError(EdgeMerError):
    """A recorded session is damaged, incomplete or does not replay."""


def missing_extra(package: str, extra: str) -> MissingExtra:
    """The error for an optional package that is not installed."""
    return MissingExtra(f"{package} is not installed; run: pip install 'edge-mer[{extra}]'")
