"""Public topics over real TCP: exactly the public rows, for allowed keys only, with isolated clients."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import jsonschema
import msgspec
import psutil
import pytest
import zmq

from edge_mer.bus import curve_server
from edge_mer.config import Config
from edge_mer.contract.errors import ConfigError
from edge_mer.contract.messages import SensorState
from edge_mer.contract.schema import topic_schema
from edge_mer.contract.services import SERVICES
from edge_mer.gateway import curve_listener
from edge_mer.gateway.public import node as public
from edge_mer.host.processes import rows_for
from edge_mer.privacy.keys.keyring import Keyring
from edge_mer.privacy.keys.pairing import server_curve
from tests.devices import child
from tests.gateway.estimates import estimate
from tests.gateway.stage import Stage, Subscriber, sample

PUBLIC = {t for t, s in SERVICES.items() if s.public}
PRIVATE = set(SERVICES) - PUBLIC
OWNED = {"privacy", "receipt", "heartbeat"}  # published by the switch and the hub themselves
PREFIXES = sorted({topic[:n] for topic in SERVICES for n in range(len(topic) + 1)})


def received(subscriber: Subscriber, topic: str, **fields: object) -> bool:
    """Whether a message of ``topic`` with these fields came."""
    subscriber.topics()
    return any(t == topic and fields.items() <= h.items() for t, h in subscriber.received)


def test_every_subscription_prefix_gets_public_topics_only(stage: Stage) -> None:
    client = stage.allow()
    everything = stage.subscriber(client, "")
    each = {p: stage.subscriber(client, p) for p in PREFIXES if any(t.startswith(p) for t in PRIVATE)}

    def published() -> bool:
        for topic in set(SERVICES) - OWNED:
            stage.publish(topic)
        return PUBLIC - {"receipt"} <= everything.topics()

    stage.until(published, 10)
    for prefix, subscriber in each.items():
        assert not subscriber.topics() & PRIVATE, prefix
        assert all(t.startswith(prefix) for t in subscriber.topics())
    assert not everything.topics() & PRIVATE


def test_messages_match_their_schema(stage: Stage) -> None:
    import jsonschema

    subscriber = stage.subscriber(stage.allow(), "")

    def published() -> bool:
        for topic in PUBLIC - OWNED:
            stage.publish(topic)
        return PUBLIC - {"receipt"} <= subscriber.topics()

    stage.until(published)
    for topic, header in subscriber.received:
        schema = topic_schema(topic)
        jsonschema.validate(header, schema)
        assert set(header) <= set(schema["properties"]), "no field beside the schema's"


def test_receipts_are_published(stage: Stage) -> None:
    client = stage.allow()
    subscriber = stage.subscriber(client, "")
    stage.until(subscriber.topics)  # receipts are not resent
    stage.request_client(client).send("mask", modalities=["video"])
    stage.until(lambda: received(subscriber, "receipt", requester="lamp"))
    assert received(subscriber, "receipt", requester="lamp", modality="video")


def test_estimates_of_windows_in_the_past_are_revisions(stage: Stage) -> None:
    client = stage.subscriber(stage.allow(), "emotion", "revision")
    stage.until(lambda: stage.publish("emotion", estimate(revision=0, final=False)) or client.topics())
    for past in ({"revision": 1, "final": False}, {"revision": 0, "final": True}, {"revision": 1, "final": True}):
        stage.publish("emotion", estimate(**past))
    stage.until(lambda: client.topics() and received(client, "revision", revision=1, final=True))
    assert [(h["revision"], h["final"]) for t, h in client.received if t == "revision"] == [
        (1, False),
        (0, True),
        (1, True),
    ]
    assert {(h["revision"], h["final"]) for t, h in client.received if t == "emotion"} == {(0, False)}
    for topic, header in client.received:
        jsonschema.validate(header, topic_schema(topic))


def test_new_client_gets_the_last_state_but_no_old_estimate(stage: Stage) -> None:
    client = stage.allow()
    first = stage.subscriber(client, "")

    def first_received() -> bool:
        if {"state/video", "emotion", "privacy"} <= first.topics():
            return True
        stage.publish("state/video")
        stage.publish("emotion", estimate(revision=0, final=False))
        return False

    stage.until(first_received)
    stage.publish("state/video", msgspec.structs.replace(sample(SensorState), dropped=9))
    stage.publish("emotion", estimate(revision=0, final=False, confidence=0.9))
    stage.publish("emotion", estimate(revision=9))
    stage.until(lambda: received(first, "state/video", dropped=9) and received(first, "revision", revision=9))
    assert received(first, "emotion", confidence=0.9)
    new_client = stage.subscriber(client, "state/", "emotion", "revision", "privacy")
    stage.until(lambda: {"state/video", "privacy"} <= new_client.topics())
    stage.never(lambda: {"emotion", "revision"} & new_client.topics())
    last = next(h for t, h in new_client.received if t == "state/video")
    first.topics()
    assert last["seq"] == max(h["seq"] for t, h in first.received if t == "state/video"), (
        "the original message, not a new one"
    )


def test_explanations_are_computed_only_while_a_client_subscribes(stage: Stage) -> None:
    client = stage.allow()
    stage.publish("explain")
    publisher = stage._publishers["explain"]
    estimates = stage.subscriber(client, "emotion")
    stage.never(publisher.wanted)
    why = stage.subscriber(client, "explain")
    stage.until(lambda: stage.publish("explain") or why.topics())
    why.socket.close()
    stage.until(lambda: not publisher.wanted())
    everything = stage.subscriber(client, "")
    stage.until(publisher.wanted)
    everything.socket.unsubscribe(b"")
    stage.until(lambda: not publisher.wanted())
    assert not estimates.topics()


def test_leaving_client_does_not_end_the_subscription_of_others(stage: Stage) -> None:
    client = stage.allow()
    stage.publish("explain")
    publisher = stage._publishers["explain"]
    stays = stage.subscriber(client, "explain")
    goes = stage.subscriber(client, "explain")
    stage.until(lambda: stage.publish("explain") or (stays.topics() and goes.topics()))
    for again in (b"explain", b"privacy"):
        goes.socket.subscribe(again)
    stage.until(lambda: "privacy" in goes.topics())  # both subscriptions have arrived
    goes.socket.close()
    stage.never(lambda: not publisher.wanted())
    stays.socket.close()
    stage.until(lambda: not publisher.wanted())


def test_hub_publishes_a_heartbeat(stage: Stage) -> None:
    subscriber = stage.subscriber(stage.allow(), "heartbeat")
    stage.until(lambda: subscriber.topics() and len({h["seq"] for _, h in subscriber.received}) >= 2)
    beat = subscriber.received[0][1]
    assert set(beat["topics"]) == PUBLIC
    assert beat["next_us"] - beat["created_us"] <= public.BEAT_US


def test_unknown_key_receives_nothing(stage: Stage) -> None:
    unknown = stage.allow("unknown")
    Keyring(stage.state).revoke("unknown")
    subscriber = stage.subscriber(unknown, "")
    stage.until(lambda: stage.hub.counters["refused"])
    stage.never(subscriber.topics)


def test_client_without_curve_receives_nothing(stage: Stage) -> None:
    stage.never(stage.subscriber(None, "").topics)


def test_revoked_key_is_disconnected_and_others_reconnect(stage: Stage) -> None:
    revoked, stays = (
        stage.subscriber(stage.allow("revoked"), "heartbeat"),
        stage.subscriber(stage.allow("stays"), "heartbeat"),
    )
    stage.until(lambda: revoked.topics() and stays.topics())
    Keyring(stage.state).revoke("revoked")
    stage.until(lambda: stage.hub.counters["refused"])
    revoked.topics()  # read what arrived before the disconnect
    counts = len(revoked.received), len(stays.received)
    stage.until(lambda: stays.topics() and len(stays.received) > counts[1] + 1)
    revoked.topics()
    assert len(revoked.received) == counts[0]


def test_plaintext_needs_no_key_on_this_host(staged: Callable[..., Stage]) -> None:
    stage = staged(plaintext=True)
    subscriber = stage.subscriber(None, "heartbeat")
    assert stage.until(subscriber.topics) == {"heartbeat"}
    assert stage.request_client(None).request("describe")["ok"]


@pytest.mark.parametrize("address", ["tcp://*:7651", "tcp://0.0.0.0:7651", "tcp://192.168.1.5:7651", "tcp://lamp:7651"])
@pytest.mark.parametrize("setting", ["publish", "requests"])
def test_plaintext_on_reachable_address_is_refused(staged: Callable[..., Stage], setting: str, address: str) -> None:
    with pytest.raises(ConfigError, match=rf"hub\.{setting} = .*hub\.plaintext"):
        staged(plaintext=True, **{setting: address})


def test_address_in_use_is_named(stage: Stage, staged: Callable[..., Stage]) -> None:
    assert stage.outlet.publisher is not None
    with pytest.raises(ConfigError, match=r"hub\.publish"):
        staged(publish=stage.outlet.publisher.address)


def test_client_that_never_reads_loses_only_its_own_messages(stage: Stage) -> None:
    client = stage.allow()
    reads = stage.subscriber(client, "emotion")
    stuck = stage.subscriber(client, "")
    stuck.socket.setsockopt(zmq.RCVHWM, 1)
    message = estimate(model="x" * 20_000)

    def arrives() -> bool:
        stage.publish("emotion", message)
        return bool(reads.topics()) and len(reads.received) >= 600

    stage.until(arrives, 60)
    seqs = [h["seq"] for _, h in reads.received]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


def test_two_hundred_clients_receive_the_topic(stage: Stage) -> None:
    client = stage.allow()
    subscribers = [stage.subscriber(client, "heartbeat") for _ in range(200)]
    stage.until(lambda: sum(bool(s.topics()) for s in subscribers) == 200, 15)


def test_connection_rate_of_one_key_is_limited(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve_listener, "CONNECT_HZ", 0)
    monkeypatch.setattr(curve_listener, "CONNECT_BURST", 3)
    client, other = stage.allow(), stage.allow("other")
    subscribers = [stage.subscriber(client, "heartbeat") for _ in range(6)]
    stage.until(lambda: stage.hub.counters["refused"])
    stage.until(stage.subscriber(other, "heartbeat").topics)
    assert sum(bool(s.topics()) for s in subscribers) <= 3


def test_number_of_connections_is_limited(staged: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve_server, "MOST_CONNECTIONS", 2)
    stage = staged()
    client = stage.allow()
    first = [stage.subscriber(client, "heartbeat") for _ in range(2)]
    stage.until(lambda: all(s.topics() for s in first))
    surplus = stage.subscriber(client, "heartbeat")
    stage.until(lambda: stage.hub.counters["dropped"])
    assert not surplus.topics()
    first[0].socket.close()
    stage.until(surplus.topics)


def test_unknown_subscriptions_are_not_stored(stage: Stage) -> None:
    client = stage.allow()
    client_socket = stage.subscriber(client, *(f"nothing{n}" for n in range(90)))
    stage.until(lambda: stage.hub.counters["bad_subscription"] >= 90)
    client_socket.socket.subscribe(b"heartbeat")
    assert stage.until(client_socket.topics) == {"heartbeat"}


@pytest.mark.parametrize("subscriptions", [[f"e{n}" for n in range(150)], ["x" * 65]], ids=["many", "long"])
def test_too_many_or_long_subscriptions_end_the_connection(stage: Stage, subscriptions: list[str]) -> None:
    other = stage.subscriber(stage.allow("other"), "heartbeat")
    stage.until(other.topics)
    hostile = stage.subscriber(stage.allow(), *subscriptions)
    stage.until(lambda: stage.hub.counters["dropped"])
    seen = len(other.received)
    stage.until(lambda: other.topics() and len(other.received) > seen)
    assert not hostile.topics()


# In another process, because its own socket stores what it subscribes.
FLOOD = """
import sys, zmq
address, server, public, secret = sys.argv[1:]
flood = zmq.Context().socket(zmq.XSUB)
flood.sndhwm = 0
flood.curve_serverkey, flood.curve_publickey, flood.curve_secretkey = (k.encode() for k in (server, public, secret))
flood.connect(address)
for n in range(20_000):
    flood.send(b"\\x01%0450d" % n)
