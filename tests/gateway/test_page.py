"""Commands of the page over real HTTP to a switch: masks, pairing, unmasking with the browser's own key."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import msgspec
import pytest

from edge_mer.client import PendingCommands
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, SystemClock, host_boot_id
from edge_mer.events import corrections
from edge_mer.host.limits import Budget
from edge_mer.host.processes import rows_for
from edge_mer.privacy.keys.identity import new_identity
from edge_mer.privacy.keys.keyring import Keyring
from edge_mer.privacy.keys.pairing import open_pairing
from edge_mer.privacy.switch.state import Asked, Holding
from tests.gateway.caller import Caller, has_topic


def test_mask_is_answered_with_its_receipt(caller: Caller) -> None:
    caller.post("/mask", {"modalities": ["audio"]})  # afterwards the switch knows this process
    answer = caller.post("/mask", {"modalities": ["video"]})
    assert answer["ok"]
    assert answer["receipts"]
    assert caller.stage.switch is not None
    assert caller.stage.switch.states()["video"].reason == "masked by the web page"
    got = caller.events(
        caller.open_stream(), lambda e: any(t == "receipt" and r["number"] in answer["receipts"] for t, r in e)
    )
    assert "page" in got[-1][1]["purged"], "the mask waited until this process deleted its data"


def test_page_is_told_the_room(caller: Caller) -> None:
    assert caller.events(caller.open_stream(), bool)[0][1]["room"] == caller.outlet._stamp.room


def test_guest_mask_can_be_made_longer_and_lasting_but_not_shorter(caller: Caller) -> None:
    def end() -> int | None:
        assert caller.stage.switch is not None
        mask = caller.stage.switch.policy.asked["video"].mask
        assert mask is not None
        return mask.until and mask.until.wall_us

    assert caller.stage.switch is not None
    caller.stage.switch.policy.asked["video"] = Asked(None, Holding("console", ""))
    ends = []
    for seconds in (7200, 10800, 3600, 0, 3600):
        assert caller.post("/mask", {"modalities": ["video"], "for_s": seconds})["ok"]
        ends.append(end())
    assert ends[0] is not None
    assert ends[1] is not None
    assert ends[1] - ends[0] >= 3600 * SECOND
    assert ends[2:] == [ends[1], None, None]


def pairing(caller: Caller, code: str, identity: Any) -> dict[str, str]:
    host = caller.stage.switch.host  # type: ignore[union-attr]
    signed = "\n".join((host, "page", identity.signing, "")).encode()
    return {"signing": identity.signing, "proof": hmac.new(code.encode(), signed, hashlib.sha256).hexdigest()}


def granted(caller: Caller, identity: Any, *modalities: Any) -> dict[str, Any]:
    switch = caller.stage.switch
    assert switch is not None
    command = identity.grant(switch.host, modalities, max(switch.epochs().values()), SystemClock().wall_us())
    return {"modalities": modalities, "grant": msgspec.to_builtins(command)}


def test_a_person_is_masked_freely_and_unmasked_by_a_grant(caller: Caller) -> None:
    assert caller.post("/mask", {"modalities": [], "persons": ["all"]})["ok"]
    assert "needs a grant" in caller.post("/unmask", {"modalities": [], "persons": ["all"]})["text"]
    assert "no person in view" in caller.post("/mask", {"modalities": [], "persons": ["Anna"]})["text"]
    identity, switch = new_identity(caller.stage.clients, "browser"), caller.stage.switch
    assert switch is not None
    code = open_pairing(caller.stage.state, "browser", "phone", SystemClock(), host_boot_id()).code
    assert caller.post("/pair", pairing(caller, code, identity))["ok"]
    grant = identity.grant(switch.host, (), switch.people_epoch(), SystemClock().wall_us(), ("all",))
    command = {"modalities": [], "persons": ["all"], "grant": msgspec.to_builtins(grant)}
    assert caller.post("/unmask", command)["ok"]
    assert "used already" in caller.post("/unmask", command)["text"]


def test_unmask_needs_a_paired_key_and_an_unused_grant(caller: Caller) -> None:
    state = caller.stage.state
    identity = new_identity(caller.stage.clients, "browser")
    assert "needs a grant" in caller.post("/unmask", {"modalities": ["audio"]})["text"]
    assert "not paired" in caller.post("/unmask", granted(caller, identity, "audio"))["text"]
    code = open_pairing(state, "browser", "phone", SystemClock(), host_boot_id()).code
    assert "not the code" in caller.post("/pair", pairing(caller, "0" + code[1:] + "x", identity))["text"]
    assert "not the code" in caller.post("/pair", {**pairing(caller, code, identity), "proof": "ä"})["text"]
    assert caller.post("/pair", pairing(caller, code, identity))["ok"]
    assert not caller.post("/pair", pairing(caller, code, identity))["ok"], "a code works once"
    command = granted(caller, identity, "audio")
    assert caller.post("/unmask", command)["ok"]
    assert caller.requested()["audio"] == "live"
    caller.post("/mask", {"modalities": ["audio"]})
    assert "used already" in caller.post("/unmask", command)["text"]
    Keyring(state).revoke("browser")
    assert "not paired" in caller.post("/unmask", granted(caller, identity, "audio"))["text"]
    assert caller.requested()["audio"] == "masked"


def test_three_wrong_codes_end_the_pairing(caller: Caller) -> None:
    code = open_pairing(caller.stage.state, "browser", "phone", SystemClock(), host_boot_id()).code
    identity = new_identity(caller.stage.clients, "browser")
    for _ in range(3):
        assert not caller.post("/pair", pairing(caller, "wrong", identity))["ok"]
    assert not caller.post("/pair", pairing(caller, code, identity))["ok"]
    assert {k.name for k in Keyring(caller.stage.state).paired()} == {"console"}


def test_pairing_without_open_pairing_is_refused(caller: Caller) -> None:
    identity = new_identity(caller.stage.clients, "browser")
    assert "no pairing is open" in caller.post("/pair", pairing(caller, "", identity))["text"]


def test_missing_switch_is_reported(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PendingCommands, "patience_us", 100_000)
    assert caller.stage.switch is not None
    caller.stage.switch.close()
    caller.stage.switch = None
    assert "does not answer" in caller.post("/mask", {"modalities": ["audio"]})["text"]


def test_excess_grants_are_refused_but_masks_are_accepted(caller: Caller) -> None:
    caller.outlet._unmasks = Budget(0, 20)
    responses = [caller.start("POST", "/unmask", {"modalities": ["audio"]}) for _ in range(40)]
    caller.until(lambda: all(a.done() for a in responses))
    assert sum(b"grants a second" in a.result()[2] for a in responses) == 20
    assert caller.post("/mask", {"modalities": ["audio"]})["ok"]


def test_page_is_off_by_default() -> None:
    assert "page" not in {row.name for row in rows_for(Config())}
    assert "page" in {row.name for row in rows_for(Config.model_validate({"page": {"address": "http://127.0.0.1:1"}}))}


def test_an_event_is_called_wrong_and_that_is_taken_back(caller: Caller) -> None:
    assert caller.post("/event/wrong", {"event": "sad-a-5"})["ok"]
    assert corrections.read(caller.stage.state).wrong == ("sad-a-5",)
    assert caller.post("/event/wrong", {"event": "sad-a-5", "wrong": False})["ok"]
    assert corrections.read(caller.stage.state).wrong == ()
    assert "no event" in caller.post("/event/wrong", {"event": "../x"})["text"]


def test_a_new_viewer_sees_events_since_the_last_mask(caller: Caller) -> None:
    first = caller.open_stream()
    caller.stage.publish("event")
    caller.events(first, has_topic("event"))
    late = caller.open_stream()
    caller.events(late, has_topic("event"))
    caller.outlet.forget(("audio",), 1)
    assert not [m for m in caller.outlet.greeting()[1] if m.topic == "event"]
