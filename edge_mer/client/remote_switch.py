"""A switch on another host, as a paired phone or hub reaches it: CURVE over TCP."""

from __future__ import annotations

import secrets

import zmq

from edge_mer.contract import control
from edge_mer.contract.clock import Clock
from edge_mer.contract.control import Answer, AnyControl, Command, Pair
from edge_mer.contract.errors import BadMessage, PrivacyError
from edge_mer.privacy.keys.identity import Identity
from edge_mer.privacy.keys.pairing import Link, proof

PATIENCE_MS = 5000


class RemoteSwitch:
    """One conversation of a phone or hub with a switch elsewhere. Raises PrivacyError when it does not answer."""

    def __init__(self, identity: Identity, address: str, server: str) -> None:
        self._context = zmq.Context()
        self._identity, self._address = identity, address
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.curve_publickey, self._socket.curve_secretkey = identity.curve
        self._socket.curve_serverkey = server.encode()
        self._socket.connect(address)

    def pair(self, link: Link, name: str) -> Answer:
        signing, curve = self._identity.signing, self._identity.content.curve_public
        made = proof(link.code, link.curve, name, signing, curve)
        return self.ask(Pair(id=secrets.token_hex(8), name=name, signing=signing, curve=curve, proof=made))

    def command(self, command: Command, clock: Clock) -> Answer:
        """Numbers the command and waits for its answer."""
        numbered = Command(
            id=command.id,
            action=command.action,
            modalities=command.modalities,
            requester=command.requester,
            grant=command.grant,
            hard=command.hard,
            for_s=command.for_s,
            counter=self._identity.next_counter(clock.wall_us()),
        )
        return self.ask(numbered)

    def ask(self, message: Pair | Command) -> Answer:
        self._socket.send(control.encode(message))
        while self._socket.poll(PATIENCE_MS):
            answer = self._decoded(self._socket.recv())
            if isinstance(answer, Answer) and answer.id == message.id:
                return answer
        raise PrivacyError(
            f"the switch at {self._address} does not answer: is it running, and are these keys paired with it?"
        )

    def _decoded(self, frame: bytes) -> AnyControl | None:
        try:
            return control.decode(frame)
        except BadMessage:
            return None

    def close(self) -> None:
        self._socket.close()
        self._context.term()