flood.poll()
"""


def test_flood_of_subscriptions_fills_no_memory(stage: Stage) -> None:
    assert stage.outlet.publisher is not None
    keys = (server_curve(stage.state)[0], *stage.allow().curve)
    before, longest_s = psutil.Process().memory_info().rss, 0.0

    def done(count: int) -> bool:
        nonlocal longest_s
        began = time.monotonic()
        stage.hub.turn()
        longest_s = max(longest_s, time.monotonic() - began)
        return stage.hub.counters["dropped"] >= count

    with child(sys.executable, "-c", FLOOD, stage.outlet.publisher.address, *(k.decode() for k in keys)):
        stage.until(lambda: done(3), 30)
    assert psutil.Process().memory_info().rss - before < 100_000_000
    assert longest_s < 1, "the supervisor takes a process for hung after 1.5 s"


def test_hub_is_off_by_default() -> None:
    assert "hub" not in {row.name for row in rows_for(Config())}
    config = Config.model_validate({"hub": {"publish": "tcp://127.0.0.1:7651"}})
    assert "hub" in {row.name for row in rows_for(config)}


def test_samples_can_be_encoded() -> None:
    assert all(json.loads(_encoded(t)) for t in SERVICES)


def _encoded(topic: str) -> bytes:
    return msgspec.json.encode(sample(SERVICES[topic].body))
