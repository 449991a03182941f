"""The demo's screen shows picture, intention and estimate, whole, on 80 columns and 24 lines."""

from __future__ import annotations

import msgspec
from rich.console import Console

from edge_mer.demo import scenes, stage_view
from edge_mer.demo.director import Director
from edge_mer.demo.pictures import COLUMNS, ROWS, Pictures
from edge_mer.demo.showcase import Showcase
from tests.demo.test_director import Stage

LONG = "out of distribution (audio, video), and this machine is too busy to say more about it"


def drawn(stage: Stage, show: Showcase, width: int = 80) -> list[str]:
    console = Console(width=width, height=24)
    with console.capture() as capture:
        console.print(stage_view.render(show, Pictures(scenes.MEDIA), stage.snapshot, stage.clock.now_us(), "demo"))
    return capture.get().splitlines()


def shown(abstain: str | None = None) -> tuple[Stage, Showcase]:
    stage = Stage()
    show = Showcase(scenes.bundled(), Director(stage.clock, stage.snapshot, stage.switch, ()))  # type: ignore[arg-type]
    show.turn([stage.sensor("video")], stage.clock.now_us())
    stage.clock.advance(1_000_000)
    message = stage.estimate("tv")
    if abstain is not None:
        message = msgspec.structs.replace(
            message, body=msgspec.structs.replace(message.body, label=None, abstain=abstain)
        )
    show.turn([message], stage.clock.now_us())
    for number in range(9):
        stage.snapshot.note(stage.clock.now_us(), f"event {number} " + "long " * 30)
    return stage, show


def test_it_fits_80_columns_and_24_lines() -> None:
    lines = drawn(*shown())
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_intention_words_and_estimate_stand_beside_the_picture() -> None:
    stage, show = shown()
    text = "\n".join(drawn(stage, show))
    assert "intended  neutral" in text
    assert show.scenes.scenes[0].words in text
    assert "estimate  happy 1.00" in text
    assert "face and words" in text


def test_a_reason_is_shown_whole() -> None:
    stage, show = shown(LONG)
    text = " ".join(" ".join(line[COLUMNS + 1 :].split()) for line in drawn(stage, show))
    assert LONG in text


def test_before_the_first_estimate_it_says_that_it_waits() -> None:
    stage = Stage()
    show = Showcase(scenes.bundled(), Director(stage.clock, stage.snapshot, stage.switch, ()))  # type: ignore[arg-type]
    assert "waiting for the first" in "\n".join(drawn(stage, show))


def test_a_picture_is_made_of_half_blocks() -> None:
    text = Pictures(scenes.MEDIA).at(2.0)
    lines = text.plain.splitlines()
    assert (len(lines), {len(line) for line in lines}) == (ROWS, {COLUMNS})
    colours = {span.style for span in text.spans}
    assert len(colours) > 20, "a face has many levels"
