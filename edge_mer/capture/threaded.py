"""A device whose calls block: they run in one named thread, which passes blocks to the worker's loop."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress

from edge_mer.capture.device import Captured, Fault, Release
from edge_mer.contract.errors import DeviceError
from edge_mer.contract.overwrite import overwrite


class DeviceThread:
    """One opening of a device, from ``open`` until its thread has released every handle.

    The thread calls ``put``, ``set_fault`` and ``mark_lost``, and ends when ``aborted`` is set; ``read_fails``: whether
    reading the released handle failed. A full deque drops its oldest block and counts it; blocks that are put after
    ``abort`` are discarded.
    """

    def __init__(self, capacity: int, wake: int, counters: Counter[str]) -> None:
        self.aborted = threading.Event()
        self.released = threading.Event()
        self.fault: Fault | None = None
        self.lost: str | None = None
        self.read_fails = True
        self.counters = counters
        self._blocks: deque[Captured] = deque(maxlen=capacity)
        self._lock = threading.Lock()
        self._wake = wake

    def put(self, block: Captured) -> None:
        with self._lock:
            if self.aborted.is_set():
                return
            self.counters["dropped"] += len(self._blocks) == self._blocks.maxlen
            self._blocks.append(block)
        self.signal()

    def set_fault(self, fault: Fault | None) -> None:
        """The fault that the device itself reports; None when it works."""
        if fault != self.fault:
            self.fault = fault
            self.signal()

    def mark_lost(self, reason: str) -> None:
        """The device is lost and only a new process can reopen it."""
        self.lost = reason
        self.signal()

    def take(self) -> list[Captured]:
        with self._lock:
            blocks = list(self._blocks)
            self._blocks.clear()
        return blocks

    def abort(self) -> None:
        with self._lock:
            self.aborted.set()
            overwrite([block.payload for block in self._blocks])
            self._blocks.clear()

    def signal(self) -> None:
        os.eventfd_write(self._wake, 1)


class ThreadedDevice(ABC):
    """Base of devices that block. A subclass implements ``_run``, ``_handles`` (and ``_interrupt``, if its calls can be
    interrupted); ``handles`` names its kind of handle."""

    handles = "handle"

    def __init__(self, name: str, interval_us: int | None, capacity: int) -> None:
        self._name, self._interval_us, self._capacity = name, interval_us, capacity
        self._counters: Counter[str] = Counter()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._opening: DeviceThread | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def interval_us(self) -> int | None:
        return self._interval_us

    @property
    def fault(self) -> Fault | None:
        return self._opening.fault if self._opening else None

    @property
    def closed(self) -> bool:
        return self._opening is None or self._opening.released.is_set()

    @property
    def wake(self) -> tuple[int, ...]:
        return (self._event,)

    @property
    def counters(self) -> Mapping[str, int]:
        return self._counters

    def open(self) -> None:
        self._opening = DeviceThread(self._capacity, self._event, self._counters)
        threading.Thread(target=self._main, args=(self._opening,), name=self._name, daemon=True).start()

    def read(self) -> list[Captured]:
        with suppress(BlockingIOError):
            os.eventfd_read(self._event)
        if self._opening is None or self._opening.aborted.is_set():
            return []
        if self._opening.lost is not None:
            raise DeviceError(self._opening.lost)
        return self._opening.take()

    def abort(self) -> None:
        if self._opening is not None:
            self._opening.abort()
            self._interrupt()

    def release(self) -> Release:
        opening, handles = self._opening, self._handles()
        fails = opening is None or (opening.read_fails and not self.read())
        return Release(tuple(handles), fails, self.handles)

    def join(self, timeout_s: float) -> bool:
        return self._opening is None or self._opening.released.wait(timeout_s)

    @abstractmethod
    def _run(self, opening: DeviceThread) -> None:
        """In the thread: open the device, put blocks until ``opening.aborted``, release every handle."""

    @abstractmethod
    def _handles(self) -> list[str]:
        """Handles of this device that /proc shows now."""

    def _interrupt(self) -> None:
        """In the loop: interrupt the call that blocks the thread, where it does not end by itself."""
        return

    def _main(self, opening: DeviceThread) -> None:
        try:
            self._run(opening)
        except Exception as error:  # without this, a failed thread would look like a device that delivers no data
            opening.mark_lost(f"{self._name}: {type(error).__name__}: {error}")
        finally:
            opening.released.set()
            opening.signal()
