"""What was expressed when: spans of equal outcomes, and one line that says what most windows hold."""

from __future__ import annotations

import msgspec
import pytest

from edge_mer.client.snapshot import Snapshot
from edge_mer.contract.clock import SECOND
from edge_mer.contract.messages import HealthReport, RawText, WordTime, WorkerHealth
from edge_mer.demo.analysis import busy
from edge_mer.demo.timeline import Timeline
from tests.client.scene import Scene

HOP = SECOND // 2


class Played:
    """A timeline whose windows end every half second from its begin on."""

    def __init__(self, is_photo: bool = False, seconds: float = 60.0) -> None:
        self.scene = Scene()
        self.began_us = self.scene.clock.now_us()
        self.timeline = Timeline("clip.mp4", is_photo, seconds, self.began_us)
        self.count = 0

    def windows(self, number: int, label: str | None = "happy", abstain: str | None = None) -> None:
        for _ in range(number):
            self.count += 1
            message = self.scene.estimate("av", final=True, origin_us=self.began_us + self.count * HOP)
            body = msgspec.structs.replace(message.body, label=label, abstain=abstain, confidence=0.75)
            self.timeline.take(msgspec.structs.replace(message, body=body))

    def nothing(self, number: int) -> None:
        for _ in range(number):
            self.count += 1
            self.timeline.take(self.scene.estimate("none", final=True, origin_us=self.began_us + self.count * HOP))

    def words(self, segment: int, *words: tuple[str, float]) -> None:
        times = tuple(WordTime(text, 0, self.began_us + round(at * SECOND)) for text, at in words)
        body = RawText(segment=segment, words=times, final=True, parent=None, engine="e", mask_epoch=1)
        self.timeline.take(self.scene.send("raw/text", body))


def test_equal_outcomes_are_one_line_with_the_words_heard_meanwhile() -> None:
    played = Played()
    played.windows(4)
    played.windows(2, None, "out of distribution (audio)")
    played.words(1, ("good", 0.4), ("morning", 1.9), ("well", 2.6))
    head, first, second = played.timeline.table(100)
    assert head.split() == ["when", "expressed", "likeliest", "heard"]
    assert first.split() == ["0:00.0-0:02.0", "happy", "0.75", "happy", "1.00", "good", "morning"]
    assert second.startswith("0:02.0-0:03.0  out of distribution (audio)")
    assert second.endswith("well")


def test_a_table_fits_80_columns() -> None:
    played = Played()
    played.windows(3)
    played.words(1, *((f"word{n}", n / 10) for n in range(12)))
    assert max(map(len, played.timeline.table(80))) <= 80


def test_a_later_message_replaces_the_words_of_its_segment() -> None:
    played = Played()
    played.windows(4)
    played.words(1, ("got", 0.4))
    played.words(1, ("don't", 0.4), ("forget", 0.9))
    assert played.timeline.table(100)[1].endswith("  don't forget")


def test_sets_of_different_sizes_are_one_reason() -> None:
    played = Played()
    played.windows(1, None, "set too large (6 labels)")
    played.windows(1, None, "set too large (5 labels)")
    assert len(played.timeline.table(100)) == 2


@pytest.mark.parametrize(
    ("windows", "line"),
    [
        ([("happy", None, 12), (None, "low confidence", 2)], "mostly happy (12 of 14 windows)"),
        ([("happy", None, 3), ("sad", None, 2)], "mostly happy (3 of 5 windows)"),
        (
            [("happy", None, 2), ("sad", None, 2), (None, "low confidence", 1)],
            "happy in 2, sad in 2 of 5 windows; no label: low confidence in 1",
        ),
        (
            [(None, "out of distribution (audio)", 3), (None, "out of distribution (video)", 1)],
            "no label in 4 windows: out of distribution in 4; likeliest happy",
        ),
        ([("happy", None, 1)], "mostly happy (1 of 1 window)"),
    ],
)
def test_the_summary_says_what_most_windows_hold(windows: list[tuple[str | None, str | None, int]], line: str) -> None:
    played = Played()
    for label, abstain, number in windows:
        played.windows(number, label, abstain)
    assert played.timeline.summary() == line


def test_windows_without_any_sensor_are_not_counted() -> None:
    played = Played()
    played.nothing(3)
    assert played.timeline.summary() == "nothing was heard or seen: no modality present"
    played.windows(2)
    assert played.timeline.summary() == "mostly happy (2 of 2 windows)"


def test_windows_after_the_end_of_the_clip_are_left_out() -> None:
    played = Played(seconds=1.0)
    played.windows(5)
    assert [row["at_s"] for row in played.timeline.rows()] == [0.5, 1.0]


def test_a_photograph_is_one_row_and_marked() -> None:
    played = Played(is_photo=True)
    played.windows(3)
    played.nothing(4)
    (row,) = played.timeline.rows()
    assert (row["photograph"], row["at_s"], row["label"]) == (True, None, "happy")
    assert played.timeline.summary() == "happy 0.75 (a photograph: one face, one moment)"
    assert played.timeline.table(80)[1].startswith("photograph")


def test_a_clip_that_never_began_has_no_windows() -> None:
    timeline = Timeline("clip.mp4", False, 8.0)
    assert (timeline.windows(), timeline.summary()) == ([], "nothing was heard or seen")


def test_a_machine_that_was_too_slow_is_named() -> None:
    def seen(**late: int) -> Snapshot:
        workers = {n: WorkerHealth("running", 1, 0, 0, None, 0.0, 0, {"late": count}) for n, count in late.items()}
        return Snapshot(0, health=HealthReport(workers=workers))

    assert busy(Snapshot(0)) is None
    assert busy(seen(voice=0)) is None
    assert "came too late" in str(busy(seen(voice=2, face=3)))
    assert " 5 pictures" in str(busy(seen(voice=2, face=3)))
