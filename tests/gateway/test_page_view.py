"""The page in a real Chromium with made-up messages: first screen, languages, plain words, guests, accessibility."""

from __future__ import annotations

import datetime
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.messages import People
from edge_mer.contract.people import MaskedPeople, PersonInView
from tests.gateway.estimates import estimate
from tests.gateway.shown_page import ShownPage, made_up, shown_page

pytestmark = [pytest.mark.end_to_end]

AXE = Path(__file__).parents[2] / ".node" / "node_modules" / "axe-core" / "axe.min.js"
MINUTE_US = 60 * SECOND
BY_PAGE = dict.fromkeys(MODALITIES, "masked by the web page")
ENGLISH, GERMAN = "en-US,en", "de-DE,de"


@pytest.fixture(scope="module")
def served() -> Iterator[ShownPage]:
    with shown_page() as found:
        yield found
        assert found.browser.errors() == []


@pytest.fixture
def page(served: ShownPage) -> ShownPage:
    return opened(served, ENGLISH)


def opened(page: ShownPage, language: str) -> ShownPage:
    """The page loaded anew in a browser of this language."""
    browser = page.browser
    browser.driver.execute_cdp_cmd("Network.enable", {})
    agent = browser.script("return navigator.userAgent")
    browser.driver.execute_cdp_cmd("Network.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": language})
    browser.set_screen(1280, 900)
    browser.get("about:blank")
    browser.get(page.link)
    browser.until("live", "document.querySelector('#connection').dataset.state === 'on'", 20)
    page.state()
    browser.until("sensors", "document.querySelector('#tile-video').dataset.state === 'on'", 10)
    return page


def show(page: ShownPage, **fields: Any) -> None:
    page.publish("emotion", estimate(revision=0, final=False, **fields))


def text_is(selector: str, shown: str) -> str:
    return f"document.querySelector({selector!r}).innerText === {shown!r}"


def test_estimate_stands_first_on_a_phone_and_sensors_in_one_row(page: ShownPage) -> None:
    browser = page.browser
    browser.set_screen(390, 844)
    show(page)
    browser.until("the label", text_is("#label", "Happy"), 10)
    assert browser.script("return document.title") == f"{socket.gethostname()}: edge_mer"
    title = browser.script("return document.querySelector('#now-title').getBoundingClientRect().top")
    assert title < 150
    tops = browser.script("return [...document.querySelectorAll('.tile')].map(t => t.getBoundingClientRect().top)")
    assert len(set(tops)) == 1
    switches = (
        "return [...document.querySelectorAll('.tile button')].every(b => b.getBoundingClientRect().bottom < 844)"
    )
    assert browser.script(switches)
    assert browser.script("return document.documentElement.scrollWidth") <= 390


def test_no_sentiment_is_marked_before_data(page: ShownPage) -> None:
    mark = "document.querySelector('#sentiment-mark').offsetParent"
    assert page.browser.script(f"return {mark}") is None
    show(page)
    page.browser.until("a mark", mark, 10)


def test_reasons_are_plain_words(page: ShownPage) -> None:
    browser = page.browser
    none = {"label": None, "sentiment": None, "sentiment_reason": "no sentiment labels for this combination"}
    show(page, combination="av", abstain="out of distribution (audio)", **none)
    browser.until("unlike", text_is("#sure", "This voice is unlike those it was tested on"), 10)
    assert browser.text("#sentiment") == "No sentiment from voice and face alone"
    show(page, abstain="set too large (6 labels)", **none)
    browser.until("any", text_is("#sure", "Could be any of six"), 10)
    show(page, abstain="set too large (2 labels)", prediction_set=("happy", "sad"), **none)
    browser.until("either", text_is("#sure", "Could be happy or sad. Could be any of two"), 10)
    page.state(text={"dropped": 12})
    browser.until(
        "lost",
        "document.querySelector('#tile-text .fine').innerText.includes('12 phrases lost: the machine is busy')",
        10,
    )


def test_browser_that_asks_for_german_gets_german(served: ShownPage) -> None:
    page = opened(served, GERMAN)
    assert page.browser.script("return document.documentElement.lang") == "de"
    show(
        page, combination="v", label=None, abstain="out of distribution (video)", sentiment=None, sentiment_reason=None
    )
    page.browser.until("German", text_is("#sure", "Dieses Gesicht ist anders als die geprüften"), 10)
    assert page.browser.text("#from") == "Nur Gesicht"
    assert page.browser.text("#all-off") == "Alles ausschalten"


def test_legend_gives_each_colour_one_meaning(page: ShownPage) -> None:
    for scheme in ("light", "dark"):
        page.browser.set_screen(1280, 900, scheme)
        colours = page.browser.script(
            "return [...document.querySelectorAll('#legend span')].map(s => getComputedStyle(s).background)"
        )
        assert len(colours) == len(set(colours)) == 9


