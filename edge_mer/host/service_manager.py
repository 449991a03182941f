"""Reports to systemd that the service is ready and alive: one datagram per message, by sd_notify(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

from edge_mer.contract.messages import HealthReport
from edge_mer.host.processes import PROCESSES

CORE = frozenset(row.name for row in PROCESSES if row.importance == "core")


class ServiceManager:
    """``address`` None: no service manager started this process, and nothing is sent.

    It is ready once all core processes run, and alive while the supervisor reports health.
    """

    def __init__(self, address: str | None = None, watchdog_us: int | None = None) -> None:
        self._address = address
        self._period_us = None if watchdog_us is None else watchdog_us // 3
        self._ready, self._due_us, self._status = False, 0, ""
        self._last: HealthReport | None = None

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """Takes the variables of the protocol away, so that child processes do not inherit them."""
        names = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
        address, period, pid = (environment.pop(name, None) for name in names)
        is_for_us = period is not None and period.isdigit() and pid in (None, str(os.getpid()))
        return cls(address, int(period) if period is not None and is_for_us else None)

    def turn(self, now_us: int, health: HealthReport | None) -> None:
        """Call it often, with the last report of the supervisor."""
        if self._address is None or health is None or health is self._last:
            return
        self._last = health
        missing = sorted(name for name in CORE if name not in health.workers or health.workers[name].state != "running")
        if not self._ready and not missing:
            self._ready = self._send("READY=1")
        status = f"waits for {', '.join(missing)}" if missing else "runs"
        if status != self._status:
            self._status = status
            self._send(f"STATUS={status}")
        if self._period_us is not None and now_us >= self._due_us:
            self._due_us = now_us + self._period_us
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        if self._address is not None:
            self._send("STOPPING=1")

    def _send(self, text: str) -> bool:
        assert self._address is not None
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.connect(address)
            manager.send(text.encode())
            return True
        return False
