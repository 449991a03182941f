"""Draws the page in the gateway's README from two minutes of the demo: ``python -m tests.end_to_end.page_picture``."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.browser import chromium
from tests.end_to_end.test_page import home, last_gap, pair_and_turn_on

PICTURE = Path(__file__).parents[2] / ".readme" / "page.png"
# The timeline draws ten units a second.
SECOND = 10
LANE = "[...document.querySelectorAll('svg[data-lane=video] rect')].map(r => +r.getAttribute('x'))"


def shown(seconds: int) -> str:
    """The timeline reaches so far back."""
    return f"1200 - Math.min(...{LANE}) >= {seconds * SECOND}"


def wide(sense: str, seconds: int) -> str:
    """That sense has been missing for so long."""
    gap = last_gap(f"svg[data-lane={sense}]")
    return f"{gap} && +{gap}.getAttribute('width') >= {seconds * SECOND}"


def main() -> None:
    with ExitStack() as stack:
        browser = stack.enter_context(chromium())
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="em", dir="/tmp")))
        link, state = stack.enter_context(home(place))
        browser.look(1160, 1000)
        browser.get(link)
        browser.until("a minute of all senses", shown(60), 90)
        browser.click("#tile-video button")
        browser.until("a gap of the camera", wide("video", 20), 60)
        pair_and_turn_on(browser, state, "video", "Watching")
        browser.until("all senses again", shown(110), 90)
        browser.click("#tile-audio button")
        browser.until("a gap of the microphone", wide("audio", 14), 60)
        for part in ("why", "speed"):
            browser.click(f"#{part} summary")
            browser.until(part, f"document.querySelector('#{part}-table tbody tr')")
        browser.script("document.activeElement.blur(); scrollTo(0, 0)")
        browser.driver.save_screenshot(str(PICTURE))


if __name__ == "__main__":
    main()
