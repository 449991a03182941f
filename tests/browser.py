"""A headless Chromium, controlled over WebDriver."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

WAIT_S = 120.0


class Browser:
    """Helpers around Selenium's ``driver`` that wait, read and click."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.get = driver.get

    def script(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def until(self, event: str, code: str, seconds: float = WAIT_S) -> Any:
        """Waits until the JavaScript expression ``code`` is true."""
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        found: Callable[[Any], Any] = lambda d: d.execute_script(f"return {code}")  # noqa: E731
        try:
            return WebDriverWait(self.driver, seconds, poll_frequency=0.1).until(found)
        except TimeoutException:
            raise AssertionError(f"{event}: not within {seconds} s; the page shows {self.text('main')!r}") from None

    def text(self, selector: str) -> str:
        return str(self.script(f"return document.querySelector({selector!r}).innerText"))

    def click(self, selector: str) -> None:
        """Clicks like a user: the element must be visible and not covered."""
        self.driver.find_element("css selector", selector).click()

    def type(self, selector: str, keys: str) -> None:
        self.driver.find_element("css selector", selector).send_keys(keys)

    def set_screen(self, width: int, height: int, scheme: str = "light") -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def errors(self) -> list[str]:
        """Console errors since the last call, including violations of the content security policy."""
        return [e["message"] for e in self.driver.get_log("browser") if e["level"] in ("SEVERE", "ERROR")]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Skips the test without Chromium (CI installs it)."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("Chromium is not installed: apt install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (
        "--headless=new",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--disable-gpu",
        *(("--no-sandbox",) if os.geteuid() == 0 else ()),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(found)
    finally:
        found.quit()
