"""A room that lies, floods or is slow: it proves nothing for itself or another, and delays no other room."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import zmq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_mer.contract.control import HeldMask, Holds
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.house import Voice
from edge_mer.contract.messages import ClockReport, Privacy, PrivacyState, Receipt
from edge_mer.contract.room_address import RoomAddress
from edge_mer.contract.services import SERVICES
from edge_mer.gateway.house.proof import RoomProof, fault_of
from edge_mer.privacy.keys.signing import public_hex, sign
from tests.gateway.house.stage import HouseStage

Make = Callable[..., HouseStage]
OWN, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
CHALLENGE = "c" * 32


def receipt(key: Ed25519PrivateKey, number: int, modality: Any, epoch: int = 9, **fields: Any) -> Receipt:
    made = Receipt(
        number=number,
        modality=modality,
        gate="masked",
        mask_epoch=epoch,
        requester="house",
        requested_us=1,
        closed_us=2,
        purged_us=3,
        wall_offset_us=0,
        boot_id="b",
        last_seq=None,
        purged=(),
        handle_closed=True,
        checks=(),
        previous="",
        signature="",
    )
    return sign(key, msgspec.structs.replace(made, **fields))


def proof(key: Ed25519PrivateKey = OWN, challenge: str = CHALLENGE, **fields: Any) -> RoomProof:
    receipts = tuple(receipt(key, n, m, **fields) for n, m in enumerate(MODALITIES))
    held = {r.modality: HeldMask(r.gate, r.mask_epoch, r.number) for r in receipts}
    return RoomProof(public_hex(key), sign(key, Holds(challenge=challenge, boot_id="b", modalities=held)), receipts)


def fault(given: RoomProof) -> str:
    return fault_of(given, frozenset({CHALLENGE}), public_hex(OWN)) or ""


def test_honest_proof_has_no_fault() -> None:
    assert not fault(proof())


def test_every_lie_is_named() -> None:
    good, other = proof(), proof(OTHER)
    replace = msgspec.structs.replace
    masks = good.holds.modalities

    def holds(key: Ed25519PrivateKey = OWN, **fields: Any) -> RoomProof:
        return replace(good, holds=sign(key, replace(good.holds, **fields)))

    assert "not signed" in fault(other)  # another room's proof
    assert "not signed" in fault(replace(other, host=public_hex(OWN)))
    assert "not signed" in fault(holds(OTHER))
    assert "not signed" in fault(replace(good, holds=replace(good.holds, challenge="d" * 32)))
    assert "another command" in fault(proof(challenge="old"))
    assert "no receipt for text" in fault(replace(good, receipts=good.receipts[:2]))
    assert "no receipt for audio" in fault(holds(modalities={m: h for m, h in masks.items() if m != "audio"}))
    assert "no receipt for audio" in fault(holds(modalities=masks | {"audio": HeldMask("live", 9, 0)}))
    assert "is not signed" in fault(replace(good, receipts=(other.receipts[0], *good.receipts[1:])))
    assert "another mask" in fault(holds(modalities=masks | {"audio": HeldMask("masked", 10, 0)}))  # an older receipt
    assert "another mask" in fault(holds(modalities=masks | {"audio": masks["video"]}))
    assert "not closed" in fault(proof(handle_closed=False))


class FakeRoom:
    """A room's sockets with its CURVE keys; a test says what it sends. ``reply`` makes the result of a mask."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        public, secret = zmq.curve_keypair()
        self.publisher, self.requests = self._bound(zmq.XPUB, secret), self._bound(zmq.ROUTER, secret)
        places = [s.getsockopt_string(zmq.LAST_ENDPOINT) for s in (self.publisher, self.requests)]
        self.address = RoomAddress(*places, public_hex(OWN), public.decode())
        self.reply: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda request: None
        self.seq = 0

    def _bound(self, kind: int, secret: bytes) -> zmq.Socket[bytes]:
        socket = self.context.socket(kind)
        socket.curve_server, socket.curve_secretkey, socket.linger = True, secret, 0
        socket.bind("tcp://127.0.0.1:*")
        return socket

    def send(self, topic: str, body: Any, created_us: int, source: str = "x", ahead_us: int = 0) -> None:
        head = {"schema": SERVICES[topic].schema, "source": source, "boot": "b", "seq": self.seq}
        times = {"origin_us": created_us + ahead_us, "created_us": created_us}
        self.seq += 1
        header = msgspec.json.encode({**head, **times, **msgspec.to_builtins(body)})
        self.publisher.send_multipart([topic.encode(), header])

    def turn(self) -> None:
        while self.requests.poll(0):
            peer, data = self.requests.recv_multipart()
            request = msgspec.json.decode(data)
            result = self.reply(request) if request["request"] == "mask" else {}
            if result is not None:
                answer = {"id": request["id"], "ok": True, "text": "", "result": result}
                self.requests.send_multipart([peer, msgspec.json.encode(answer)])

    def close(self) -> None:
        self.context.destroy(linger=0)


