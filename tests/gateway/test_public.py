"""The public plane over real TCP: exactly the public rows, for allowed keys only, and nobody in anybody's way."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest
import zmq

from edge_mer.config import Config
from edge_mer.contract.errors import ConfigError
from edge_mer.contract.messages import SensorState
from edge_mer.contract.schema import topic_schema
from edge_mer.contract.services import SERVICES
from edge_mer.gateway import curve_listener
from edge_mer.gateway.public import node as public
from edge_mer.host.processes import rows_for
from edge_mer.privacy.keys.keyring import Keyring
from tests.gateway.estimates import estimate
from tests.gateway.stage import Stage, Subscriber, sample

PUBLIC = {t for t, s in SERVICES.items() if s.public}
SECRET = set(SERVICES) - PUBLIC
OWNED = {"privacy", "receipt", "heartbeat"}  # said by the switch and the hub themselves
PREFIXES = sorted({topic[:n] for topic in SERVICES for n in range(len(topic) + 1)})


def heard(subscriber: Subscriber, topic: str, **fields: object) -> bool:
    """Whether a message of ``topic`` with these fields came."""
    subscriber.topics()
    return any(t == topic and fields.items() <= h.items() for t, h in subscriber.got)


def test_every_prefix_of_every_topic_gets_public_rows_only(stage: Stage) -> None:
    client = stage.allow()
    everything = stage.subscriber(client, "")
    each = {p: stage.subscriber(client, p) for p in PREFIXES if any(t.startswith(p) for t in SECRET)}

    def said() -> bool:
        for topic in set(SERVICES) - OWNED:
            stage.say(topic)
        return PUBLIC - {"receipt"} <= everything.topics()

    stage.until(said, 10)
    for prefix, subscriber in each.items():
        assert not subscriber.topics() & SECRET, prefix
        assert all(t.startswith(prefix) for t in subscriber.topics())
    assert not everything.topics() & SECRET


def test_what_leaves_is_what_the_schema_says(stage: Stage) -> None:
    import jsonschema

    subscriber = stage.subscriber(stage.allow(), "")

    def said() -> bool:
        for topic in PUBLIC - OWNED:
            stage.say(topic)
        return PUBLIC - {"receipt"} <= subscriber.topics()

    stage.until(said)
    for topic, header in subscriber.got:
        schema = topic_schema(topic)
        jsonschema.validate(header, schema)
        assert set(header) <= set(schema["properties"]), "no field beside the schema's"


def test_receipts_come_too(stage: Stage) -> None:
    client = stage.allow()
    subscriber = stage.subscriber(client, "")
    stage.until(subscriber.topics)  # a receipt is not said twice
    stage.asker(client).send("mask", modalities=["video"])
    stage.until(lambda: heard(subscriber, "receipt", requester="lamp"))
    assert heard(subscriber, "receipt", requester="lamp", modality="video")


def test_a_newcomer_gets_the_last_state_but_no_old_estimate(stage: Stage) -> None:
    client = stage.allow()
    first = stage.subscriber(client, "")

    def seen() -> bool:
        if {"state/video", "emotion", "privacy"} <= first.topics():
            return True
        stage.say("state/video")
        stage.say("emotion", estimate())
        return False

    stage.until(seen)
    stage.say("state/video", msgspec.structs.replace(sample(SensorState), dropped=9))
    stage.say("emotion", estimate(revision=9))
    stage.until(lambda: heard(first, "state/video", dropped=9) and heard(first, "emotion", revision=9))
    newcomer = stage.subscriber(client, "state/", "emotion", "privacy")
    stage.until(lambda: {"state/video", "privacy"} <= newcomer.topics())
    stage.never(lambda: "emotion" in newcomer.topics())
    last = next(h for t, h in newcomer.got if t == "state/video")
    first.topics()
    assert last["seq"] == max(h["seq"] for t, h in first.got if t == "state/video"), "as it was, not a new message"


def test_explanations_are_made_only_while_somebody_subscribes(stage: Stage) -> None:
    client = stage.allow()
    stage.say("explain")
    publisher = stage._publishers["explain"]
    estimates = stage.subscriber(client, "emotion")
    stage.never(publisher.wanted)
    why = stage.subscriber(client, "explain")
    stage.until(lambda: stage.say("explain") or why.topics())
    why.socket.close()
    stage.until(lambda: not publisher.wanted())
    everything = stage.subscriber(client, "")
    stage.until(publisher.wanted)
    everything.socket.unsubscribe(b"")
    stage.until(lambda: not publisher.wanted())
    assert not estimates.topics()


def test_subscribing_twice_counts_once_and_leaving_takes_nothing_from_others(stage: Stage) -> None:
    client = stage.allow()
    stage.say("explain")
    publisher = stage._publishers["explain"]
    stays = stage.subscriber(client, "explain")
    goes = stage.subscriber(client, "explain")
    stage.until(lambda: stage.say("explain") or (stays.topics() and goes.topics()))
    for again in (b"explain", b"privacy"):
        goes.socket.subscribe(again)
    stage.until(lambda: "privacy" in goes.topics())  # so both have come
    goes.socket.close()
    stage.never(lambda: not publisher.wanted())
    stays.socket.close()
    stage.until(lambda: not publisher.wanted())


def test_the_hub_says_that_it_lives(stage: Stage) -> None:
    subscriber = stage.subscriber(stage.allow(), "heartbeat")
    stage.until(lambda: subscriber.topics() and len({h["seq"] for _, h in subscriber.got}) >= 2)
    beat = subscriber.got[0][1]
    assert set(beat["topics"]) == PUBLIC
    assert beat["next_us"] - beat["created_us"] <= public.BEAT_US


def test_an_unknown_key_hears_nothing(stage: Stage) -> None:
    stranger = stage.allow("stranger")
    Keyring(stage.state).revoke("stranger")
    subscriber = stage.subscriber(stranger, "")
    stage.until(lambda: stage.hub.counters["refused"])
    stage.never(subscriber.topics)


def test_without_curve_nobody_hears_anything(stage: Stage) -> None:
    stage.never(stage.subscriber(None, "").topics)


def test_a_revoked_key_is_out_at_once_and_the_others_come_back(stage: Stage) -> None:
    gone, stays = (
        stage.subscriber(stage.allow("gone"), "heartbeat"),
        stage.subscriber(stage.allow("stays"), "heartbeat"),
    )
    stage.until(lambda: gone.topics() and stays.topics())
    Keyring(stage.state).revoke("gone")
    stage.until(lambda: stage.hub.counters["refused"])
    gone.topics()  # what came before it was shut out is read
    heard = len(gone.got), len(stays.got)
    stage.until(lambda: stays.topics() and len(stays.got) > heard[1] + 1)
    gone.topics()
    assert len(gone.got) == heard[0]


def test_plaintext_needs_no_key_but_stays_on_this_host(staged: Callable[..., Stage]) -> None:
    stage = staged(plaintext=True)
    subscriber = stage.subscriber(None, "heartbeat")
    assert stage.until(subscriber.topics) == {"heartbeat"}
    assert stage.asker(None).ask("describe")["ok"]


@pytest.mark.parametrize("address", ["tcp://*:7651", "tcp://0.0.0.0:7651", "tcp://192.168.1.5:7651", "tcp://lamp:7651"])
@pytest.mark.parametrize("setting", ["publish", "requests"])
def test_plaintext_that_others_could_reach_is_refused(staged: Callable[..., Stage], setting: str, address: str) -> None:
    with pytest.raises(ConfigError, match=rf"hub\.{setting} = .*hub\.plaintext"):
        staged(plaintext=True, **{setting: address})


def test_an_address_in_use_is_named(stage: Stage, staged: Callable[..., Stage]) -> None:
    assert stage.outlet.publisher is not None
    with pytest.raises(ConfigError, match=r"hub\.publish"):
        staged(publish=stage.outlet.publisher.address)


def test_one_that_never_reads_loses_its_own_messages_only(stage: Stage) -> None:
    client = stage.allow()
    reads = stage.subscriber(client, "emotion")
    stuck = stage.subscriber(client, "")
    stuck.socket.setsockopt(zmq.RCVHWM, 1)
    message = estimate(model="x" * 20_000)

    def arrives() -> bool:
        stage.say("emotion", message)
        return bool(reads.topics()) and len(reads.got) >= 600

    stage.until(arrives, 60)
    seqs = [h["seq"] for _, h in reads.got]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


def test_two_hundred_clients_hear_the_same(stage: Stage) -> None:
    client = stage.allow()
    subscribers = [stage.subscriber(client, "heartbeat") for _ in range(200)]
    stage.until(lambda: sum(bool(s.topics()) for s in subscribers) == 200, 15)


def test_one_key_that_comes_again_and_again_is_slowed_down(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve_listener, "CONNECT_HZ", 0)
    monkeypatch.setattr(curve_listener, "CONNECT_BURST", 3)
    client, other = stage.allow(), stage.allow("other")
    crowd = [stage.subscriber(client, "heartbeat") for _ in range(6)]
    stage.until(lambda: stage.hub.counters["refused"])
    stage.until(stage.subscriber(other, "heartbeat").topics)
    assert sum(bool(s.topics()) for s in crowd) <= 3


def test_subscriptions_to_nothing_and_noise_are_not_remembered(stage: Stage) -> None:
    client = stage.allow()
    noise = stage.subscriber(client, *(f"nothing{n}" for n in range(500)))
    stage.until(lambda: stage.hub.counters["bad_subscription"] >= 500)
    noise.socket.subscribe(b"heartbeat")
    assert stage.until(noise.topics) == {"heartbeat"}


def test_off_by_default() -> None:
    assert "hub" not in {row.name for row in rows_for(Config())}
    asked = Config.model_validate({"hub": {"publish": "tcp://127.0.0.1:7651"}})
    assert "hub" in {row.name for row in rows_for(asked)}


def test_samples_fit_their_rows() -> None:
    assert all(json.loads(_encoded(t)) for t in SERVICES)


def _encoded(topic: str) -> bytes:
    return msgspec.json.encode(sample(SERVICES[topic].body))
