"""Unmasks for the person who starts an instance: once, as soon as its switch speaks."""

from __future__ import annotations

import secrets

from edge_mer.bus import ZmqBus
from edge_mer.client.local_switch import LocalSwitch
from edge_mer.client.snapshot import Snapshot
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Answer, Command
from edge_mer.contract.domain import Modality

AGAIN_US = SECOND


class AutoUnmask:
    """``turn`` until ``done``. ``action``: ``resume`` leaves masks that somebody asked for."""

    def __init__(self, bus: ZmqBus, modalities: tuple[Modality, ...], action: str = "resume") -> None:
        self.done = not modalities
        self.refusal = ""
        self._bus, self._modalities, self._action = bus, modalities, action
        self._client = bus.client("switch")
        self._again_us = 0

    def turn(self, picture: Snapshot) -> None:
        while not self.done and isinstance(answer := self._client.receive(), Answer):
            self.done, self.refusal = True, "" if answer.ok else answer.text
        now = self._bus.clock.now_us()
        if not self.done and picture.privacy is not None and now >= self._again_us:
            self._again_us = now + AGAIN_US
            command = Command(
                id=secrets.token_hex(8), action=self._action, modalities=self._modalities, requester="edge-mer run"
            )
            self._client.send(LocalSwitch(self._bus).granted(command, picture.privacy.modalities))
