"""The door over real TCP: CURVE, paired keys only, one-time codes, no replay, a limited rate."""

from __future__ import annotations

import itertools
import secrets
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import zmq

from edge_mer.bus import ZmqBus
from edge_mer.client import NoAnswer, SwitchClient, switch_client
from edge_mer.client.transports import CurveTransport
from edge_mer.config import Config
from edge_mer.contract import control
from edge_mer.contract.clock import SystemClock
from edge_mer.contract.control import Answer, Closed, Command, Exited, Pair, Relayed
from edge_mer.contract.errors import ConfigError, PrivacyError
from edge_mer.gateway.door import Door
from edge_mer.privacy.consent.consent_file import CONSENT_SCOPES
from edge_mer.privacy.consent_setup import agree
from edge_mer.privacy.keys.identity import Identity, new_identity
from edge_mer.privacy.keys.keyring import Keyring, PairedKey
from edge_mer.privacy.keys.pairing import Link, link_to, open_pairing, proof, read_link, server_curve
from edge_mer.privacy.switch.remote import open_remote
from edge_mer.privacy.switch.switch import Switch, SwitchInputs
from tests.switch_bench import TODAY

CLOCK = SystemClock()


class Host:
    """A switch with its TCP plane on loopback, in a thread; phones keep their keys in ``phones``."""

    def __init__(self, place: Path) -> None:
        self.state, self.phones = place / "state", place / "phones"
        agree(str(self.state), CONSENT_SCOPES, "Anna", TODAY)
        (place / "run").mkdir(mode=0o700)
        self.phones.mkdir(mode=0o700)
        config = Config.model_validate(
            {"privacy": {"state": str(self.state)}, "remote": {"listen": "tcp://127.0.0.1:*"}}
        )
        self.bus = ZmqBus(place / "run")
        self.switch = Switch(config, self.bus, inputs=SwitchInputs(remote=open_remote(config, self.bus)))
        self.door = Door(config, self.bus)
        self.address = self.door.address
        self.host = self.switch.host
        self.is_door_stopped = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._turns)
        self._thread.start()
        self._clients: list[SwitchClient] = []

    def _turns(self) -> None:
        while not self._stop.is_set():
            self.switch.turn()
            if not self.is_door_stopped:
                self.door.turn()
            self.bus.wait(2_000 if self.is_door_stopped else 20_000)

    def identity(self, name: str) -> Identity:
        return new_identity(self.phones, name)

    def client(self, identity: Identity, server: str = "") -> SwitchClient:
        found = SwitchClient.remote(identity, Link(self.address, self.host, server or self._curve(), ""))
        self._clients.append(found)
        return found

    def _curve(self) -> str:
        return server_curve(self.state)[0].decode()

    def paired(self, name: str = "phone", role: str = "phone") -> tuple[Identity, SwitchClient]:
        identity = self.identity(name)
        Keyring(self.state).add(PairedKey(name, role, identity.signing, identity.content.curve_public, "today"))  # type: ignore[arg-type]
        return identity, self.client(identity)

    def pairing(self, role: str = "phone") -> Link:
        opened = open_pairing(self.state, "phone", role, CLOCK, self._boot_id())  # type: ignore[arg-type]
        return link_to(self.state, self.address, self.host, opened.code)

    def _boot_id(self) -> str:
        from edge_mer.contract.clock import host_boot_id

        return host_boot_id()

    def requested(self) -> dict[str, str]:
        return {m: s.requested for m, s in self.switch.states().items()}

    def wait_for(self, counter: str, seconds: float = 5) -> None:
        """Until the door has counted something there."""
        until = time.monotonic() + seconds
        while not self.door.counters[counter]:
            assert time.monotonic() < until, f"{counter} stays 0 for {seconds} s"
            self._stop.wait(0.01)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for client in self._clients:
            client.close()
        self.door.close()
        self.switch.close()
        self.bus.close()


@pytest.fixture
def host() -> Iterator[Host]:
    with tempfile.TemporaryDirectory(prefix="em", dir="/tmp") as place:
        running = Host(Path(place))
        try:
            yield running
        finally:
            running.close()


