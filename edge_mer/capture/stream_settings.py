"""Settings with which a PortAudio input opens: rate, channels and format, the device's own first."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import DeviceError

RATES: Final = (48_000, 44_100, 16_000, 96_000, 32_000, 192_000, 88_200, 24_000, 22_050, 8_000)
MOST_CHANNELS: Final = 16
CHANNELS: Final = (2, 1, 4, 6, 8)
FORMATS: Final = ("float32", "int16", "int32", "int24")
# PortAudio's errors about one setting. The last is unknown to PortAudio: an ALSA driver refuses the channels with it.
REFUSALS: Final[Mapping[int, str]] = {-9997: "rate", -9998: "channels", -9994: "dtype", -9999: "channels"}
_CODE = re.compile(r"PaErrorCode (-\d+)")


class NoUsableSetting(DeviceError):
    """The device refuses every rate, number of channels or format."""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    rate: int
    channels: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.rate} Hz, {self.channels} channel{'s' * (self.channels > 1)}, {self.dtype}"

    def floats(self, data: bytes) -> NDArray[np.float32]:
        """Interleaved bytes as float32 [n, channels] in [-1, 1]."""
        if self.dtype == "float32":
            samples = np.frombuffer(data, "<f4")
        elif self.dtype == "int24":
            # The three bytes become the upper ones of four.
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            samples = wide.view("<i4")[:, 0] / np.float32(2**31)
        else:
            samples = np.frombuffer(data, np.dtype(self.dtype)) / np.float32(np.iinfo(self.dtype).max + 1)
        return samples.astype(np.float32, copy=False).reshape(-1, self.channels)


def candidates(info: Mapping[str, Any]) -> list[StreamSettings]:
    """In order of preference, of a device's description by PortAudio: its own rate and all of its channels first.

    Fewer channels would let a driver or sound server mix them, and cancel a voice that is in opposite phase.
    """
    most = min(MOST_CHANNELS, max(1, int(info.get("max_input_channels") or 1)))
    own = round(float(info.get("default_samplerate") or 0))
    rates = dict.fromkeys(([own] if own > 0 else []) + list(RATES))
    counts = [most, *(count for count in CHANNELS if count != most)]
    return [StreamSettings(rate, count, dtype) for rate in rates for count in counts for dtype in FORMATS]


def open_first(
    portaudio: ModuleType, info: Mapping[str, Any], make: Callable[[StreamSettings], Any]
) -> tuple[Any, StreamSettings]:
    """The stream of the first setting that ``make`` can open. A refused rate, count or format is not tried again.

    Raises NoUsableSetting, or PortAudioError when the device itself cannot be opened.
    """
    refused: set[tuple[str, int | str]] = set()
    error: Exception | None = None
    for settings in candidates(info):
        if refused & {(name, getattr(settings, name)) for name in REFUSALS.values()}:
            continue
        try:
            return make(settings), settings
        except portaudio.PortAudioError as refusal:
            code = _CODE.search(str(refusal))
            name = REFUSALS.get(int(code[1])) if code else None
            if name is None:
                raise
            error = refusal
            refused.add((name, getattr(settings, name)))
    raise NoUsableSetting(
        f"it takes none of {', '.join(map(str, RATES))} Hz with 1 to {MOST_CHANNELS} channels of "
        f"{', '.join(FORMATS)}; the last refusal: {str(error).splitlines()[0]}"
    ) from error
