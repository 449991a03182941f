"""The terminal view shows gate and health apart, says why, and fits the smallest usual terminal."""

from __future__ import annotations

from rich.console import Console

from edge_mer.client.snapshot import Snapshot
from edge_mer.client.view import render
from edge_mer.contract.domain import EMOTIONS
from tests.client.scene import Scene


def drawn(picture: Snapshot, now_us: int, width: int = 80) -> list[str]:
    console = Console(width=width, height=24, record=True, force_terminal=False)
    with console.capture() as capture:
        console.print(render(picture, now_us, "demo"))
    return capture.get().splitlines()


def full(scene: Scene) -> Snapshot:
    picture = Snapshot(scene.clock.now_us())
    picture.fold(scene.sensor("audio"))
    picture.fold(scene.sensor("video", "masked", "absent", "masked by a very long name of somebody in the household"))
    picture.fold(scene.sensor("text", health="warming", reason="the recogniser is loading its model"))
    picture.fold(scene.estimate("at"))
    picture.fold(scene.health(fusion=("running", 41), camera=("failed", 42)))
    for number in range(60):
        picture.note(scene.clock.now_us(), f"event {number} " + "long " * 30)
    return picture


def test_it_fits_80_columns_and_24_lines() -> None:
    scene = Scene()
    lines = drawn(full(scene), scene.clock.now_us())
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_gate_and_health_are_two_different_things() -> None:
    scene = Scene()
    text = "\n".join(drawn(full(scene), scene.clock.now_us()))
    assert "gate   live" in text
    assert "gate   masked" in text
    assert "sensor ok" in text
    assert "sensor warming" in text


def test_it_shows_all_probabilities_label_sentiment_and_latency() -> None:
    scene = Scene()
    text = "\n".join(drawn(full(scene), scene.clock.now_us()))
    assert all(emotion in text for emotion in EMOTIONS)
    assert "+1.25" in text
    assert "not calibrated" in text
    assert "15 ms" in text
    assert "camera failed" in text


def test_an_abstention_and_a_missing_sentiment_say_why() -> None:
    scene = Scene()
    picture = Snapshot(scene.clock.now_us())
    picture.fold(scene.estimate("none"))
    assert "abstains: no modality present" in "\n".join(drawn(picture, scene.clock.now_us(), 120))
    picture.fold(scene.estimate("av"))
    assert "no labelled data" in "\n".join(drawn(picture, scene.clock.now_us(), 120))


def test_a_silent_fusion_node_is_not_shown_as_the_present() -> None:
    scene = Scene()
    picture = full(scene)
    scene.clock.advance(10_000_000)
    assert "nothing new for 10 s" in "\n".join(drawn(picture, scene.clock.now_us()))


def test_before_anything_arrived_it_says_so() -> None:
    scene = Scene()
    text = "\n".join(drawn(Snapshot(scene.clock.now_us()), scene.clock.now_us()))
    assert "waiting for the first estimate" in text
    assert "not started" in text


def test_changes_become_events_and_repeats_do_not() -> None:
    scene = Scene()
    picture = Snapshot(scene.clock.now_us())
    for _ in range(3):
        picture.fold(scene.sensor("audio"))
        picture.fold(scene.estimate("a"))
        picture.fold(scene.health(fusion=("running", 41)))
    assert list(picture.events) == []
    picture.fold(scene.sensor("audio", "masked", "absent", "masked by the hub"))
    picture.fold(scene.estimate("none"))
    picture.fold(scene.health(fusion=("restarting", 41)))
    assert [text for _, text in picture.events] == [
        "audio: gate masked, sensor absent: masked by the hub",
        "combination a -> none",
        "fusion is restarting: ended by SIGKILL",
    ]


def test_a_late_revision_does_not_replace_the_newest_window() -> None:
    scene = Scene()
    picture = Snapshot(scene.clock.now_us())
    newest = scene.estimate("atv")
    picture.fold(newest)
    picture.fold(scene.estimate("a", final=True, origin_us=newest.envelope.origin_us - 2_000_000))
    assert picture.estimate is not None
    assert picture.estimate.body.combination == "atv"