@contextmanager
def unanswered() -> Iterator[None]:
    """What is asked in here gets no answer, and is not waited for as long as one that comes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(switch_client, "REMOTE_PATIENCE_US", 700_000)
        with pytest.raises(NoAnswer, match="does not answer"):
            yield


def command(action: str, *modalities: str, **fields: object) -> Command:
    return Command(id=secrets.token_hex(8), action=action, modalities=modalities, **fields)  # type: ignore[arg-type]


def connection(client: SwitchClient) -> zmq.Socket[bytes]:
    """For what no client of ours sends."""
    transport = client._transport
    assert isinstance(transport, CurveTransport)
    return transport._socket


def test_a_paired_phone_masks_and_unmasks(host: Host) -> None:
    _, client = host.paired()
    assert client.unmask("audio").ok
    assert host.requested()["audio"] == "live"
    answer = client.ask(command("mask", "audio", requester="somebody else"))
    assert answer.ok
    assert answer.modalities["audio"].reason == "masked by phone", "it is named as it was paired"
    assert answer.receipts


def test_an_unknown_key_is_not_let_in(host: Host) -> None:
    with unanswered():
        host.client(host.identity("stranger")).mask("audio")
    host.wait_for("refused")


def test_without_curve_nobody_gets_in(host: Host) -> None:
    context = zmq.Context()
    plain = context.socket(zmq.DEALER)
    plain.setsockopt(zmq.LINGER, 0)
    plain.connect(host.address)
    plain.send(control.encode(command("mask", "audio")))
    assert not plain.poll(500)
    plain.close()
    context.term()
    with socket.create_connection(("127.0.0.1", int(host.address.rpartition(":")[2]))) as raw:
        raw.send(b"GET / HTTP/1.0\r\n\r\n")
    assert host.paired()[1].status().ok


def test_a_client_that_expects_another_server_gives_nothing_away(host: Host) -> None:
    identity, _ = host.paired()
    other = zmq.curve_keypair()[0].decode()
    with unanswered():
        host.client(identity, other).status()


def test_pairing_by_the_link(host: Host) -> None:
    link = read_link(host.pairing().text())
    identity = host.identity("phone")
    assert SwitchClient.pair(identity, link, "phone").text == "paired as phone (phone)"
    assert host.client(identity).unmask("video").ok
    second = host.identity("second")
    with unanswered():
        SwitchClient.pair(second, link, "second")


def test_three_wrong_codes_end_a_pairing(host: Host) -> None:
    link = host.pairing()
    wrong = msgspec.structs.replace(link, code="0" * 10)
    guesser = host.identity("guesser")
    assert [SwitchClient.pair(guesser, wrong, "guesser").text for _ in range(3)] == [
        f"this is not the code; {n} tries are left" for n in (2, 1, 0)
    ]
    with unanswered():
        SwitchClient.pair(guesser, link, "guesser")
    assert len(Keyring(host.state).paired()) == 1


@pytest.mark.parametrize("odd", ["", "ä", "0" * 64])
def test_what_is_no_proof_pairs_nobody(host: Host, odd: str) -> None:
    host.pairing()
    phone = host.identity("phone")
    brought = Pair(id="p", name="phone", signing=phone.signing, curve=phone.content.curve_public, proof=odd)
    assert "not the code" in host.client(phone).ask(brought).text
    assert host.paired("other")[1].status().ok


def test_a_proof_made_for_other_keys_pairs_nobody(host: Host) -> None:
    link = host.pairing()
    thief, owner = host.identity("thief"), host.identity("owner")
    made = proof(link.code, link.curve, "phone", owner.signing, owner.content.curve_public)
    for signing, curve in ((thief.signing, thief.content.curve_public), (owner.signing, owner.content.curve_public)):
        answer = host.client(thief).ask(Pair(id="p", name="phone", signing=signing, curve=curve, proof=made))
        assert "not the code" in answer.text


def test_a_paired_hub_may_only_mask_by_default(host: Host) -> None:
    _, client = host.paired("hub", "hub")
    assert client.mask("audio").ok
    assert "hub.may_unmask" in client.unmask("audio").text


def test_a_replayed_or_reordered_command_is_refused(host: Host) -> None:
    identity, client = host.paired()
    first, second = (command("mask", "audio", counter=identity.next_counter(CLOCK.wall_us())) for _ in range(2))
    assert client.ask(second).ok
    late = client.ask(first)
    assert not late.ok
    assert "sent before, or came out of order" in late.text
    assert client.ask(second).ok, "the same command again gets the same answer"
    copied = client.ask(msgspec.structs.replace(second, id="another"))
    assert "sent before" in copied.text


def test_only_commands_come_through(host: Host) -> None:
    _, client = host.paired()
    for message in (
        Exited(name="camera", boot="x"),
        Closed(modality="video", name="camera", boot="", mask_epoch=99, closed_us=0, last_seq=None, handle_closed=True),
    ):
        connection(client).send(control.encode(message))
    assert client.status().ok
    assert host.door.counters["unexpected"] == 2


def test_a_revoked_key_is_out_though_its_connection_stands(host: Host) -> None:
    _, client = host.paired()
    assert client.status().ok
    _, other = host.paired("other")
    Keyring(host.state).revoke("phone")
    client._patience_us = 700_000
    with unanswered():
        client.status()
    assert other.status().ok
    host.wait_for("unexpected")


def test_a_flood_is_refused_but_masks_are_taken(host: Host) -> None:
    identity, client = host.paired()
    texts = []
    for _ in range(10):  # no more at a time than wait for a peer: what is beyond is dropped
        lot = [control.encode(command("status", counter=identity.next_counter(CLOCK.wall_us()))) for _ in range(50)]
        for frame in lot:
            connection(client).send(frame)
        for _ in lot:
            assert connection(client).poll(5000)
            answer = control.decode(connection(client).recv())
            assert isinstance(answer, Answer)
            texts.append(answer.text)
    assert any("too many commands" in t for t in texts)
    assert texts[0] == ""
    assert client.mask("audio").ok


@pytest.mark.parametrize("frames", [[b""], [b"\x00" * 100], [b"{}", b"{}"], [b"[" * 10_000]])
def test_garbage_is_dropped(host: Host, frames: list[bytes]) -> None:
    _, client = host.paired()
    connection(client).send_multipart(frames)
    assert client.status().ok
    assert host.door.counters["bad"] == 1


def test_a_message_of_too_many_frames_ends_the_connection(host: Host) -> None:
    _, hostile = host.paired("hostile")
    _, client = host.paired()
    assert hostile.status().ok
    connection(hostile).send_multipart([b"x" * 1000] * 20_000)
    host.wait_for("dropped")
    assert client.mask("audio").ok
    assert host.door.counters["bad"] == 0, "its frames never became a message"


def test_a_frame_that_is_too_long_ends_the_connection(host: Host) -> None:
    _, hostile = host.paired("hostile")
    _, client = host.paired()
    connection(hostile).send(b"[" * 50_000)
    assert client.status().ok
    assert host.door.counters["bad"] == 0


def test_a_client_with_an_identity_of_its_own_is_disconnected(host: Host) -> None:
    _, thief = host.paired("thief")
    connection(thief).disconnect(host.address)
    connection(thief).setsockopt(zmq.ROUTING_ID, b"victim")
    connection(thief).connect(host.address)
    with unanswered():
        thief._patience_us = 700_000
        thief.status()
    host.wait_for("dropped")


def test_the_door_can_neither_open_nor_speak_for_an_unpaired_key(host: Host) -> None:
    """What a door that was taken over can send to the switch."""
    identity, _ = host.paired()
    bus = ZmqBus(host.bus.directory)
    door = bus.client("door")
    forged = Identity.grant(host.identity("thief"), host.host, ("audio",), 10**6, CLOCK.wall_us())
    messages = [
        Relayed(id="no grant", key=identity.content.curve_public, message=command("unmask", "audio", counter=1)),
        Relayed(
            id="forged", key=identity.content.curve_public, message=command("unmask", "audio", counter=2, grant=forged)
        ),
        Relayed(id="resume", key=identity.content.curve_public, message=command("resume", "audio", counter=3)),
        Relayed(id="stranger", key="x" * 40, message=command("mask", "audio", counter=4)),
        Relayed(id="pair", key="x" * 40, message=Pair(id="p", name="me", signing="", curve="x" * 40, proof="0")),
    ]
    for message in (command("unmask", "audio"), *messages):
        door.send(message)
    answers: dict[str, Answer] = {}
    deadline = time.monotonic() + 5
    while len(answers) < 4 and time.monotonic() < deadline:
        bus.wait(100_000)
        while isinstance(answer := door.receive(), Answer):
            answers[answer.id] = answer
    bus.close()
    assert set(answers) == {"no grant", "forged", "resume", "pair"}
    assert not any(a.ok for a in answers.values())
    assert host.requested()["audio"] == "masked"
    assert host.switch.counters["remote.unexpected"] == 2


def test_only_the_door_names_a_requester(host: Host) -> None:
    identity, _ = host.paired()
    bus = ZmqBus(host.bus.directory)
    program = bus.client("switch")
    relayed = command("mask", "audio", counter=CLOCK.wall_us())
    program.send(Relayed(id="r", key=identity.content.curve_public, message=relayed))
    program.send(command("status"))
    bus.wait(5_000_000)
    answer = program.receive()
    assert isinstance(answer, Answer)
    assert answer.id != "r"
    assert host.switch.counters["unexpected"] == 1
    bus.close()


def test_masks_of_the_host_go_on_while_the_door_is_stopped(host: Host) -> None:
    _, client = host.paired()
    host.is_door_stopped = True
    program = ZmqBus(host.bus.directory)
    assert SwitchClient.on_bus(program).mask("audio").ok
    program.close()
    client._patience_us = 700_000
    with unanswered():
        client.status()
    host.is_door_stopped = False
    assert client.status().ok


def test_a_flood_of_masks_keeps_their_order_with_other_commands(host: Host) -> None:
    identity, client = host.paired()
    modalities = itertools.cycle(("audio", "video", "text"))
    flood = [command("mask", next(modalities), counter=identity.next_counter(CLOCK.wall_us())) for _ in range(80)]
    for message in flood:
        connection(client).send(control.encode(message))
    last = command("status", counter=identity.next_counter(CLOCK.wall_us()))
    connection(client).send(control.encode(last))
    answers: dict[str, Answer] = {}
    while len(answers) < 81:
        assert connection(client).poll(5000)
        answer = control.decode(connection(client).recv())
        assert isinstance(answer, Answer)
        answers[answer.id] = answer
    assert all(a.ok for a in answers.values()), "none came out of order"
    assert set(host.requested().values()) == {"masked"}


def test_secret_keys_are_private_files(host: Host) -> None:
    host.identity("phone")
    secret = [
        *host.state.glob("*.key"),
        *host.state.glob("*.curve"),
        *host.state.glob("identities/*"),
        *host.phones.glob("identities/*.key"),
    ]
    assert len(secret) >= 4
    assert {stat.S_IMODE(p.stat().st_mode) for p in secret} == {0o600}


@pytest.mark.parametrize("text", ["", "edge-mer:", "http://x|a|b|c", "edge-mer:a|b|c", "edge-mer:a|b||d"])
def test_what_is_no_link_is_said_to_be_none(text: str) -> None:
    with pytest.raises(PrivacyError, match="no pairing link"):
        read_link(text)


def test_an_address_that_cannot_be_bound_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    bus = ZmqBus(tmp_path / "run")
    state = {"privacy": {"state": str(tmp_path / "state")}, "remote": {"listen": "tcp://203.0.113.1:1"}}
    with pytest.raises(ConfigError, match=r"remote\.listen"):
        Door(Config.model_validate(state), bus)
    bus.close()


def test_by_default_nothing_listens(tmp_path: Path) -> None:
    assert Config().remote.listen is None