@pytest.fixture
def lied(house: Make) -> Any:
    """A house of an honest kitchen and a cellar that a test plays."""
    found, cellar = house("kitchen"), FakeRoom()
    rooms = {**found.config.house.rooms, "cellar": cellar.address.text()}
    found.kill()
    found.config = found.config.model_copy(update={"house": found.config.house.model_copy(update={"rooms": rooms})})
    found.start()
    turn = found.turn

    def both() -> None:
        turn()
        cellar.turn()

    found.turn = both  # type: ignore[method-assign]
    found.until(lambda: found.shown and found.shown.rooms["kitchen"].reachable)
    yield found, cellar
    cellar.close()


def as_result(given: RoomProof) -> dict[str, Any]:
    return {"holds": msgspec.to_builtins(given.holds), "proofs": msgspec.to_builtins(given.receipts)}


def test_lying_room_keeps_the_house_unproven_and_is_named(lied: Any) -> None:
    found, cellar = lied
    lies: dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
        "another command": lambda r: as_result(proof()),
        "not signed": lambda r: as_result(proof(OTHER, r["challenge"])),
        "no proof": lambda r: {},
        "does not answer": lambda r: None,
    }
    for text, cellar.reply in lies.items():
        answer = found.answer("mask")
        assert not answer.ok
        assert answer.text.startswith("cellar: ")
        assert text in answer.text
        assert found.rooms["kitchen"].requested() == {"masked"}
        assert found.answer("withdraw").ok
    cellar.reply = lambda r: as_result(proof(OWN, r["challenge"]))
    assert found.answer("mask").ok


def test_answer_that_is_late_counts_and_one_of_another_mask_does_not(lied: Any) -> None:
    found, cellar = lied
    asked: list[str] = []
    cellar.reply = lambda r: asked.append(r["challenge"])
    assert not found.answer("mask").ok
    assert found.answer("withdraw").ok
    old = asked[0]
    cellar.reply = lambda r: as_result(proof(OWN, old))
    assert not found.answer("mask").ok
    asked.clear()
    late: list[dict[str, Any]] = []

    def two_rounds_late(request: dict[str, Any]) -> dict[str, Any] | None:
        late.append(as_result(proof(OWN, request["challenge"])))
        return late.pop(0) if len(late) > 2 else None

    cellar.reply = two_rounds_late
    found.until(lambda: found.saved()["state"] == "proven")


def test_clock_that_is_wrong_by_hours_changes_nothing(lied: Any) -> None:
    found, cellar = lied
    cellar.reply = lambda r: as_result(proof(OWN, r["challenge"]))
    states = {m: PrivacyState("masked", "masked", 0, 9, None, None) for m in MODALITIES}
    # No time below 0, on a host that has just started.
    hours = min(5 * 3600 * 1_000_000, found.bus.clock.now_us() // 3)

    def publish() -> Any:
        now = found.bus.clock.now_us() - hours
        cellar.send("clock", ClockReport(boot_id="b", offset_us=-hours, uncertainty_us=1), now)
        cellar.send("privacy", Privacy(mask_epoch=9, modalities=states), now)
        cellar.send("voice", Voice(levels=(-20,) * 5, mask_epoch=9), now - 500_000)
        return found.shown and found.shown.rooms["cellar"].reachable and found.shown.rooms["cellar"].uncertainty_us

    found.until(publish)
    found.until(lambda: publish() and any(e.body.inputs for e in found.entries))
    assert found.answer("mask").ok
    assert not found.node.counters["bad_time"]
    for ahead in (hours, -hours):  # times that do not even fit the room's own clock

        def lie(ahead: int = ahead, before: int = found.node.counters["bad_time"]) -> bool:
            now = found.bus.clock.now_us() - hours
            cellar.send("privacy", Privacy(mask_epoch=9, modalities=states), now)
            cellar.send("voice", Voice(levels=(-20,) * 5, mask_epoch=9), now, "x", ahead)
            return found.node.counters["bad_time"] > before

        found.until(lie)


def test_flooding_room_delays_no_other(lied: Any) -> None:
    found, cellar = lied
    cellar.reply = lambda r: as_result(proof(OWN, r["challenge"]))
    turn, states = found.turn, {m: PrivacyState("live", "live", 0, 9, None, None) for m in MODALITIES}

    def flood() -> None:
        turn()
        for n in range(300):
            cellar.send("privacy", Privacy(mask_epoch=9, modalities=states), found.bus.clock.now_us(), f"s{cellar.seq}")
            if n % 3 == 0:
                cellar.publisher.send_multipart([b"emotion", b"{" * 100])

    found.turn = flood
    found.until(lambda: found.node.counters["cellar.flood"] > 100)
    before = time.monotonic()
    assert found.answer("mask").ok
    assert time.monotonic() - before < 3
    assert len(found.node._rooms["cellar"].reader._next) < 1000


def test_house_with_a_key_that_the_room_does_not_know_is_told_so(house: Make) -> None:
    found = house("kitchen")
    found.kill()
    (found.state / "identities" / "house.key").unlink()
    found.start()
    answer = found.answer("mask")
    assert not answer.ok
    assert answer.text == "kitchen: it cannot be reached"
    assert found.shown is not None
    assert not found.shown.rooms["kitchen"].reachable
