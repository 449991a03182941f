"""Captures the README's image of the page: ``python -m tests.end_to_end.page_picture``."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.browser import chromium
from tests.end_to_end.test_page import last_gap, pair_and_turn_on, served_page

PICTURE = Path(__file__).parents[2] / ".readme" / "page.png"
# The timeline draws ten units a second.
SECOND = 10
LANE = "[...document.querySelectorAll('svg[data-lane=video] rect')].map(r => +r.getAttribute('x'))"


def shown(seconds: int) -> str:
    """The timeline covers this time."""
    return f"1200 - Math.min(...{LANE}) >= {seconds * SECOND}"


def gap_of(sensor: str, seconds: int) -> str:
    """The sensor has been unused for this time."""
    gap = last_gap(f"svg[data-lane={sensor}]")
    return f"{gap} && +{gap}.getAttribute('width') >= {seconds * SECOND}"


def main() -> None:
    with ExitStack() as stack:
        browser = stack.enter_context(chromium())
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="em", dir="/tmp")))
        link, state = stack.enter_context(served_page(place))
        browser.set_screen(1160, 1000)
        browser.get(link)
        browser.until("a minute of all sensors", shown(60), 90)
        browser.click("#tile-video button")
        browser.until("a gap of the camera", gap_of("video", 20), 60)
        pair_and_turn_on(browser, state, "video", "Watching")
        browser.until("all sensors again", shown(110), 90)
        browser.click("#tile-audio button")
        browser.until("a gap of the microphone", gap_of("audio", 14), 60)
        for part in ("why", "speed"):
            browser.click(f"#{part} summary")
            browser.until(part, f"document.querySelector('#{part}-table tbody tr')")
        browser.script("document.activeElement.blur(); scrollTo(0, 0)")
        browser.driver.save_screenshot(str(PICTURE))


if __name__ == "__main__":
    main()
