"""The streams of the page: what a viewer gets, and what one that does not read costs."""

from __future__ import annotations

import pytest

from edge_mer.contract.services import SERVICES
from edge_mer.gateway.page import sse_clients as viewers
from tests.gateway.caller import Caller, seen
from tests.gateway.estimates import estimate

SECRET = {t for t, s in SERVICES.items() if not s.public}


def test_a_newcomer_gets_the_state_but_no_old_estimate(caller: Caller) -> None:
    first = caller.look()

    def say() -> None:
        caller.stage.say("emotion", estimate())
        caller.stage.say("state/video")

    caller.events(first, lambda e: seen("emotion")(e) and seen("state/video")(e) and seen("privacy")(e), say)
    caller.stage.say("emotion", estimate(revision=9))
    caller.events(first, lambda e: e[-1:] != [] and e[-1][1].get("revision") == 9)  # nothing is on its way any more
    got = caller.events(caller.look(), lambda e: len(e) >= 4 and seen("privacy")(e) and seen("state/video")(e))
    assert got[0][0] == "hello"
    assert "emotion" not in {t for t, _ in got}


def test_never_raw_never_features(caller: Caller) -> None:
    def say() -> None:
        for topic in set(SERVICES) - {"privacy", "receipt", "heartbeat"}:
            caller.stage.say(topic)

    got = caller.events(caller.look(), lambda e: len({t for t, _ in e}) >= 7, say)
    assert not {t for t, _ in got} & SECRET
    assert "explain" not in {t for t, _ in got}


def test_why_is_asked_only_while_somebody_looks(caller: Caller) -> None:
    def wanted() -> bool:
        caller.stage.say("emotion", estimate())
        return bool(caller.stage._publishers["explain"].wanted())

    caller.stage.say("explain")
    caller.look()
    caller.stage.never(lambda: caller.page.turn() and wanted())
    looking = caller.look("/events?why=1")
    caller.until(wanted)
    got = caller.events(looking, seen("explain"), lambda: caller.stage.say("explain"))
    assert {t for t, _ in got} == {"explain"}
    looking.close()
    caller._open[-1].close()

    def gone() -> bool:
        caller.stage.say("explain")
        return not caller.stage._publishers["explain"].wanted()

    caller.until(gone)


def test_one_that_never_reads_costs_a_bounded_queue_and_nobody_else_anything(caller: Caller) -> None:
    caller.look()  # and never reads
    reads = caller.look()
    big = estimate(model="x" * 20_000)
    everybody = caller.outlet.viewers._all
    got = caller.events(
        reads, lambda _: any(v.lost for v in everybody), lambda: caller.stage.say("emotion", big), seconds=60
    )
    stuck = next(v for v in everybody if v.lost)
    assert len(stuck._queue) <= viewers.QUEUED
    seqs = [m["seq"] for t, m in got if t == "emotion"]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), "who reads loses nothing"


def test_a_mask_drops_what_waits_for_slow_viewers(caller: Caller) -> None:
    caller.order("/mask", {"modalities": ["audio"]})  # by its end the switch knows this process
    viewer = caller.outlet.viewers.join(why=False)
    assert viewer is not None

    def waiting() -> list[str]:
        return [m.topic for m in viewer._queue]

    caller.until(lambda: caller.stage.say("emotion", estimate()) or {"emotion", "privacy"} <= set(waiting()))
    caller.order("/mask", {"modalities": ["video"]})
    assert "emotion" not in waiting()
    assert "privacy" in waiting()
    caller.outlet.viewers.leave(viewer)


def test_a_mask_cuts_off_one_whose_estimates_wait_in_a_buffer(caller: Caller) -> None:
    caller.order("/mask", {"modalities": ["audio"]})
    caller.look()  # and never reads
    stuck = next(iter(caller.outlet.viewers._all))
    assert stuck._transport is not None
    big = estimate(model="x" * 30_000)
    caller.until(lambda: caller.stage.say("emotion", big) or len(stuck._queue) > 50, 60)  # its buffer is full for good
    assert stuck._transport.get_write_buffer_size()
    caller.order("/mask", {"modalities": ["video"]})
    caller.until(lambda: not caller.outlet.viewers)


def test_more_viewers_than_fit_are_told(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers, "MOST", 1)
    caller.look()
    assert caller.ask("GET", "/events")[0] == 503
