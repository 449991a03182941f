"""Requests over real TCP: describe, schema, status, mask, unmask with a grant; other input has no effect."""

from __future__ import annotations

import time
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
from tests.gateway.stage import RequestClient, Stage

PUBLIC = {t for t, s in SERVICES.items() if s.public}


def grant(stage: Stage, client: RequestClient, identity: Identity, *modalities: str) -> dict[str, object]:
    host = client.request("describe")["result"]["host"]
    stage.until(lambda: stage.outlet.requests and "privacy" in stage.outlet.requests._last)
    epoch = client.request("status")["result"]["privacy"]["mask_epoch"]
    signed = identity.grant(host, modalities, epoch, stage.test_bus.clock.wall_us())  # type: ignore[arg-type]
    found: dict[str, object] = msgspec.to_builtins(signed)
    return found


def requested(stage: Stage) -> dict[str, str]:
    assert stage.switch is not None
    return {m: s.requested for m, s in stage.switch.states().items()}


def test_describe_lists_topics_and_requests(stage: Stage) -> None:
    response = stage.request_client(stage.allow()).request("describe")["result"]
    assert set(response["topics"]) == PUBLIC
    assert response["requests"] == ["describe", "emotionml", "iso30150", "mask", "schema", "status", "unmask"]
    assert stage.switch is not None
    assert response["host"] == stage.switch.host


def test_schema_serves_public_topics_only(stage: Stage) -> None:
    client = stage.request_client(stage.allow())
    assert set(client.request("schema")["result"]) == PUBLIC
    assert client.request("schema", topic="emotion")["result"]["emotion"]["$id"] == SERVICES["emotion"].schema
    refused = client.request("schema", topic="raw/audio")
    assert not refused["ok"]
    assert "no public topic" in refused["text"]


def test_next_estimate_is_served_in_both_standard_formats(stage: Stage) -> None:
    client = stage.request_client(stage.allow())
    for request in ("emotionml", "iso30150"):
        client.send(request)

    def answered() -> bool:
        stage.publish("emotion", estimate(label="sad", revision=0, final=False))
        return bool(client.socket.poll(0))

    stage.until(answered)
    xml, iso = client.reply(), client.reply()
    assert from_emotionml(xml["result"]["document"])["label"] == "sad"
    seconds = from_emotionml(xml["result"]["document"])["wall_us"] / 1e6
    assert abs(seconds - stage.test_bus.clock.wall_us() / 1e6) < 10
    assert iso["result"]["category"]["name"] == "sad"


def test_old_estimate_does_not_answer_a_request(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "PATIENCE_US", 300_000)
    client, subscriber = (
        stage.request_client(stage.allow()),
        stage.subscriber(stage.allow("other"), "emotion", "revision"),
    )
    stage.until(lambda: stage.publish("emotion", estimate(revision=0, final=False)) or subscriber.topics())
    stage.publish("emotion", estimate(revision=9, final=False))
    stage.until(
        lambda: subscriber.topics() and subscriber.received[-1][1]["revision"] == 9
    )  # no message is in transit any more
    answer = client.request("emotionml")
    assert not answer["ok"]
    assert answer["text"] == "no estimate arrived in time"


def test_mask_is_answered_with_receipts(stage: Stage) -> None:
    answer = stage.request_client(stage.allow()).request("mask", modalities=["video"])
    assert answer["ok"]
    assert answer["result"]["modalities"]["video"]["reason"] == "masked by lamp", (
        "the name of its paired key, not one that it sends"
    )
    assert answer["result"]["receipts"]


def test_req_socket_is_answered(stage: Stage) -> None:
    assert stage.request_client(stage.allow(), zmq.REQ).request("describe")["ok"]


def test_unmask_needs_a_grant_of_a_permitted_key(stage: Stage) -> None:
    hub = stage.allow("hub", "hub")
    client = stage.request_client(hub)
    assert "needs a grant" in client.request("unmask", modalities=["audio"])["text"]
    assert (
        "hub.may_unmask"
        in client.request("unmask", modalities=["audio"], grant=grant(stage, client, hub, "audio"))["text"]
    )
    stage.may_unmask("audio")
    good = grant(stage, client, hub, "audio")
    assert client.request("unmask", modalities=["audio"], grant=good)["ok"]
    assert requested(stage)["audio"] == "live"
    client.request("mask", modalities=["audio"])
    again = client.request("unmask", modalities=["audio"], grant=good)
    assert "used already" in again["text"]
    assert requested(stage)["audio"] == "masked"


def test_a_person_is_masked_by_anybody_and_unmasked_by_a_grant(stage: Stage) -> None:
    hub = stage.allow("hub", "hub")
    stage.may_unmask("video")
    client = stage.request_client(hub)
    masked = client.request("mask", persons=["all"])
    assert masked["ok"]
    assert masked["result"]["people"]["everybody"]
    assert not client.request("unmask", persons=["all"])["ok"]
    assert "no person in view" in client.request("mask", persons=["Anna"])["text"]
    host = client.request("describe")["result"]["host"]
    epoch = masked["result"]["people"]["mask_epoch"]
    signed = hub.grant(host, (), epoch, stage.test_bus.clock.wall_us(), ("all",))
    answer = client.request("unmask", persons=["all"], grant=msgspec.to_builtins(signed))
    assert answer["ok"], answer["text"]
    assert not answer["result"]["people"]["everybody"]


