"""The page of the whole application in a real Chromium: mask by click, show the gap, pair, unmask."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from edge_mer.bench.live import unmask
from edge_mer.contract.clock import SECOND, SystemClock, host_boot_id
from edge_mer.contract.errors import PrivacyError
from edge_mer.demo.config import demo_config
from edge_mer.gateway.page.http_auth import Token, link_of
from edge_mer.privacy.keys.keyring import Keyring
from edge_mer.privacy.keys.pairing import open_pairing
from tests.browser import Browser, chromium
from tests.devices import free_port
from tests.end_to_end.room import started

pytestmark = [pytest.mark.end_to_end]


def last_gap(marks: str) -> str:
    return f"[...document.querySelectorAll('{marks} .gap')].at(-1)"


def is_now(gap: str) -> str:
    """The gap reaches the right edge."""
    return f"({gap} && +{gap}.getAttribute('x') + +{gap}.getAttribute('width') > 1199)"


OF_VIDEO, OF_ALL = last_gap("svg[data-lane=video]"), last_gap("#chart-marks")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def served_page(place: Path) -> Iterator[tuple[str, Path]]:
    """The demo session with everything unmasked; yields the link to its page and the state directory."""
    with ExitStack() as stack:
        port = free_port()
        config = demo_config(place, None, None, {"page": {"address": f"http://127.0.0.1:{port}"}})
        state = place / "privacy"
        bus = stack.enter_context(started(config, place))
        unmask(bus)
        deadline = bus.clock.now_us() + 90 * SECOND  # it restarts until the switch has made the host's key
        while not listens(port):
            assert bus.clock.now_us() < deadline, "the page does not listen"
            bus.wait(SECOND // 10)
        yield link_of(config.page, Token(state)), state


@pytest.fixture(scope="module")
def visit() -> Iterator[tuple[Browser, Path]]:
    with ExitStack() as stack:
        browser = stack.enter_context(chromium())
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="em", dir="/tmp")))
        link, state = stack.enter_context(served_page(place))
        browser.get(link)
        browser.until("an estimate from all three", "document.querySelector('#from').innerText === 'All three'", 60)
        yield browser, state
        assert browser.errors() == []


@pytest.fixture
def page(visit: tuple[Browser, Path]) -> Browser:
    return visit[0]


def state_is(modality: str, shown: str) -> str:
    return f"document.querySelector('#state-{modality}').innerText === {shown!r}"


def is_off(modality: str) -> str:
    """Off, for good or until a time, and not busy."""
    shown = f"/^Off( until .*)?$/.test(document.querySelector('#state-{modality}').innerText)"
    return f"{shown} && document.querySelector('#tile-{modality} button').ariaBusy === 'false'"


def click_and_pair(page: Browser, state: Path, button: str) -> None:
    """Click what needs a key, and pair first when this browser has none."""
    opened = None
    if not any(k.name == "browser" for k in Keyring(state).paired()):
        opened = open_pairing(state, "browser", "phone", SystemClock(), host_boot_id())
    page.click(button)
    if opened is not None:
        page.until("the dialog", "document.querySelector('#pair').open")
        page.type("#code", opened.code + Keys.ENTER)


def pair_and_turn_on(page: Browser, state: Path, modality: str, active: str) -> None:
    page.until("it is off", is_off(modality))
    click_and_pair(page, state, f"#tile-{modality} button")
    page.until("it is on again", state_is(modality, active))


def test_token_is_removed_from_the_address(page: Browser) -> None:
    assert "#" not in page.driver.current_url
    assert page.script("return document.cookie") == ""


def test_accessibility_tree_contains_the_switches(page: Browser) -> None:
    page.until("the chart has a description", "document.querySelector('#chart').ariaLabel.includes('average')")
    tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    found = [(n["role"]["value"], n["name"]["value"]) for n in tree if not n["ignored"] and n.get("name")]
    for sensor in ("Microphone", "Camera", "Words"):
        assert ("switch", sensor) in found
    assert any(n["role"]["value"] == "status" for n in tree if not n["ignored"])
    assert any("average" in name for _, name in found)
    unnamed = [
        n
        for n in tree
        if not n["ignored"] and n["role"]["value"] in ("button", "switch", "textbox") and not n["name"]["value"]
    ]
    assert not unnamed


def test_masked_persons_are_shown_again_with_the_browsers_key(visit: tuple[Browser, Path]) -> None:
    page, state = visit
    assert page.script("return document.querySelector('#people').hidden"), "one person, not masked"
    page.script("import('/web/server.js').then(s => s.post('/mask', { modalities: [], persons: ['all'] }))")
    page.until("a receipt", "document.querySelector('#people-who').innerText.includes('Receipt')")
    page.until("no face", "!document.querySelector('#from').innerText.includes('face')")
    assert page.script("return document.querySelector('#tile-video button').ariaChecked") == "true"
    click_and_pair(page, state, "#people-unmask")
    page.until("nobody is masked", "document.querySelector('#people').hidden")
    page.until("the face again", "document.querySelector('#from').innerText === 'All three'")


def test_click_masks_with_receipt_and_shows_a_gap(visit: tuple[Browser, Path]) -> None:
    page, state = visit
    page.until("the camera is live", state_is("video", "Watching"))
    pressed = page.script(
        "const b = document.querySelector('#tile-video button'); b.click();"
        "return [b.ariaChecked, b.ariaBusy, document.querySelector('#state-video').innerText]"
    )
    assert pressed == ["true", "true", "Turning off…"], "the press alone does not turn it off"
    # As soon as the switch is off, there is a receipt.
    page.until("off", "document.querySelector('#tile-video button').ariaChecked === 'false'")
    tile = page.text("#tile-video")
    assert "proven by receipt" in tile
    assert "Masked by the web page" in tile
    page.until("a gap", is_now(OF_VIDEO))
    page.until("the other sensors are used", "document.querySelector('#from').innerText === 'Voice and words'")
    assert page.script(f"return !{is_now(OF_ALL)}"), "the probabilities continue"
    page.until(
        "announced",
        "document.querySelector('#announcement').innerText.includes('Camera: Off')"
        " || document.querySelector('#announcement').innerText.includes('Expressed')",
    )
    pair_and_turn_on(page, state, "video", "Watching")
    page.until("used again", "document.querySelector('#from').innerText === 'All three'")
    assert page.script(f"return Boolean({OF_VIDEO})"), "the gap stays in the timeline"


def test_wrong_code_pairs_no_key(visit: tuple[Browser, Path]) -> None:
    page, state = visit
    page.script("indexedDB.deleteDatabase('edge_mer')")
    page.driver.refresh()
    page.until("again", state_is("audio", "Listening"))
    known = Keyring(state).paired()
    opened = open_pairing(state, "attacker", "phone", SystemClock(), host_boot_id())
    page.click("#tile-text button")
    page.until("off", is_off("text"))
    page.click("#tile-text button")
    page.until("the dialog", "document.querySelector('#pair').open")
    page.type("#code", opened.code[::-1] + "0" + Keys.ENTER)
    page.until("refused", "document.querySelector('#pair-note').innerText.includes('not the code')")
    page.click("#pair-cancel")
    assert Keyring(state).paired() == known
    page.until("still off", state_is("text", "Off"))
    with suppress(PrivacyError):  # it may not be paired yet
        Keyring(state).revoke("browser")
    pair_and_turn_on(page, state, "text", "Transcribing")


def test_everything_can_be_turned_off_by_keyboard(visit: tuple[Browser, Path]) -> None:
    page, state = visit
    page.script("document.querySelector('#all-off').focus()")
    page.driver.switch_to.active_element.send_keys(Keys.SPACE)
    page.until("nothing is sensed", "document.querySelector('#label').innerText === 'Nothing is sensed'")
    page.until("a gap in the probabilities", "document.querySelector('#chart-marks .gap')")
    assert all(
        page.script(f"return document.querySelector('#tile-{m} button').ariaChecked") == "false"
        for m in ("audio", "video", "text")
    )
    for modality, active in (("audio", "Listening"), ("video", "Watching"), ("text", "Transcribing")):
        pair_and_turn_on(page, state, modality, active)


def test_a_timed_mask_shows_until_when_it_lasts(visit: tuple[Browser, Path]) -> None:
    page, state = visit
    page.click("#guests")
    for modality, active in (("audio", "Listening"), ("video", "Watching"), ("text", "Transcribing")):
        shown = f"document.querySelector('#state-{modality}').innerText"
        page.until("it says until when", f"/^Off until .*\\d/.test({shown})")
        pair_and_turn_on(page, state, modality, active)


def test_details_open_with_one_click(visit: tuple[Browser, Path]) -> None:
    page, state = visit
    page.until("text is live", state_is("text", "Transcribing"))
    page.click("#tile-text button")
    pair_and_turn_on(page, state, "text", "Transcribing")
    for part in ("why", "speed", "proofs", "processes"):
        page.click(f"#{part} summary")
    page.until("why", "document.querySelector('#why-text').innerText.includes('without data')")
    assert "Camera" in page.text("#why-table")
    page.until("the ledger", "document.querySelector('#speed-table').innerText.includes('Fuse')")
    assert "the web page" in page.text("#proofs-table")
    page.until("processes", "document.querySelector('#processes-table').innerText.includes('fusion')")
    assert page.text("#recording") == "Not recording"


def test_joined_recording_is_shown(visit: tuple[Browser, Path]) -> None:
    page, state = visit
    command = [
        sys.executable,
        "-m",
        "edge_mer.cli.main",
        "record",
        str(state.parent / "joined.mcap"),
        "--directory",
        str(state.parent / "run"),
    ]
    recorder = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        shown = "Recording: features and estimates, no raw media"
        page.until("it is shown", f"document.querySelector('#recording').innerText === {shown!r}")
    finally:
        recorder.send_signal(signal.SIGINT)
        recorder.wait(10)
    page.until("it has ended", "document.querySelector('#recording').innerText === 'Not recording'")


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (1160, "dark")])
def test_page_fits_small_screens_and_dark_mode(page: Browser, width: int, scheme: str) -> None:
    page.set_screen(width, 844, scheme)
    page.until("no sideways scrolling", f"document.documentElement.scrollWidth <= {width}")
    ground = page.script("return getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, ground[4:-1].split(","))) < 60) == (scheme == "dark")
    small = page.script(
        "return [...document.querySelectorAll('button')].filter(b => b.offsetParent)"
        ".filter(b => b.getBoundingClientRect().height < 36).length"
    )
    assert small == 0


def test_missing_token_opens_the_token_dialog(visit: tuple[Browser, Path]) -> None:
    page, _ = visit
    held = page.script("const t = localStorage.getItem('edge_mer.token'); localStorage.clear(); return t")
    page.driver.refresh()
    page.until("the token dialog", "document.querySelector('#enter').open")
    assert page.script("return document.querySelector('#connection').innerText") == "Locked"
    page.errors()  # the browser logs the refused request
    page.type("#token", held + Keys.ENTER)
    page.until("live", "document.querySelector('#connection').innerText === 'Live'")