def test_note_about_no_answer_disappears_with_the_connection_back(page: ShownPage) -> None:
    browser = page.browser
    browser.script("window.kept = window.fetch; window.fetch = () => Promise.reject(new Error('down'))")
    browser.click("#tile-video button")
    note = "document.querySelector('#tile-video .note').innerText"
    browser.until("a note", f"{note} === 'The device does not answer.'", 10)
    browser.script("window.fetch = window.kept; dispatchEvent(new HashChangeEvent('hashchange'))")
    browser.until("no note", f"{note} === ''", 10)


def test_several_people_have_tiles_that_offer_a_mask(page: ShownPage) -> None:
    browser = page.browser
    page.people()
    tiles = "document.querySelectorAll('#people-tiles li')"
    browser.until("tiles", f"{tiles}.length === 3 && {tiles}[0].innerText.includes('Happy')", 10)
    shown = browser.script(f"return [...{tiles}].map(tile => tile.innerText.split('\\n'))")
    assert shown == [
        ["Person 2, in focus", "Happy, 70 %", "Speaks", "All three"],
        ["Person 1", "Sad, 70 %", "Face alone"],
        ["Person 3", "Masked", "Nothing is read from this face"],
    ]
    browser.click("#people-tiles li:nth-child(2) .person")
    browser.until("an offer", f"{tiles}[1].innerText.includes('Mask this person')", 5)
    assert not browser.script(f"return {tiles}[0].innerText.includes('Mask this person')")
    browser.click("#people-tiles li:nth-child(2) .offer button")
    page.people()
    browser.until("no switch", "document.querySelector('#people-note').innerText.includes('does not answer')", 10)


def test_one_person_who_is_not_masked_changes_nothing(page: ShownPage) -> None:
    body = People(
        people=(PersonInView("p1", 0, (0, 0, 1, 1), "silent", "v", True),), voice=None, biometric=True, mask_epoch=0
    )
    page.publish("people", body)
    show(page, person="p1", focus=True, label="happy", confidence=0.7)
    page.browser.until("an estimate", "document.querySelector('#label').innerText !== '…'", 10)
    assert page.browser.script("return document.querySelector('#people').hidden")


def test_a_mask_of_persons_is_named_with_its_receipt_and_closes_no_camera(page: ShownPage) -> None:
    page.receipt("video", persons=("p2", "p3"))
    page.state(people=MaskedPeople(("p2", "p3"), mask_epoch=1, reason="masked by the web page"))
    page.browser.until(
        "a mask",
        text_is("#people-who", "Masked: Person 2 and Person 3. Receipt 3. The camera stays open."),
        10,
    )
    assert page.browser.script("return document.querySelector('#tile-video').dataset.state") == "on"
    page.browser.script("document.querySelector('#proofs').open = true")
    page.browser.until(
        "its row", "document.querySelector('#proofs-table').innerText.includes('Person 2 and Person 3')", 5
    )


def guests_until(page: ShownPage, minutes: float) -> str:
    """Everything is masked and opens in so many minutes; returns that time as HH:MM."""
    wall_us = page.bus.clock.wall_us() + round(minutes * MINUTE_US)
    for m in MODALITIES:
        page.receipt(m)
    page.state(BY_PAGE, until_us=wall_us)
    page.browser.until("guest mode", "!document.querySelector('#guests-on').hidden", 10)
    return f"{datetime.datetime.fromtimestamp(wall_us / SECOND):%H:%M}"


def test_guest_mode_says_until_when(page: ShownPage) -> None:
    end = guests_until(page, 150)
    script = "new Date(Date.now() + 150 * 60e3)"
    days = page.browser.script(f"return {script}.toDateString() === new Date().toDateString()")
    note = page.browser.text("#guests-note")
    assert note.startswith("Off for guests until ")
    if days:
        hours = {"hour": "2-digit", "minute": "2-digit", "hourCycle": "h23"}
        shown = page.browser.script(f"return {script}.toLocaleTimeString('en', {hours})")
        assert shown in note
        assert end[3:] in note
    assert page.browser.text("#state-video").startswith("Off until ")
    assert not page.browser.script("return document.querySelector('#guests').offsetParent")


