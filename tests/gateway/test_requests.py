"""Requests over real TCP: describe, schema, status, mask, unmask with a grant; nothing else does anything."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_mer.client import PendingCommands
from edge_mer.contract.errors import BadMessage
from edge_mer.contract.services import SERVICES
from edge_mer.gateway.requests import server as requests
from edge_mer.gateway.requests.server import Request, _decoded
from edge_mer.privacy.keys.identity import Identity
from edge_mer.privacy.keys.keyring import Keyring
from tests.gateway.emotionml import from_emotionml
from tests.gateway.estimates import estimate
from tests.gateway.stage import Asker, Stage

PUBLIC = {t for t, s in SERVICES.items() if s.public}


def grant(stage: Stage, asker: Asker, identity: Identity, *modalities: str) -> dict[str, object]:
    host = asker.ask("describe")["result"]["host"]
    stage.until(lambda: stage.outlet.requests and "privacy" in stage.outlet.requests._last)
    epoch = asker.ask("status")["result"]["privacy"]["mask_epoch"]
    made = identity.grant(host, modalities, epoch, stage.world.clock.wall_us())  # type: ignore[arg-type]
    found: dict[str, object] = msgspec.to_builtins(made)
    return found


def requested(stage: Stage) -> dict[str, str]:
    assert stage.switch is not None
    return {m: s.requested for m, s in stage.switch.states().items()}


def test_describe_says_what_there_is(stage: Stage) -> None:
    said = stage.asker(stage.allow()).ask("describe")["result"]
    assert set(said["topics"]) == PUBLIC
    assert said["requests"] == ["describe", "emotionml", "iso30150", "mask", "schema", "status", "unmask"]
    assert stage.switch is not None
    assert said["host"] == stage.switch.host


def test_schemas_of_public_topics_only(stage: Stage) -> None:
    asker = stage.asker(stage.allow())
    assert set(asker.ask("schema")["result"]) == PUBLIC
    assert asker.ask("schema", topic="emotion")["result"]["emotion"]["$id"] == SERVICES["emotion"].schema
    refused = asker.ask("schema", topic="raw/audio")
    assert not refused["ok"]
    assert "no public topic" in refused["text"]


def test_the_next_estimate_in_the_forms_of_the_standards(stage: Stage) -> None:
    asker = stage.asker(stage.allow())
    for request in ("emotionml", "iso30150"):
        asker.send(request)

    def answered() -> bool:
        stage.say("emotion", estimate(label="sad", revision=0, final=False))
        return bool(asker.socket.poll(0))

    stage.until(answered)
    xml, iso = asker.reply(), asker.reply()
    assert from_emotionml(xml["result"]["document"])["label"] == "sad"
    seconds = from_emotionml(xml["result"]["document"])["wall_us"] / 1e6
    assert abs(seconds - stage.world.clock.wall_us() / 1e6) < 10
    assert iso["result"]["category"]["name"] == "sad"


def test_no_estimate_is_kept_for_those_who_ask_later(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "PATIENCE_US", 300_000)
    asker, heard = stage.asker(stage.allow()), stage.subscriber(stage.allow("other"), "emotion")
    stage.until(lambda: stage.say("emotion", estimate(revision=0, final=False)) or heard.topics())
    stage.say("emotion", estimate(revision=9, final=False))
    stage.until(lambda: heard.topics() and heard.got[-1][1]["revision"] == 9)  # nothing is on its way any more
    answer = asker.ask("emotionml")
    assert not answer["ok"]
    assert answer["text"] == "no estimate came"


def test_a_mask_is_answered_with_its_proof(stage: Stage) -> None:
    answer = stage.asker(stage.allow()).ask("mask", modalities=["video"])
    assert answer["ok"]
    assert answer["result"]["modalities"]["video"]["reason"] == "masked by lamp", "as it was allowed, not as it says"
    assert answer["result"]["receipts"]


def test_a_req_socket_is_answered_as_it_expects(stage: Stage) -> None:
    assert stage.asker(stage.allow(), zmq.REQ).ask("describe")["ok"]


def test_unmask_needs_a_grant_of_a_key_that_may(stage: Stage) -> None:
    hub = stage.allow("hub", "hub")
    asker = stage.asker(hub)
    assert "needs a grant" in asker.ask("unmask", modalities=["audio"])["text"]
    assert (
        "hub.may_unmask" in asker.ask("unmask", modalities=["audio"], grant=grant(stage, asker, hub, "audio"))["text"]
    )
    stage.may_unmask("audio")
    good = grant(stage, asker, hub, "audio")
    assert asker.ask("unmask", modalities=["audio"], grant=good)["ok"]
    assert requested(stage)["audio"] == "live"
    asker.ask("mask", modalities=["audio"])
    again = asker.ask("unmask", modalities=["audio"], grant=good)
    assert "used already" in again["text"]
    assert requested(stage)["audio"] == "masked"


def test_a_grant_of_another_client_opens_nothing(stage: Stage) -> None:
    stage.may_unmask("audio")
    stranger, asker = stage.allow("stranger", "hub"), stage.asker(stage.allow())
    made = grant(stage, asker, stranger, "audio")
    Keyring(stage.state).revoke("stranger")
    answer = asker.ask("unmask", modalities=["audio"], grant=made)
    assert "not paired" in answer["text"]
    assert requested(stage)["audio"] == "masked"


def test_status_is_what_was_last_said_and_not_ok_once_the_switch_is_silent(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker = stage.asker(stage.allow())
    stage.until(lambda: stage.outlet.requests and "privacy" in stage.outlet.requests._last)
    said = asker.ask("status")
    assert said["ok"]
    assert set(said["result"]["privacy"]["modalities"]) == {"audio", "video", "text"}
    assert stage.switch is not None
    stage.switch.close()
    stage.switch = None
    monkeypatch.setattr(requests, "STALE_US", 0)
    monkeypatch.setattr(PendingCommands, "patience_us", 100_000)
    silent = asker.ask("status")
    assert not silent["ok"]
    assert "silent" in silent["text"]
    assert "does not answer" in asker.ask("mask", modalities=["audio"])["text"]


def test_a_revoked_key_is_not_answered_any_more(stage: Stage) -> None:
    asker = stage.asker(stage.allow())
    assert asker.ask("describe")["ok"]
    Keyring(stage.state).revoke("lamp")
    asker.send("describe")
    stage.never(lambda: asker.socket.poll(0))


def test_without_curve_or_with_an_unknown_key_nobody_is_answered(stage: Stage) -> None:
    stranger = stage.allow("stranger")
    Keyring(stage.state).revoke("stranger")
    askers = [stage.asker(None), stage.asker(stranger)]
    for asker in askers:
        asker.send("describe")
    stage.never(lambda: any(a.socket.poll(0) for a in askers))


def test_a_flood_is_refused_but_masks_are_taken(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "RATE_HZ", 0)
    monkeypatch.setattr(requests, "BURST", 20)
    asker = stage.asker(stage.allow())
    for _ in range(90):
        asker.send("describe")
    replies = [asker.reply() for _ in range(90)]
    assert sum(not r["ok"] and "requests a second" in r["text"] for r in replies) == 70
    assert asker.ask("mask", modalities=["audio"])["ok"]


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"{"],
        [b"[]"],
        [b"\xff"],
        [b'{"id": "1", "request": "erase"}'],
        [b'{"request": "mask"}'],
        [b'{"id": "1", "request": "mask", "modalities": ["smell"]}'],
        [b'{"id": "1", "request": "status", "more": 1}'],
        [b'{"id": "1", "request": "mask", "for_s": -1}'],
        [b"[" * 9_000],
        [b"a", b"b", b"c"],
        [b"x" * 20_000],
    ],
    ids=lambda f: repr(f[0][:30]),
)
def test_malformed_requests_do_nothing_and_hurt_nobody(stage: Stage, frames: list[bytes]) -> None:
    client = stage.allow()
    bad, good = stage.asker(client), stage.asker(client)
    bad.socket.send_multipart(frames)
    assert good.ask("describe")["ok"]
    stage.until(lambda: stage.hub.counters["bad_request"] or len(frames[0]) > requests.LONGEST_REQUEST)
    if len(frames) == 1 and len(frames[0]) <= requests.LONGEST_REQUEST:
        assert not bad.reply()["ok"]
    else:  # nothing to answer to
        stage.never(lambda: bad.socket.poll(0))


@given(st.binary(max_size=300) | st.recursive(st.none() | st.text(max_size=5), st.lists).map(msgspec.json.encode))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_are_a_request_or_a_bad_message(frame: bytes) -> None:
    with suppress(BadMessage):
        assert isinstance(_decoded(frame), Request)
