"""A mask of the house: proven by every room or not at all, repeated, and never an opening."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edge_mer.contract.errors import PrivacyError
from edge_mer.contract.house import HeardVoice
from edge_mer.gateway.house.mask import DAMAGED
from edge_mer.gateway.house.node import house_identity
from edge_mer.gateway.house.proof import FILE, joint_receipts
from edge_mer.gateway.house.room import Room
from edge_mer.privacy.keys.host_key import host_key
from edge_mer.privacy.keys.keyring import Keyring
from tests.gateway.house.stage import KEY, HouseStage

Make = Callable[..., HouseStage]
ROOMS = ("kitchen", "bath", "hall")


def joint(house: HouseStage):  # type: ignore[no-untyped-def]
    return joint_receipts(house.state / FILE, host_key(house.state).public_key())


def test_house_mask_masks_every_room_and_holds_each_rooms_receipts(house: Make) -> None:
    found = house(*ROOMS)
    found.reachable()
    answer = found.answer("mask")
    assert answer.ok, answer.text
    assert all(room.requested() == {"masked"} for room in found.rooms.values())
    (receipt,) = joint(found)
    assert answer.receipts == (receipt.number,)
    assert set(receipt.rooms) == set(ROOMS)
    assert not receipt.missing
    for name, proof in receipt.rooms.items():
        assert proof.host == found.rooms[name].address.host
        assert {r.modality for r in proof.receipts} == {"audio", "video", "text"}
        assert {r.requester for r in proof.receipts} == {KEY}


def test_room_that_does_not_answer_is_named_and_masked_when_it_is_back(house: Make) -> None:
    found = house(*ROOMS)
    found.reachable()
    found.rooms["bath"].is_stopped = True
    answer = found.answer("mask")
    assert not answer.ok
    assert answer.text.startswith("bath: it ")
    assert found.rooms["kitchen"].requested() == {"masked"}
    assert found.saved()["state"] == "pending"
    found.rooms["bath"].is_stopped = False
    found.until(lambda: found.saved()["state"] == "proven")
    assert found.rooms["bath"].requested() == {"masked"}
    assert set(joint(found)[-1].rooms) == set(ROOMS)


def test_withdrawn_mask_is_repeated_no_more_and_opens_nothing(house: Make) -> None:
    found = house("kitchen", "bath")
    found.reachable()
    found.rooms["bath"].is_stopped = True
    assert not found.answer("mask").ok
    assert found.answer("withdraw").ok
    found.rooms["bath"].is_stopped = False
    found.until(lambda: found.shown and found.shown.rooms["bath"].reachable)
    assert found.rooms["kitchen"].requested() == {"masked"}
    assert found.rooms["bath"].requested() == {"live"}
    (receipt,) = joint(found)
    assert set(receipt.rooms) == {"kitchen"}
    assert set(receipt.missing) == {"bath"}
    assert not found.answer("withdraw").ok


def test_house_cannot_unmask_in_any_way(house: Make) -> None:
    found = house("kitchen")
    found.reachable()
    found.answer("mask")
    for action in ("unmask", "resume", "status"):
        assert not found.answer(action).ok
    address = found.rooms["kitchen"].address
    room = Room("kitchen", address, house_identity(found.config), found.person)
    grant = {
        "kind": "grant",
        "key": "0" * 64,
        "host": address.host,
        "counter": 1,
        "mask_epoch": 99,
        "modalities": ["audio"],
    }
    found.until(lambda: room.ask("unmask", modalities=["audio"], grant=grant))
    ((_, _, reply),) = found.until(room.replies)
    assert not reply.ok
    assert found.rooms["kitchen"].requested() == {"masked"}


def test_mask_survives_the_end_of_the_house_between_command_and_receipts(house: Make) -> None:
    found = house("kitchen", "bath")
    found.reachable()
    for room in found.rooms.values():
        room.is_stopped = True
    found.ask("mask")
    found.until(lambda: (found.state / "house.json").exists())
    found.kill()
    for room in found.rooms.values():
        room.is_stopped = False
        assert room.requested() == {"live"}
    found.start()
    found.until(lambda: found.saved()["state"] == "proven")
    assert all(room.requested() == {"masked"} for room in found.rooms.values())


@pytest.mark.parametrize("content", [b"", b"{", b"\0" * 100, b'{"id":"x"}'])
def test_damaged_state_masks_every_room(house: Make, content: bytes) -> None:
    found = house("kitchen")
    found.reachable()
    found.kill()
    (found.state / "house.json").write_bytes(content)
    found.start()
    found.until(lambda: found.rooms["kitchen"].requested() == {"masked"})
    found.until(lambda: found.saved()["state"] == "proven")
    assert found.saved()["requester"] == DAMAGED


def test_lost_state_opens_nothing(house: Make) -> None:
    found = house("kitchen")
    found.reachable()
    assert found.answer("mask").ok
    found.kill()
    (found.state / "house.json").unlink()
    found.start()
    found.reachable()
    assert found.rooms["kitchen"].requested() == {"masked"}


def test_proven_mask_is_not_asked_again_after_a_restart(house: Make) -> None:
    found = house("kitchen")
    found.reachable()
    assert found.answer("mask").ok
    found.rooms["kitchen"].unmask()
    found.kill()
    found.start()
    found.reachable()
    assert found.rooms["kitchen"].requested() == {"live"}


def test_room_that_is_masked_already_proves_it_anew(house: Make) -> None:
    found = house("kitchen")
    found.reachable()
    first, second = found.answer("mask"), found.answer("mask")
    assert first.ok
    assert second.ok
    one, two = (r.rooms["kitchen"] for r in joint(found))
    assert one.receipts == two.receipts
    assert one.holds.challenge != two.holds.challenge


def test_guests_mask_ends_by_itself_in_the_rooms(house: Make) -> None:
    found = house("kitchen")
    found.reachable()
    assert found.answer("mask", for_s=3600).ok
    switch = found.rooms["kitchen"].switch
    assert switch is not None
    (until,) = {s.until_us for s in switch.states().values()}
    assert until is not None
    assert 3590 < (until - found.bus.clock.wall_us()) / 1e6 <= 3600
    assert found.shown is not None
    found.until(lambda: found.shown and found.shown.rooms["kitchen"].until_us == until)


def test_flood_of_commands_is_answered_and_leaves_few_rounds(house: Make) -> None:
    found = house("kitchen", "bath")
    found.reachable()
    asked = [found.ask("mask", for_s=60 + n) for n in range(50)]
    answers = [found.until(a) for a in asked]
    assert all(a.ok for a in answers), [a.text for a in answers if not a.ok]
    assert len(joint(found)) < 10


def test_removed_room_keeps_a_pending_mask_from_being_proven(house: Make) -> None:
    found = house("kitchen", "bath")
    found.reachable()
    found.rooms["bath"].is_stopped = True
    assert not found.answer("mask").ok
    found.kill()
    rooms = {"kitchen": found.rooms["kitchen"].address.text()}
    found.config = found.config.model_copy(update={"house": found.config.house.model_copy(update={"rooms": rooms})})
    found.start()
    found.until(lambda: found.shown and found.shown.mask and list(found.shown.mask.missing) == ["bath"])
    assert found.shown is not None
    assert found.shown.mask is not None
    assert found.shown.mask.missing["bath"].startswith("it is no longer in house.rooms")
    assert found.answer("withdraw").ok


def test_two_houses_mask_one_room_and_each_has_its_own_proof(house: Make) -> None:
    found = house("kitchen")
    other = house()
    other.rooms = found.rooms
    other.config = other.configured(other.state)
    other.admit(found.rooms["kitchen"], other.config, "other")
    other.kill()
    other.start()
    found.reachable()
    other.reachable()
    assert found.answer("mask", for_s=600).ok
    assert other.answer("mask").ok
    assert len(joint(found)) == len(joint(other)) == 1
    assert found.rooms["kitchen"].requested() == {"masked"}
    other.rooms = {}


def test_revoked_house_masks_no_more_and_says_so(house: Make) -> None:
    found = house("kitchen")
    found.reachable()
    Keyring(found.rooms["kitchen"].state).revoke(KEY)
    assert not found.answer("mask").ok


def test_changed_joint_receipt_is_found(house: Make) -> None:
    found = house("kitchen")
    found.reachable()
    found.answer("mask")
    path = found.state / FILE
    path.write_bytes(path.read_bytes().replace(b'"requester":"test"', b'"requester":"anna"'))
    with pytest.raises(PrivacyError, match="not what this house signed"):
        joint(found)


def test_mask_of_a_room_takes_its_voices_and_leaves_those_of_others(house: Make) -> None:
    found = house("kitchen", "bath")
    found.reachable()
    now = found.bus.clock.now_us()
    for name in ("kitchen", "attic"):
        found.node._voices.append(HeardVoice(name, None, now - 1000, now, 100_000, {name: -20}, "happy"))
    found.until(lambda: found.shown and len(found.shown.voices) == 2)
    assert found.answer("mask").ok
    found.until(lambda: found.shown and [v.levels for v in found.shown.voices] == [{"attic": -20}])


def test_guests_mask_that_is_not_proven_by_its_end_is_withdrawn(house: Make) -> None:
    found = house("kitchen", "bath")
    found.reachable()
    found.rooms["bath"].is_stopped = True
    found.ask("mask", for_s=3)
    found.until(lambda: (found.state / "house.json").exists() and found.saved()["state"] == "withdrawn")
    assert set(joint(found)[-1].missing) == {"bath"}