def test_grant_of_revoked_client_is_refused(stage: Stage) -> None:
    stage.may_unmask("audio")
    unknown, client = stage.allow("unknown", "hub"), stage.request_client(stage.allow())
    foreign = grant(stage, client, unknown, "audio")
    Keyring(stage.state).revoke("unknown")
    answer = client.request("unmask", modalities=["audio"], grant=foreign)
    assert "not paired" in answer["text"]
    assert requested(stage)["audio"] == "masked"


def test_status_has_the_last_values_and_is_not_ok_without_switch(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    client = stage.request_client(stage.allow())
    stage.until(lambda: stage.outlet.requests and "privacy" in stage.outlet.requests._last)
    response = client.request("status")
    assert response["ok"]
    assert set(response["result"]["privacy"]["modalities"]) == {"audio", "video", "text"}
    assert stage.switch is not None
    stage.switch.close()
    stage.switch = None
    monkeypatch.setattr(requests, "STALE_US", 0)
    monkeypatch.setattr(PendingCommands, "patience_us", 100_000)
    silent = client.request("status")
    assert not silent["ok"]
    assert "silent" in silent["text"]
    assert "does not answer" in client.request("mask", modalities=["audio"])["text"]


def test_revoked_key_is_not_answered(stage: Stage) -> None:
    client = stage.request_client(stage.allow())
    assert client.request("describe")["ok"]
    Keyring(stage.state).revoke("lamp")
    client.send("describe")
    stage.never(lambda: client.socket.poll(0))


def test_client_without_curve_or_known_key_is_not_answered(stage: Stage) -> None:
    unknown = stage.allow("unknown")
    Keyring(stage.state).revoke("unknown")
    clients = [stage.request_client(None), stage.request_client(unknown)]
    for client in clients:
        client.send("describe")
    stage.never(lambda: any(a.socket.poll(0) for a in clients))


def test_excess_requests_are_refused_but_masks_are_accepted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "RATE_HZ", 0)
    monkeypatch.setattr(requests, "BURST", 20)
    client = stage.request_client(stage.allow())
    for _ in range(90):
        client.send("describe")
    replies = [client.reply() for _ in range(90)]
    assert sum(not r["ok"] and "requests a second" in r["text"] for r in replies) == 70
    assert client.request("mask", modalities=["audio"])["ok"]


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
def test_malformed_request_has_no_effect(stage: Stage, frames: list[bytes]) -> None:
    identity = stage.allow()
    bad, good = stage.request_client(identity), stage.request_client(identity)
    bad.socket.send_multipart(frames)
    assert good.request("describe")["ok"]
    stage.until(lambda: stage.hub.counters["bad_request"] or len(frames[0]) > requests.LONGEST_REQUEST)
    if len(frames) == 1 and len(frames[0]) <= requests.LONGEST_REQUEST:
        assert not bad.reply()["ok"]
    else:  # no client to answer
        stage.never(lambda: bad.socket.poll(0))


@given(st.binary(max_size=300) | st.recursive(st.none() | st.text(max_size=5), st.lists).map(msgspec.json.encode))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_give_a_request_or_bad_message(frame: bytes) -> None:
    with suppress(BadMessage):
        assert isinstance(_decoded(frame), Request)


def test_message_of_too_many_frames_ends_the_connection(stage: Stage) -> None:
    hostile, honest = stage.request_client(stage.allow()), stage.request_client(stage.allow("other"))
    assert hostile.request("describe")["ok"]
    hostile.socket.send_multipart([b"x" * 1000] * 20_000)
    stage.until(lambda: stage.hub.counters["dropped"])
    assert honest.request("mask", modalities=["audio"])["ok"]
    assert not stage.hub.counters["bad_request"], "its frames never became a message"


def test_client_with_an_identity_of_its_own_is_disconnected(stage: Stage) -> None:
    thief, victim = stage.request_client(stage.allow("thief")), stage.request_client(stage.allow())
    thief.socket.disconnect(thief.socket.getsockopt_string(zmq.LAST_ENDPOINT))
    thief.socket.setsockopt(zmq.ROUTING_ID, b"victim")
    assert stage.outlet.requests is not None
    thief.socket.connect(stage.outlet.requests.address)
    thief.send("describe")
    stage.until(lambda: stage.hub.counters["bad_identity"])
    assert not thief.socket.poll(0)
    assert victim.request("describe")["ok"]


def test_flood_of_timed_masks_by_a_reader_costs_no_epoch(stage: Stage) -> None:
    lamp, owner = stage.request_client(stage.allow()), stage.request_client(stage.allow("owner"))
    assert owner.request("mask", modalities=["audio"], for_s=60)["ok"]
    assert stage.switch is not None
    before = stage.switch.epochs()
    for n in range(90):
        lamp.send("mask", modalities=["audio"], for_s=3600 + n)
    replies = [lamp.reply() for _ in range(90)]
    assert all(r["ok"] or "not for longer" in r["text"] or "too many masks" in r["text"] for r in replies)
    assert stage.switch.epochs() == before
    began = time.monotonic()
    assert owner.request("mask", modalities=["video"])["ok"]
    assert time.monotonic() - began < 1
