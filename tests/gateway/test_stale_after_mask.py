"""What was made before a mask is handed on by nobody, and nobody falls silent for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
import pytest

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.messages import Body, Explain, Message, Privacy
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


def test_an_older_epoch_is_from_before_the_mask(clock: FakeClock, made: Callable[[int], Message[object]]) -> None:
    before = StaleAfterMask()
    assert not before.has(made(3))
    before.order(4, clock.now_us())
    assert before.has(made(3))
    assert not before.has(made(4))
    before.order(2, clock.now_us() + 10 * SECOND)  # an old order that comes again changes nothing
    clock.advance(CONFIRMED_US)
    assert not before.has(made(3))


def test_a_new_fusion_that_knows_no_epoch_yet_is_heard_after_a_while(
    clock: FakeClock, made: Callable[[int], Message[object]]
) -> None:
    before = StaleAfterMask()
    before.order(9, clock.now_us())
    clock.advance(CONFIRMED_US)
    assert not before.has(made(1))


def test_nothing_else_is_meant(clock: FakeClock, made: Callable[[int], Message[object]]) -> None:
    before = StaleAfterMask()
    before.order(9, clock.now_us())
    message = made(1)
    other = msgspec.structs.replace(message, body=Privacy(mask_epoch=1, modalities={}))
    assert not before.has(other)


def why(mask_epoch: int, label: Literal["sad", "happy"]) -> Explain:
    return Explain(combination="at", label=label, contributions={}, sentiment_contributions=None, mask_epoch=mask_epoch)


def test_an_explanation_is_as_old_as_its_estimate(clock: FakeClock, made: Callable[[int], Message[object]]) -> None:
    before = StaleAfterMask()
    before.order(4, clock.now_us())
    assert before.has(msgspec.structs.replace(made(4), body=why(3, "sad")))
    assert not before.has(msgspec.structs.replace(made(4), body=why(4, "sad")))


@pytest.mark.parametrize(
    ("topic", "body"),
    [("emotion", lambda epoch, label: estimate(mask_epoch=epoch, label=label)), ("explain", why)],
    ids=["emotion", "explain"],
)
def test_the_hub_acknowledges_a_mask_and_hands_on_nothing_older(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, topic: str, body: Callable[[int, str], Body]
) -> None:
    monkeypatch.setattr("edge_mer.gateway.stale_after_mask.CONFIRMED_US", 600 * SECOND)
    client = stage.allow()
    heard = stage.subscriber(client, "")
    stage.until(heard.topics)  # a receipt is not said twice
    asker = stage.asker(client)
    asker.ask("mask", modalities=["audio"])  # by its end the switch knows this process
    asker.ask("mask", modalities=["video"])
    stage.until(
        lambda: (
            heard.topics()
            and any(t == "receipt" and h["modality"] == "video" and "hub" in h["purged"] for t, h in heard.got)
        )
    )
    assert stage.switch is not None
    epoch = max(stage.switch.epochs().values())

    def newer_came() -> bool:
        stage.say(topic, body(epoch - 1, "sad"))
        stage.say(topic, body(epoch, "happy"))
        heard.topics()
        return any(h.get("label") == "happy" for _, h in heard.got)

    stage.until(newer_came)
    assert not any(h.get("label") == "sad" for _, h in heard.got)
