"""The terminal view shows gate, health and reasons separately, and fits 80 columns and 24 lines."""

from __future__ import annotations

import msgspec
from rich.console import Console

from edge_mer.client.snapshot import Snapshot
from edge_mer.client.status_text import sensor_lines
from edge_mer.client.view import STALE_US, render
from edge_mer.contract.domain import EMOTIONS
from edge_mer.contract.people import PersonInView
from tests.client.scene import Scene


def drawn(snapshot: Snapshot, now_us: int, width: int = 80) -> list[str]:
    console = Console(width=width, height=24, record=True, force_terminal=False)
    with console.capture() as capture:
        console.print(render(snapshot, now_us, "demo"))
    return capture.get().splitlines()


def full_snapshot(scene: Scene) -> Snapshot:
    snapshot = Snapshot(scene.clock.now_us())
    snapshot.fold(scene.sensor("audio"))
    snapshot.fold(scene.sensor("video", "masked", "absent", "masked by a very long name of a user in this household"))
    snapshot.fold(scene.sensor("text", health="warming", reason="the recogniser is loading its model"))
    snapshot.fold(scene.estimate("at"))
    snapshot.fold(scene.health(fusion=("running", 41), camera=("failed", 42)))
    for number in range(60):
        snapshot.note(scene.clock.now_us(), f"event {number} " + "long " * 30)
    return snapshot


def test_view_fits_80_columns_and_24_lines() -> None:
    scene = Scene()
    lines = drawn(full_snapshot(scene), scene.clock.now_us())
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_gate_and_health_are_shown_separately() -> None:
    scene = Scene()
    text = "\n".join(drawn(full_snapshot(scene), scene.clock.now_us()))
    assert "gate   live" in text
    assert "gate   masked" in text
    assert "sensor ok" in text
    assert "sensor warming" in text


def test_view_shows_probabilities_label_sentiment_and_latency() -> None:
    scene = Scene()
    text = "\n".join(drawn(full_snapshot(scene), scene.clock.now_us()))
    assert all(emotion in text for emotion in EMOTIONS)
    assert "+1.25" in text
    assert "not calibrated" in text
    assert "15 ms" in text
    assert "camera failed" in text


def test_abstention_and_missing_sentiment_show_their_reason() -> None:
    scene = Scene()
    snapshot = Snapshot(scene.clock.now_us())
    snapshot.fold(scene.estimate("none"))
    assert "abstains: no modality present" in "\n".join(drawn(snapshot, scene.clock.now_us(), 120))
    snapshot.fold(scene.estimate("av"))
    assert "no labelled data" in "\n".join(drawn(snapshot, scene.clock.now_us(), 120))


def test_valence_and_arousal_are_shown_where_there_is_one() -> None:
    scene = Scene()
    snapshot, message = Snapshot(scene.clock.now_us()), scene.estimate("av")
    assert "valence" not in "\n".join(drawn(full_snapshot(scene), scene.clock.now_us()))
    snapshot.fold(msgspec.structs.replace(message, body=msgspec.structs.replace(message.body, arousal=-0.25)))
    assert "valence       none  arousal -0.25" in "\n".join(drawn(snapshot, scene.clock.now_us()))


def test_stale_estimate_is_marked() -> None:
    scene = Scene()
    snapshot = full_snapshot(scene)
    scene.clock.advance(10_000_000)
    assert "no update for 10 s" in "\n".join(drawn(snapshot, scene.clock.now_us()))


def test_empty_snapshot_shows_waiting() -> None:
    scene = Scene()
    text = "\n".join(drawn(Snapshot(scene.clock.now_us()), scene.clock.now_us()))
    assert "waiting for the first estimate" in text
    assert "not started" in text


def test_changes_become_events_but_repeats_do_not() -> None:
    scene = Scene()
    snapshot = Snapshot(scene.clock.now_us())
    for _ in range(3):
        snapshot.fold(scene.sensor("audio"))
        snapshot.fold(scene.estimate("a"))
        snapshot.fold(scene.health(fusion=("running", 41)))
    assert list(snapshot.events) == []
    snapshot.fold(scene.sensor("audio", "masked", "absent", "masked by the hub"))
    snapshot.fold(scene.estimate("none"))
    snapshot.fold(scene.health(fusion=("restarting", 41)))
    assert [text for _, text in snapshot.events] == [
        "audio: gate masked, sensor absent: masked by the hub",
        "combination a -> none",
        "fusion is restarting: ended by SIGKILL",
    ]


def test_late_revision_does_not_replace_the_newest_window() -> None:
    scene = Scene()
    snapshot = Snapshot(scene.clock.now_us())
    newest = scene.estimate("atv")
    snapshot.fold(newest)
    snapshot.fold(scene.estimate("a", final=True, origin_us=newest.envelope.origin_us - 2_000_000))
    assert snapshot.estimate is not None
    assert snapshot.estimate.body.combination == "atv"


def test_a_modality_that_is_left_out_is_off() -> None:
    scene = Scene()
    snapshot = full_snapshot(scene)
    del snapshot.sensors["text"]
    snapshot.off = frozenset({"text"})
    text = "\n".join(drawn(snapshot, scene.clock.now_us()))
    assert "│ off " in text
    assert "not started" not in text
    assert sensor_lines(snapshot.sensors, snapshot.off)[2] == "  text   off"


BOX = (0.1, 0.1, 0.2, 0.2)
FIRST = PersonInView("p1", 0, BOX, "silent", "v", False)
SECOND = PersonInView("p2", 0, BOX, "speaking", "atv", True)
MASKED = PersonInView("p10", 0, BOX, "unknown", "none", False, masked=True)


def company(scene: Scene, *people: PersonInView, voice: str | None = None) -> list[str]:
    snapshot = full_snapshot(scene)
    snapshot.fold(scene.estimate("atv", person="p2", focus=True))
    snapshot.fold(scene.estimate("none", person="p1", focus=False))
    snapshot.fold(scene.estimate("at", person="voice", focus=False))
    snapshot.fold(scene.people(*people, voice=voice))
    return drawn(snapshot, scene.clock.now_us())


def test_each_of_several_people_has_a_row_and_who_is_in_focus_the_first() -> None:
    lines = company(Scene(), FIRST, MASKED, SECOND)
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    [title] = [n for n, line in enumerate(lines) if "expressed emotion of each" in line]
    rows = [" ".join(line.strip("│ ").split()) for line in lines[title + 2 : title + 5]]
    assert rows == ["> p2 speaks atv happy 1.00", "p1 silent v no modality present", "p10 masked"]


def test_a_voice_off_screen_has_a_row() -> None:
    assert any(
        "voice" in line and "speaks" in line and "happy" in line
        for line in company(Scene(), FIRST, SECOND, voice="voice")
    )


def test_one_person_looks_as_nobody_told_apart() -> None:
    text = "\n".join(company(Scene(), SECOND))
    assert all(emotion in text for emotion in EMOTIONS)
    assert "of each" not in text


def test_an_old_list_of_people_is_not_shown() -> None:
    scene = Scene()
    snapshot = full_snapshot(scene)
    snapshot.fold(scene.people(FIRST, SECOND))
    scene.clock.advance(STALE_US + 1)
    assert "of each" not in "\n".join(drawn(snapshot, scene.clock.now_us()))
