"""This host's command line as one of the paired keys: it signs grants with the console's key."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from edge_mer.bus import Client, ZmqBus
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Answer, Command
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import EdgeMerError, PrivacyError
from edge_mer.contract.messages import PrivacyState
from edge_mer.host.files import shown_state_directory
from edge_mer.privacy.keys.host_key import public_key
from edge_mer.privacy.keys.identity import read_identity
from edge_mer.privacy.switch.root_socket import ask_as_root

ASK_US, ASK_AGAIN_US = 4 * SECOND, SECOND // 3
WHO = "the command line"


class LocalSwitch:
    """Asks the switch of the instance that ``bus`` reaches."""

    def __init__(self, bus: ZmqBus) -> None:
        self._bus = bus
        self._client: Client | None = None

    def ask(
        self,
        action: str,
        modalities: tuple[Modality, ...] = (),
        hard: bool = False,
        requester: str = WHO,
        for_s: int = 0,
    ) -> Answer:
        """Ask and wait for the answer. Raises EdgeMerError when the switch does not answer."""
        client = self._client = self._client or self._bus.client("switch")
        command = Command(
            id=secrets.token_hex(8), action=action, modalities=modalities, requester=requester, hard=hard, for_s=for_s
        )
        if action == "unmask":
            states = self._conversation(client, Command(id=secrets.token_hex(8), action="status")).modalities
            if os.geteuid() == 0 and any(states[m].requested == "hard" for m in modalities if m in states):
                return ask_as_root(self._bus.directory, command)
            command = self.granted(command, states)
        return self._conversation(client, command)

    def granted(self, command: Command, seen: Mapping[Modality, PrivacyState]) -> Command:
        """The command with a grant of the console's key, by somebody who ``seen`` what is masked now.

        Raises PrivacyError when this host has no console key.
        """
        directory = self._state_directory()
        identity, host = read_identity(directory), public_key(directory)
        if identity is None or host is None:
            raise PrivacyError(f"{directory} holds no key of this console; edge-mer run pairs it on its first start")
        epoch = max((s.mask_epoch for s in seen.values()), default=0)
        grant = identity.grant(host.public_bytes_raw().hex(), command.modalities, epoch, self._bus.clock.wall_us())
        return Command(
            id=command.id,
            action=command.action,
            modalities=command.modalities,
            requester=command.requester,
            grant=grant,
        )

    def _state_directory(self) -> Path:
        found = shown_state_directory(self._bus.directory)
        if found is None:
            raise PrivacyError(f"the privacy switch does not run in {self._bus.directory}; look at: edge-mer status")
        return found

    def _conversation(self, client: Client, command: Command) -> Answer:
        clock = self._bus.clock
        deadline, again = clock.now_us() + ASK_US, 0
        while (now := clock.now_us()) < deadline:
            if now >= again:
                again = now + ASK_AGAIN_US
                client.send(command)
            answer = client.receive()
            if isinstance(answer, Answer) and answer.id == command.id:
                return answer
            if answer is None:
                self._bus.wait(min(again, deadline) - now)
        raise EdgeMerError(
            f"the privacy switch did not answer within {ASK_US // SECOND} s, so NOTHING is known to be masked; look "
            "at: edge-mer status"
        )
