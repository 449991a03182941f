"""The local button behind one interface, read by the switch itself: no message can imitate it.

A short press masks what is live, or lifts every mask; a long one (a second or more) locks the mask. Sources: an evdev
key (extra ``evdev``), a GPIO line (extra ``gpio``), or a terminal of the host's own console, where the space bar is a
short press and H a long one.
"""

from __future__ import annotations

import os
import termios
import tty
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, Literal, Protocol

from edge_mer.contract.errors import ConfigError, missing_extra

Press = Literal["short", "long"]
LONG_US = 1_000_000
# Contacts bounce; a shorter press is none.
BOUNCE_US = 30_000
MOST_EVENTS = 64
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


class ContactButton:
    """A contact behind a library. ``changes`` gives (is down, time in us) of each change since its last call.

    It may raise BlockingIOError when there is none, and OSError when the device is gone, which closes the button.
    """

    def __init__(
        self, fd: int, changes: Callable[[], Iterable[tuple[bool, int]]], release: Callable[[], object]
    ) -> None:
        self.wake: tuple[int, ...] = (fd,)
        self._changes, self._release = changes, release
        self._down_us: int | None = None

    def presses(self) -> list[Press]:
        if not self.wake:
            return []
        try:
            changes = list(self._changes())
        except BlockingIOError:
            return []
        except OSError:
            self.close()
            return []
        return [press for is_down, at_us in changes if (press := self._moved(is_down, at_us)) is not None]

    def _moved(self, is_down: bool, at_us: int) -> Press | None:
        if is_down:
            self._down_us = at_us if self._down_us is None else self._down_us
            return None
        began, self._down_us = self._down_us, None
        if began is None or at_us - began < BOUNCE_US:
            return None
        return "long" if at_us - began >= LONG_US else "short"

    def close(self) -> None:
        if self.wake:
            self.wake = ()
            with suppress(OSError):
                self._release()


class KeyboardButton:
    """A terminal of the console: no Enter needed, nothing is echoed."""

    def __init__(self, fd: int) -> None:
        self.wake: tuple[int, ...] = (fd,)
        self._before = termios.tcgetattr(fd)
        tty.setcbreak(fd)

    def presses(self) -> list[Press]:
        if not self.wake:
            return []
        try:
            data = os.read(self.wake[0], MOST_EVENTS)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:  # hung up
            self.close()
        return [press for byte in data if (press := KEYS.get(byte)) is not None]

    def close(self) -> None:
        for fd in self.wake:
            self.wake = ()
            with suppress(termios.error):
                termios.tcsetattr(fd, termios.TCSANOW, self._before)
            os.close(fd)


def open_button(source: str | None) -> PrivacyButton | None:
    """None when none is configured. Raises ConfigError that names what is wrong, MissingExtra without its library."""
    if source is None:
        return None
    kind, _, path = source.partition(":")
    if kind not in OPENERS:
        raise ConfigError(f"button.source = {source!r}: begin it with evdev:, gpio: or keyboard:")
    try:
        return OPENERS[kind](path)
    except (OSError, termios.error, ValueError) as error:
        raise ConfigError(f"button.source = {source!r} cannot be opened: {error}") from error


def _open_evdev(path: str) -> ContactButton:
    """Any key of an input device."""
    try:
        import evdev
    except ImportError:
        raise missing_extra("evdev", "evdev") from None
    device = evdev.InputDevice(path)

    def changes() -> Iterable[tuple[bool, int]]:
        for event in device.read():
            if event.type == evdev.ecodes.EV_KEY and event.value in (0, 1):  # 2 is a key that repeats
                yield event.value == 1, event.sec * 1_000_000 + event.usec

    return ContactButton(device.fd, changes, device.close)


def _open_gpio(path: str) -> ContactButton:
    """A line of a GPIO chip, pulled up, that the button pulls down: ``/dev/gpiochip0:17``."""
    try:
        import gpiod
        from gpiod.line import Bias, Direction, Edge
    except ImportError:
        raise missing_extra("gpiod", "gpio") from None
    chip, _, line = path.rpartition(":")
    settings: Any = gpiod.LineSettings(
        direction=Direction.INPUT, edge_detection=Edge.BOTH, bias=Bias.PULL_UP, active_low=True
    )
    request = gpiod.request_lines(chip, config={int(line): settings}, consumer="edge_mer")

    def changes() -> Iterable[tuple[bool, int]]:
        if request.wait_edge_events(0):
            for event in request.read_edge_events(MOST_EVENTS):
                yield event.event_type is event.Type.RISING_EDGE, event.timestamp_ns // 1000

    return ContactButton(request.fd, changes, request.release)


def _open_keyboard(path: str) -> KeyboardButton:
    return KeyboardButton(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY))


OPENERS: Final[Mapping[str, Callable[[str], PrivacyButton]]] = {
    "evdev": _open_evdev,
    "gpio": _open_gpio,
    "keyboard": _open_keyboard,
}
