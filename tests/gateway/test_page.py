"""Orders of the page over real HTTP, to a switch: masks, pairing, unmasking by the browser's own key."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import msgspec
import pytest

from edge_mer.client import PendingCommands
from edge_mer.config import Config
from edge_mer.contract.clock import SystemClock, host_boot_id
from edge_mer.host.limits import Budget
from edge_mer.host.processes import rows_for
from edge_mer.privacy.keys.identity import new_identity
from edge_mer.privacy.keys.keyring import Keyring
from edge_mer.privacy.keys.pairing import open_pairing
from tests.gateway.caller import Caller


def test_a_mask_is_answered_with_its_receipt(caller: Caller) -> None:
    caller.order("/mask", {"modalities": ["audio"]})  # by its end the switch knows this process
    answer = caller.order("/mask", {"modalities": ["video"]})
    assert answer["ok"]
    assert answer["receipts"]
    assert caller.stage.switch is not None
    assert caller.stage.switch.states()["video"].reason == "masked by the web page"
    got = caller.events(
        caller.look(), lambda e: any(t == "receipt" and r["number"] in answer["receipts"] for t, r in e)
    )
    assert "page" in got[-1][1]["purged"], "the mask waited for this process to forget"


def pairing(caller: Caller, code: str, identity: Any) -> dict[str, str]:
    host = caller.stage.switch.host  # type: ignore[union-attr]
    words = "\n".join((host, "page", identity.signing, "")).encode()
    return {"signing": identity.signing, "proof": hmac.new(code.encode(), words, hashlib.sha256).hexdigest()}


def granted(caller: Caller, identity: Any, *modalities: Any) -> dict[str, Any]:
    switch = caller.stage.switch
    assert switch is not None
    made = identity.grant(switch.host, modalities, max(switch.epochs().values()), SystemClock().wall_us())
    return {"modalities": modalities, "grant": msgspec.to_builtins(made)}


def test_only_a_browser_with_a_paired_key_unmasks_and_each_grant_once(caller: Caller) -> None:
    state = caller.stage.state
    identity = new_identity(caller.stage.clients, "browser")
    assert "needs a grant" in caller.order("/unmask", {"modalities": ["audio"]})["text"]
    assert "not paired" in caller.order("/unmask", granted(caller, identity, "audio"))["text"]
    code = open_pairing(state, "browser", "phone", SystemClock(), host_boot_id()).code
    assert "not the code" in caller.order("/pair", pairing(caller, "0" + code[1:] + "x", identity))["text"]
    assert "not the code" in caller.order("/pair", {**pairing(caller, code, identity), "proof": "ä"})["text"]
    assert caller.order("/pair", pairing(caller, code, identity))["ok"]
    assert not caller.order("/pair", pairing(caller, code, identity))["ok"], "a code works once"
    made = granted(caller, identity, "audio")
    assert caller.order("/unmask", made)["ok"]
    assert caller.requested()["audio"] == "live"
    caller.order("/mask", {"modalities": ["audio"]})
    assert "used already" in caller.order("/unmask", made)["text"]
    Keyring(state).revoke("browser")
    assert "not paired" in caller.order("/unmask", granted(caller, identity, "audio"))["text"]
    assert caller.requested()["audio"] == "masked"


def test_three_wrong_codes_end_a_pairing(caller: Caller) -> None:
    code = open_pairing(caller.stage.state, "browser", "phone", SystemClock(), host_boot_id()).code
    identity = new_identity(caller.stage.clients, "browser")
    for _ in range(3):
        assert not caller.order("/pair", pairing(caller, "wrong", identity))["ok"]
    assert not caller.order("/pair", pairing(caller, code, identity))["ok"]
    assert {k.name for k in Keyring(caller.stage.state).paired()} == {"console"}


def test_pairing_when_nobody_opened_one(caller: Caller) -> None:
    identity = new_identity(caller.stage.clients, "browser")
    assert "no pairing is open" in caller.order("/pair", pairing(caller, "", identity))["text"]


def test_a_switch_that_is_gone_is_said(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PendingCommands, "patience_us", 100_000)
    assert caller.stage.switch is not None
    caller.stage.switch.close()
    caller.stage.switch = None
    assert "does not answer" in caller.order("/mask", {"modalities": ["audio"]})["text"]


def test_a_flood_of_grants_is_refused_but_masks_are_taken(caller: Caller) -> None:
    caller.outlet._unmasks = Budget(0, 20)
    asked = [caller.start("POST", "/unmask", {"modalities": ["audio"]}) for _ in range(40)]
    caller.until(lambda: all(a.done() for a in asked))
    assert sum(b"grants a second" in a.result()[2] for a in asked) == 20
    assert caller.order("/mask", {"modalities": ["audio"]})["ok"]


def test_off_by_default() -> None:
    assert "page" not in {row.name for row in rows_for(Config())}
    assert "page" in {row.name for row in rows_for(Config.model_validate({"page": {"address": "http://127.0.0.1:1"}}))}
