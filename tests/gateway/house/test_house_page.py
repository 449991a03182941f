"""The page of all rooms in a real Chromium, on a phone: states, one tap for all, plain words, accessibility."""

from __future__ import annotations

import http.client
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from edge_mer.gateway.house.page_server import house_link
from edge_mer.gateway.page.http_auth import Token
from tests.browser import Browser, chromium
from tests.devices import free_port
from tests.gateway.house.stage import TURN_US, HouseStage

pytestmark = [pytest.mark.end_to_end]

AXE = Path(__file__).parents[3] / ".node" / "node_modules" / "axe-core" / "axe.min.js"
PHONE = (390, 844)


class ShownHouse:
    """A house whose turns are taken in a thread of its own, and a browser with its page."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.house: HouseStage
        self.link = ""
        self._ready, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="house")

    def _run(self) -> None:
        with tempfile.TemporaryDirectory(prefix="em", dir="/tmp") as folder:
            self.house = HouseStage(Path(folder), "Kitchen", "Bath", page=f"http://127.0.0.1:{free_port()}")
            self.link = house_link(self.house.config) or ""
            self._ready.set()
            while not self._stop.is_set():
                self.house.turn()
                self.house.bus.wait(TURN_US)
            self.house.close()

    @contextmanager
    def running(self) -> Iterator[ShownHouse]:
        self._thread.start()
        try:
            assert self._ready.wait(60)
            yield self
        finally:
            self._stop.set()
            self._thread.join()

    def open(self, language: str) -> None:
        driver = self.browser.driver
        driver.execute_cdp_cmd("Network.enable", {})
        agent = self.browser.script("return navigator.userAgent")
        driver.execute_cdp_cmd("Network.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": language})
        self.browser.set_screen(*PHONE)
        self.browser.get("about:blank")
        self.browser.get(self.link)
        self.browser.until("live", "document.querySelector('#connection').dataset.state === 'on'", 30)

    def until_text(self, selector: str, text: str) -> None:
        self.browser.until(text, f"document.querySelector({selector!r})?.innerText.includes({text!r})", 30)


@pytest.fixture(scope="module")
def page() -> Iterator[ShownHouse]:
    with chromium() as browser, ShownHouse(browser).running() as found:
        yield found
        assert browser.errors() == []


def axe(browser: Browser) -> list[Any]:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm install in .node")
    browser.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text()})
    found = browser.driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    return [(v["id"], [n["html"] for n in v["nodes"]]) for v in found["violations"]]


def test_one_tap_masks_the_house_and_a_room_without_proof_is_named(page: ShownHouse) -> None:
    page.open("en")
    page.until_text("[data-room=Kitchen] .state", "On: Microphone, Camera and Words")
    page.until_text("#mask-state", "Open: 2 of 2 rooms")
    assert page.browser.script("return document.documentElement.scrollWidth") <= PHONE[0]
    bottom = "return document.querySelector('#mask-all').getBoundingClientRect().bottom"
    assert page.browser.script(bottom) < PHONE[1] / 2
    assert axe(page.browser) == []
    page.house.rooms["Bath"].is_stopped = True
    page.browser.click("#mask-all")
    page.until_text("#mask-state", "NOT proven in: Bath")
    page.until_text("[data-room=Kitchen] .state", "Off")
    page.until_text("[data-room=Bath] .state", "Unknown")
    assert page.browser.script("return !document.querySelector('#withdraw').hidden")
    assert axe(page.browser) == []
    page.house.rooms["Bath"].is_stopped = False
    page.until_text("#mask-state", "Every room is off")
    assert axe(page.browser) == []


def test_page_speaks_german_and_dark(page: ShownHouse) -> None:
    page.open("de")
    page.until_text("#mask-all", "Alles im Haus ausschalten")
    page.browser.set_screen(*PHONE, "dark")
    assert page.browser.script("return document.documentElement.lang") == "de"
    assert axe(page.browser) == []


def test_page_needs_its_own_token(page: ShownHouse) -> None:
    parts = urlsplit(page.link)
    tokens = {"": 401, Token(page.house.state).read(): 401, parts.fragment: 200}
    for token, expected in tokens.items():
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        connection.request("POST", "/withdraw", b"{}", headers)
        assert connection.getresponse().status == expected
        connection.close()
