"""The local button behind one interface, read by the switch itself: no message can pretend to be it.

A short press masks what is live, or lifts every mask; a long one (a second or more) masks hard. Sources: an evdev key,
a GPIO line (the kernel's character device, uAPI v2), or a terminal of the host's own console, where the space bar is a
short press and H a long one.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Literal, Protocol

from edge_mer.contract.errors import ConfigError

Press = Literal["short", "long"]
LONG_US = 1_000_000
# A switch's contact bounces; what follows this soon is not a press of a person.
BOUNCE_US = 30_000
MOST_RECORDS = 64
KEYS: dict[int, Press] = {ord(" "): "short", ord("h"): "long", ord("H"): "long"}


class PrivacyButton(Protocol):
    @property
    def wake(self) -> tuple[int, ...]:
        """Readable when there may be a press."""
        ...

    def presses(self) -> list[Press]:
        """Presses since the last call. Never raises: a button that is gone gives none."""
        ...

    def close(self) -> None: ...


class _File:
    """A device file that is read in records without blocking."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    @property
    def wake(self) -> tuple[int, ...]:
        return () if self._fd is None else (self._fd,)

    def read(self, size: int) -> bytes:
        if self._fd is None:
            return b""
        try:
            data = os.read(self._fd, size)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:  # unplugged
            self.close()
        return data

    def records(self, form: struct.Struct) -> Iterator[tuple[int, ...]]:
        data = self.read(MOST_RECORDS * form.size)
        return form.iter_unpack(data[: len(data) // form.size * form.size])

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class _Contact:
    """Down and up of a contact, with times (us), to presses."""

    def __init__(self) -> None:
        self._down_us: int | None = None

    def moved(self, down: bool, at_us: int) -> list[Press]:
        if down:
            self._down_us = at_us if self._down_us is None else self._down_us
            return []
        began, self._down_us = self._down_us, None
        if began is None or at_us - began < BOUNCE_US:
            return []
        return ["long" if at_us - began >= LONG_US else "short"]


class EvdevButton:
    """Any key of an input device (struct input_event of linux/input.h)."""

    EVENT = struct.Struct("llHHi")
    KEY, DOWN, UP = 1, 1, 0

    def __init__(self, fd: int) -> None:
        self._file, self._contact = _File(fd), _Contact()
        self.close = self._file.close

    @property
    def wake(self) -> tuple[int, ...]:
        return self._file.wake

    def presses(self) -> list[Press]:
        found = list[Press]()
        for seconds, micros, kind, _, value in self._file.records(self.EVENT):
            if kind == self.KEY and value in (self.DOWN, self.UP):
                found += self._contact.moved(value == self.DOWN, seconds * 1_000_000 + micros)
        return found


class GpioButton:
    """A line of a GPIO chip, pulled up, that the button pulls down (struct gpio_v2_line_event of linux/gpio.h)."""

    EVENT = struct.Struct("QIIIIIIIIII")
    REQUEST = struct.Struct("64I32sQI5I240sII5Ii")
    GET_LINE = 0xC250B407  # GPIO_V2_GET_LINE_IOCTL
    # Input, active low, both edges, pulled up.
    FLAGS = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8
    RISING = 1

    def __init__(self, fd: int) -> None:
        self._file, self._contact = _File(fd), _Contact()
        self.close = self._file.close

    @classmethod
    def request(cls, chip: int, line: int, ioctl: Callable[[int, int, bytearray], object]) -> int:
        """Ask a chip for events of one line; the file descriptor that they come from."""
        offsets = [line] + [0] * 63
        data = bytearray(cls.REQUEST.pack(*offsets, b"edge_mer", cls.FLAGS, 0, *[0] * 5, b"", 1, 16, *[0] * 5, 0))
        ioctl(chip, cls.GET_LINE, data)
        return int(cls.REQUEST.unpack(data)[-1])

    @property
    def wake(self) -> tuple[int, ...]:
        return self._file.wake

    def presses(self) -> list[Press]:
        found = list[Press]()
        for at_ns, edge, *_ in self._file.records(self.EVENT):
            found += self._contact.moved(edge == self.RISING, at_ns // 1000)
        return found


class KeyboardButton:
    """A terminal of the console: no Enter needed, nothing is echoed."""

    def __init__(self, fd: int) -> None:
        self._file, self._fd = _File(fd), fd
        self._before = termios.tcgetattr(fd)
        tty.setcbreak(fd)

    @property
    def wake(self) -> tuple[int, ...]:
        return self._file.wake

    def presses(self) -> list[Press]:
        return [press for byte in self._file.read(64) if (press := KEYS.get(byte)) is not None]

    def close(self) -> None:
        if self._file.wake:
            with suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, self._before)
            self._file.close()


def open_button(source: str | None) -> PrivacyButton | None:
    """None when none is configured. Raises ConfigError naming what is wrong with it."""
    if source is None:
        return None
    kind, _, path = source.partition(":")
    flags = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        if kind == "evdev":
            return EvdevButton(os.open(path, os.O_RDONLY | flags))
        if kind == "keyboard":
            return KeyboardButton(os.open(path, os.O_RDWR | flags))
        if kind == "gpio":
            return _open_gpio(path)
    except (OSError, termios.error, ValueError) as error:
        raise ConfigError(f"button.source = {source!r} cannot be opened: {error}") from error
    raise ConfigError(f"button.source = {source!r}: begin it with evdev:, gpio: or keyboard:")


def _open_gpio(path: str) -> GpioButton:
    chip_path, _, line = path.rpartition(":")
    chip = os.open(chip_path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fd = GpioButton.request(chip, int(line), fcntl.ioctl)
    finally:
        os.close(chip)
    os.set_blocking(fd, False)
    return GpioButton(fd)