def test_guest_mode_can_last_an_hour_longer_or_stay(page: ShownPage) -> None:
    guests_until(page, 30)
    page.browser.script(
        "window.kept = window.fetch; window.asked = []; window.fetch = (path, given) => {"
        "window.asked.push([path, JSON.parse(given.body)]);"
        'return Promise.resolve(new Response(\'{"ok": true, "text": "", "receipts": []}\')) }'
    )
    page.browser.click("#guests-hour")
    page.browser.click("#guests-stay")
    page.browser.until("two requests", "window.asked.length === 2", 10)
    (_, longer), (path, stay) = page.browser.script("return window.asked")
    page.browser.script("window.fetch = window.kept")
    assert path == "/mask"
    assert 5340 <= longer["for_s"] <= 5400, "the half hour that is left, and one more"
    assert stay == {"modalities": list(MODALITIES), "for_s": 0}


def test_notice_comes_before_guest_mode_ends(page: ShownPage) -> None:
    guests_until(page, 9.5)
    page.browser.until("announced", "document.querySelector('#announcement').innerText.includes('in 9 min')", 10)
    assert "Microphone, Camera and Words: on again at" in page.browser.text("#guests-note")
    guests_until(page, 0.5)
    page.browser.until("at once", "document.querySelector('#guests-note').innerText.includes('less than a minute')", 10)


def test_settings_of_this_browser_change_names_and_steadiness(page: ShownPage) -> None:
    browser = page.browser
    browser.click("#settings summary")
    browser.script(
        "const set = (id, value) => { const field = document.getElementById(id); field.value = value;"
        "field.dispatchEvent(new Event('change')); }; set('name-of-video', 'Kitchen'); set('steady', '2');"
    )
    assert browser.text("#name-video") == "Kitchen"
    now = page.bus.clock.now_us()
    page.publish("emotion", estimate(revision=0, final=False, label="sad"), now)
    browser.until("it waits", text_is("#label", "Changing"), 10)
    page.publish("emotion", estimate(revision=0, final=False, label="sad"), now + 2 * SECOND)
    browser.until("it lasted", text_is("#label", "Sad"), 10)
    browser.script("localStorage.removeItem('edge_mer.settings')")


def test_page_can_be_installed(page: ShownPage) -> None:
    found = page.browser.driver.execute_cdp_cmd("Page.getAppManifest", {})
    assert found["errors"] == []
    assert '"standalone"' in found["data"]


def test_history_is_shown_by_day_and_by_week_and_erased(served: ShownPage) -> None:
    served.kept_days(9)
    page = opened(served, ENGLISH)
    browser = page.browser
    browser.click("#history summary")
    browser.until("a summary", "document.querySelector('#history-summary').innerText.includes('Mostly ')", 10)
    columns = "[...document.querySelectorAll('#history-chart .e-happy')].length"
    assert browser.script(f"return {columns}") > 3
    assert browser.script("return document.querySelector('#history-lanes .gap title').textContent") == "0:00: 100 %"
    browser.click("#history-week")
    browser.until("seven days", f"{columns} === 7", 10)
    browser.click("#history-earlier")
    browser.until("two days", f"{columns} === 2", 10)
    browser.click("#history-day")
    browser.until("today", "!document.querySelector('#history-erase-day').hidden", 10)
    browser.script("window.confirm = () => true")
    browser.click("#history-erase-day")
    browser.until("erased", "document.querySelector('#history-note').innerText.includes('Erased, receipt 0')", 10)
    assert browser.text("#history-summary") == "Nothing was kept for this time."
    browser.click("#history-erase-video")
    browser.until("erased", "document.querySelector('#history-note').innerText.includes('Erased, receipt 1')", 10)
    browser.click("#history-week")
    browser.until("nothing with the camera", f"{columns} === 0", 10)


@pytest.mark.parametrize("language", [ENGLISH, GERMAN])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_violation(served: ShownPage, language: str, scheme: str, width: int) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm install --prefix .node axe-core@4")
    page = opened(served, language)
    page.browser.set_screen(width, 844, scheme)
    page.browser.script("document.querySelectorAll('details').forEach(d => { d.open = true })")
    guests_until(page, 5)
    page.publish("emotion", made_up(10, "tv"))
    page.explain("tv")
    page.people()
    page.state(BY_PAGE, page.bus.clock.wall_us() + 5 * MINUTE_US, MaskedPeople(("p3",), mask_epoch=1))
    page.browser.until("people", "document.querySelectorAll('#people-tiles li').length === 3", 10)
    page.browser.script("document.querySelectorAll('.person').forEach(tile => tile.click?.())")
    page.browser.until("a history", "!document.querySelector('#history-view').hidden", 10)
    for table in ("speed", "proofs", "processes"):
        page.browser.until(table, f"document.querySelector('#{table}-table tbody tr')", 10)
    page.browser.script(AXE.read_text())
    found = page.browser.driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found["violations"]] == []
    # On a phone, axe cannot measure the contrast of cells that are scrolled out of their table's frame.
    unsure = [v for v in found["incomplete"] if width > 760 or v["id"] != "color-contrast"]
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in unsure] == []
