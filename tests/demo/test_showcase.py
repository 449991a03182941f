"""The showcase counts windows by scene, then masks and kills, and its table is true."""

from __future__ import annotations

import msgspec

from edge_mer.capture.playback.timeline import LEAD_US
from edge_mer.contract.clock import SECOND
from edge_mer.contract.messages import Estimate, Message
from edge_mer.demo import scenes
from edge_mer.demo.director import Step
from edge_mer.demo.scenes import Scene, Scenes
from edge_mer.demo.showcase import FINALE, Showcase
from edge_mer.demo.summary import WIDTH, summary
from tests.demo.test_director import Stage

TWO = Scenes(8.0, (Scene("happy", "so happy", 0.0, 4.0), Scene("angry", "so angry", 4.0, 8.0)))


class Play(Stage):
    """A showcase of two scenes of four seconds each, and a clip that begins ``LEAD_US`` after the first gate opened."""

    def __init__(self, finale: tuple[Step, ...] = FINALE) -> None:
        super().__init__(finale)
        self.show = Showcase(TWO, self.director)
        self.feed(self.sensor("video"))
        self.clock.advance(LEAD_US)

    def feed(self, *messages: Message[Estimate]) -> None:
        for message in messages:
            self.snapshot.fold(message)
        self.show.turn(messages, self.clock.now_us())
        self.answer()

    def window(self, label: str | None, combination: str = "v", after_us: int = SECOND // 2) -> None:
        self.clock.advance(after_us)
        made = self.estimate(combination)  # type: ignore[arg-type]
        abstain = None if label else "low confidence"
        self.feed(msgspec.structs.replace(made, body=msgspec.structs.replace(made.body, label=label, abstain=abstain)))

    def verdicts(self) -> list[str]:
        return [result.verdict for result in self.show.results]


def test_a_window_counts_for_the_scene_in_which_it_ends() -> None:
    play = Play()
    for _ in range(7):
        play.window("happy")
    for _ in range(8):
        play.window("angry")
    assert [dict(r.labels) for r in play.show.results] == [{"happy": 7}, {"angry": 8}]
    assert play.verdicts() == ["agreed", "agreed"]


def test_a_scene_with_other_labels_is_wrong_and_one_without_is_withheld() -> None:
    play = Play()
    for _ in range(7):
        play.window("angry")
    for _ in range(8):
        play.window(None)
    assert play.verdicts() == ["wrong", "withheld"]
    assert "wrong" in summary(play.show, "edge-mer")[1]


def test_windows_without_a_face_and_revisions_do_not_count() -> None:
    play = Play()
    play.window("angry", "t")
    play.window("happy")
    old = play.show.newest
    assert old is not None
    play.feed(msgspec.structs.replace(old, body=msgspec.structs.replace(old.body, label="angry", revision=1)))
    assert dict(play.show.results[0].labels) == {"happy": 1}


def test_a_scene_that_was_not_seen_is_a_failure() -> None:
    play = Play()
    play.window("happy")
    assert play.show.failed == ["scene 2: no face was seen"]


def test_it_masks_and_kills_after_the_scenes_and_reports_both() -> None:
    play = Play()
    play.snapshot.fold(play.health(perception_video=("running", 41)))
    for label in ("happy",) * 7 + ("angry",) * 8:
        play.window(label)
    assert not play.commands
    while not play.show.done:
        if play.killed:
            play.snapshot.fold(play.health(perception_video=("running", 42)))
        play.window("happy")
    assert play.commands[-1] == ("mask", ("audio", "text"))
    assert [pid for pid, _ in play.killed] == [41]
    text = "\n".join(summary(play.show, "/opt/bin/edge-mer"))
    assert "(receipts 1 and 2)" in text.replace("\n", " ")
    assert "again after" in text
    assert "/opt/bin/edge-mer doctor" in text
    assert "prove nothing about people" in text
    assert max(map(len, text.splitlines())) <= WIDTH


def test_the_bundled_scenes_cover_their_clip() -> None:
    bundled = scenes.bundled()
    assert scenes.MEDIA.is_file()
    assert scenes.WORDS.is_file()
    assert [s.begin_s for s in bundled.scenes] == [0.0, *(s.end_s for s in bundled.scenes[:-1])]
    assert bundled.scenes[-1].end_s == bundled.duration_s
    assert bundled.at(bundled.duration_s + 0.1) == bundled.scenes[0]
    assert bundled.scenes[0].intended == "neutral"


def test_a_director_names_a_step_that_does_not_come_true() -> None:
    play = Play((Step("never", "at"),))
    play.clock.advance(20 * SECOND)
    for _ in range(20):
        play.window("happy", after_us=SECOND)
    assert play.show.failed[-1].startswith("never")
