"""Messages from before a mask are not forwarded, and forwarding resumes after a limited time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
import pytest

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.house import Voice
from edge_mer.contract.messages import Body, Explain, Message, People, Privacy
from edge_mer.gateway.stale_after_mask import CONFIRMED_US, StaleAfterMask
from tests.gateway.estimates import estimate
from tests.gateway.stage import Stage


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def made(clock: FakeClock) -> Callable[[int], Message[object]]:
    publisher = MemoryBus(MemoryBroker(), clock).publisher("emotion", "fusion")
    return lambda epoch: publisher.send(estimate(mask_epoch=epoch), origin_us=clock.now_us())


def test_older_epoch_is_stale_until_the_limit(clock: FakeClock, made: Callable[[int], Message[object]]) -> None:
    stale = StaleAfterMask()
    assert not stale.is_stale(made(3))
    stale.record_mask(4, clock.now_us())
    assert stale.is_stale(made(3))
    assert not stale.is_stale(made(4))
    stale.record_mask(2, clock.now_us() + 10 * SECOND)  # a repeated old purge has no effect
    clock.advance(CONFIRMED_US)
    assert not stale.is_stale(made(3))


def test_restarted_fusion_with_old_epoch_is_accepted_after_the_limit(
    clock: FakeClock, made: Callable[[int], Message[object]]
) -> None:
    stale = StaleAfterMask()
    stale.record_mask(9, clock.now_us())
    clock.advance(CONFIRMED_US)
    assert not stale.is_stale(made(1))


def test_other_messages_are_never_stale(clock: FakeClock, made: Callable[[int], Message[object]]) -> None:
    stale = StaleAfterMask()
    stale.record_mask(9, clock.now_us())
    message = made(1)
    other = msgspec.structs.replace(message, body=Privacy(mask_epoch=1, modalities={}))
    assert not stale.is_stale(other)


def why(mask_epoch: int, label: Literal["sad", "happy"]) -> Explain:
    return Explain(combination="at", label=label, contributions={}, sentiment_contributions=None, mask_epoch=mask_epoch)


def test_explanation_of_an_older_epoch_is_stale(clock: FakeClock, made: Callable[[int], Message[object]]) -> None:
    stale = StaleAfterMask()
    stale.record_mask(4, clock.now_us())
    assert stale.is_stale(msgspec.structs.replace(made(4), body=why(3, "sad")))
    assert not stale.is_stale(msgspec.structs.replace(made(4), body=why(4, "sad")))


def test_a_view_of_people_of_an_older_epoch_is_stale(clock: FakeClock, made: Callable[[int], Message[object]]) -> None:
    stale = StaleAfterMask()
    stale.record_mask(4, clock.now_us())
    for epoch, is_stale in ((3, True), (4, False)):
        view = People(people=(), voice=None, biometric=True, mask_epoch=epoch)
        assert stale.is_stale(msgspec.structs.replace(made(4), body=view)) is is_stale


@pytest.mark.parametrize(
    ("topic", "body"),
    [("emotion", lambda epoch, label: estimate(mask_epoch=epoch, label=label)), ("explain", why)],
    ids=["emotion", "explain"],
)
def test_hub_acknowledges_a_mask_and_forwards_no_older_message(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, topic: str, body: Callable[[int, str], Body]
) -> None:
    monkeypatch.setattr("edge_mer.gateway.stale_after_mask.CONFIRMED_US", 600 * SECOND)
    client = stage.allow()
    subscriber = stage.subscriber(client, "")
    stage.until(subscriber.topics)  # receipts are not resent
    requests = stage.request_client(client)
    requests.request("mask", modalities=["audio"])  # afterwards the switch knows this process
    requests.request("mask", modalities=["video"])
    stage.until(
        lambda: (
            subscriber.topics()
            and any(
                t == "receipt" and h["modality"] == "video" and "hub" in h["purged"] for t, h in subscriber.received
            )
        )
    )
    assert stage.switch is not None
    epoch = max(stage.switch.epochs().values())

    def newer_arrived() -> bool:
        stage.publish(topic, body(epoch - 1, "sad"))
        stage.publish(topic, body(epoch, "happy"))
        subscriber.topics()
        return any(h.get("label") == "happy" for _, h in subscriber.received)

    stage.until(newer_arrived)
    assert not any(h.get("label") == "sad" for _, h in subscriber.received)


def test_level_of_voice_from_before_a_mask_of_the_microphone_is_stale_for_ever(clock: FakeClock) -> None:
    publisher, stale = MemoryBus(MemoryBroker(), clock).publisher("voice", "voice"), StaleAfterMask()

    def made(epoch: int) -> Message[object]:
        return publisher.send(Voice(levels=(-20,), mask_epoch=epoch), origin_us=clock.now_us())

    stale.record_mask(9, clock.now_us())  # of the camera
    assert not stale.is_stale(made(3))
    stale.record_mask(10, clock.now_us(), voice=True)
    clock.advance(60 * SECOND)
    assert stale.is_stale(made(9))
    assert not stale.is_stale(made(11))
