"""The event streams of the page: content, and limits for viewers that do not read."""

from __future__ import annotations

import pytest

from edge_mer.contract.services import SERVICES
from edge_mer.gateway.page import sse_clients as viewers
from tests.gateway.caller import Caller, has_topic
from tests.gateway.estimates import estimate

PRIVATE = {t for t, s in SERVICES.items() if not s.public}


def test_new_viewer_gets_the_state_but_no_old_estimate(caller: Caller) -> None:
    first = caller.open_stream()

    def publish() -> None:
        caller.stage.publish("emotion", estimate())
        caller.stage.publish("state/video")

    caller.events(
        first, lambda e: has_topic("emotion")(e) and has_topic("state/video")(e) and has_topic("privacy")(e), publish
    )
    caller.stage.publish("emotion", estimate(revision=9))
    caller.events(first, lambda e: e[-1:] != [] and e[-1][1].get("revision") == 9)  # no message is in transit any more
    got = caller.events(
        caller.open_stream(), lambda e: len(e) >= 4 and has_topic("privacy")(e) and has_topic("state/video")(e)
    )
    assert got[0][0] == "hello"
    assert "emotion" not in {t for t, _ in got}


def test_stream_excludes_raw_features_and_explanations(caller: Caller) -> None:
    def publish() -> None:
        for topic in set(SERVICES) - {"privacy", "receipt", "heartbeat"}:
            caller.stage.publish(topic)

    got = caller.events(caller.open_stream(), lambda e: len({t for t, _ in e}) >= 7, publish)
    assert not {t for t, _ in got} & PRIVATE
    assert "explain" not in {t for t, _ in got}


def test_explanations_are_requested_only_while_a_viewer_shows_them(caller: Caller) -> None:
    def wanted() -> bool:
        caller.stage.publish("emotion", estimate())
        return bool(caller.stage._publishers["explain"].wanted())

    caller.stage.publish("explain")
    caller.open_stream()
    caller.stage.never(lambda: caller.page.turn() and wanted())
    stream = caller.open_stream("/events?why=1")
    caller.until(wanted)
    got = caller.events(stream, has_topic("explain"), lambda: caller.stage.publish("explain"))
    assert {t for t, _ in got} == {"explain"}
    stream.close()
    caller._open[-1].close()

    def unwanted() -> bool:
        caller.stage.publish("explain")
        return not caller.stage._publishers["explain"].wanted()

    caller.until(unwanted)


def test_viewer_that_never_reads_has_a_bounded_queue_and_affects_no_other(caller: Caller) -> None:
    caller.open_stream()  # this viewer never reads
    reads = caller.open_stream()
    big = estimate(model="x" * 20_000)
    viewers_now = caller.outlet.viewers._all
    got = caller.events(
        reads, lambda _: any(v.lost for v in viewers_now), lambda: caller.stage.publish("emotion", big), seconds=60
    )
    stuck = next(v for v in viewers_now if v.lost)
    assert len(stuck._queue) <= viewers.QUEUED
    seqs = [m["seq"] for t, m in got if t == "emotion"]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), "a viewer that reads loses nothing"


def test_mask_drops_queued_messages_of_slow_viewers(caller: Caller) -> None:
    caller.post("/mask", {"modalities": ["audio"]})  # afterwards the switch knows this process
    viewer = caller.outlet.viewers.join(why=False)
    assert viewer is not None

    def waiting() -> list[str]:
        return [m.topic for m in viewer._queue]

    caller.until(lambda: caller.stage.publish("emotion", estimate()) or {"emotion", "privacy"} <= set(waiting()))
    caller.post("/mask", {"modalities": ["video"]})
    assert "emotion" not in waiting()
    assert "privacy" in waiting()
    caller.outlet.viewers.leave(viewer)


def test_mask_disconnects_viewer_with_unread_buffer(caller: Caller) -> None:
    caller.post("/mask", {"modalities": ["audio"]})
    caller.open_stream()  # this viewer never reads
    stuck = next(iter(caller.outlet.viewers._all))
    assert stuck._transport is not None
    big = estimate(model="x" * 30_000)
    caller.until(lambda: caller.stage.publish("emotion", big) or len(stuck._queue) > 50, 60)  # its buffer stays full
    assert stuck._transport.get_write_buffer_size()
    caller.post("/mask", {"modalities": ["video"]})
    caller.until(lambda: not caller.outlet.viewers)


def test_too_many_viewers_are_refused(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers, "MOST", 1)
    caller.open_stream()
    assert caller.request("GET", "/events")[0] == 503
