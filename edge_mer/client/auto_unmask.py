"""Unmasks once for the user who starts an instance, as soon as its switch answers."""

from __future__ import annotations

from edge_mer.bus import ZmqBus
from edge_mer.client.pending_commands import FOREVER_US, PendingCommands
from edge_mer.contract.control import Answer
from edge_mer.contract.domain import Modality


class AutoUnmask:
    """Call ``turn`` until ``done``; ``refusal`` is the reason of a failure. ``resume`` keeps masks that users set."""

    def __init__(self, bus: ZmqBus, modalities: tuple[Modality, ...], resume: bool = True) -> None:
        self.done = not modalities
        self.refusal = ""
        self._commands = PendingCommands.local(bus, "edge-mer run")
        self._commands.patience_us = FOREVER_US
        if modalities:
            self._commands.unmask(modalities, self._answered, resume=resume)

    def turn(self) -> None:
        if not self.done:
            self._commands.turn()
            if self.done:
                self._commands.close()  # late answers to repeated commands must not wake the bus

    def _answered(self, answer: Answer) -> None:
        self.done, self.refusal = True, "" if answer.ok else answer.text
