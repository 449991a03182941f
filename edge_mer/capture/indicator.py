"""The indicator light of a device: on before the device opens, off after it has closed. A device whose indicator
cannot be switched on stays closed.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Protocol

from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, Clock
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import ConfigError

LEDS = Path("/sys/class/leds")
PATIENCE_US = 2 * SECOND
RETRY_US = 5 * SECOND


class IndicatorLight(Protocol):
    """``fault``: why it cannot be switched on."""

    @property
    def fault(self) -> str | None: ...

    def turn_on(self) -> bool:
        """Switch it on; call again until it returns True: only then may the device open."""
        ...

    def turn_off(self) -> None:
        """Switch it off; the device has closed."""
        ...


class NoIndicator:
    fault: str | None = None

    def turn_on(self) -> bool:
        return True

    def turn_off(self) -> None:
        return None


class Led:
    """An LED of the kernel's LED class. The brightness is read back after it is written."""

    def __init__(self, directory: Path) -> None:
        self.fault: str | None = None
        self._directory = directory

    def turn_on(self) -> bool:
        return self._set("on")

    def turn_off(self) -> None:
        self._set("off")

    def _set(self, word: str) -> bool:
        brightness = self._directory / "brightness"
        try:
            most = (self._directory / "max_brightness").read_text().strip() if word == "on" else "0"
            brightness.write_text(most)
            found = brightness.read_text().strip()
            self.fault = None if found == most else f"the LED {self._directory.name} did not go {word}"
        except OSError as error:
            self.fault = f"the LED {self._directory.name} cannot be switched {word}: {error.strerror}"
        return self.fault is None


class Program:
    """Any program, called as ``PROGRAM audio on`` and ``PROGRAM audio off``; exit code 0 means success."""

    def __init__(self, program: str, modality: Modality, clock: Clock) -> None:
        self.fault: str | None = None
        self._program, self._modality, self._clock = program, modality, clock
        self._running: subprocess.Popen[bytes] | None = None
        self._word = ""
        self._since_us = self._retry_us = 0
        self._is_on = False

    def turn_on(self) -> bool:
        if self._is_on:
            return True
        now = self._clock.now_us()
        if self._word != "on" or (self._running is None and now >= self._retry_us):
            self._start("on")
        if self._running is None:
            return False
        code = self._running.poll()
        if code is None and now - self._since_us < PATIENCE_US:
            return False
        if code is None:
            self._running.kill()
            self._running.wait()
        self._running = None
        self._is_on = code == 0
        if self._is_on:
            self.fault = None
        else:
            self._fail("did not end" if code is None else f"ended with {code}")
        return self._is_on

    def turn_off(self) -> None:
        self._is_on = False
        self._start("off")

    def _start(self, word: str) -> None:
        if self._running is not None and self._running.poll() is None:
            self._running.kill()
            self._running.wait()
        self._word, self._since_us = word, self._clock.now_us()
        try:
            self._running = subprocess.Popen(
                [self._program, self._modality, word], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        except OSError as error:
            self._running = None
            self._fail(f"cannot be started: {error.strerror}")

    def _fail(self, how: str) -> None:
        self.fault = f"the indicator {self._program} {self._modality} {self._word} {how}"
        self._retry_us = self._clock.now_us() + RETRY_US


def choose_indicator(config: Config, modality: Modality, clock: Clock) -> IndicatorLight:
    """Raises ConfigError for a setting of unknown kind."""
    setting: str | None = getattr(config.indicator, modality)
    if setting is None:
        return NoIndicator()
    kind, _, what = setting.partition(":")
    if kind == "led" and what:
        return Led(LEDS / what)
    if kind == "command" and what:
        return Program(what, modality, clock)
    raise ConfigError(f"indicator.{modality} = {setting!r}: it must begin with led: or command:")
