"""Captures the README's image of the page: ``python -m tests.end_to_end.page_picture``.

The page is the real one; the messages are made up, because two minutes of a timeline would take two minutes.
"""

from __future__ import annotations

from pathlib import Path

from tests.gateway.shown_page import ShownPage, shown_page

PICTURE = Path(__file__).parents[2] / ".readme" / "page.png"


def show(page: ShownPage) -> None:
    """Two minutes: the camera was off for a while, and the microphone has been turned off."""
    browser = page.browser
    browser.set_screen(1160, 1000)
    browser.get(page.link)
    browser.until("live", "document.querySelector('#connection').dataset.state === 'on'", 20)
    page.state()
    for part in ("why", "speed"):
        browser.click(f"#{part} summary")
    page.past(120, at=(70, 48), tv=(14, 0))
    page.receipt("audio")
    page.state({"audio": "masked by the web page"})
    browser.until("off", "document.querySelector('#tile-audio').dataset.state === 'off'", 10)
    page.explain("tv")
    browser.script("document.activeElement.blur(); scrollTo(0, 0)")


def main() -> None:
    with shown_page(language="en") as page:
        show(page)
        page.state({"audio": "masked by the web page"})
        page.browser.driver.save_screenshot(str(PICTURE))


if __name__ == "__main__":
    main()
