"""The page's texts: both languages are complete, everything that is used exists, and reasons become plain words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.contract.domain import COMBINATIONS, EMOTIONS, MODALITIES
from edge_mer.contract.modalities import TABLE
from edge_mer.fusion import abstention, presence
from edge_mer.gateway.page import strings
from edge_mer.gateway.page.strings import LANGUAGES, chosen, combination_text, render, sensor_text, strings_js, texts
from edge_mer.privacy.switch import memory

WEB = Path(strings.__file__).parent / "web"
PAGES = {p.name: p.read_text() for p in WEB.glob("*.html")}
SCRIPTS = {p.name: p.read_text() for p in WEB.glob("*.js")}
# Rows that JavaScript or Python names by a computed key.
COMPUTED = (
    "emotion.",
    "sensor.",
    "channel.",
    "count.",
    "health.",
    "stage.",
    "now.positive",
    "now.neutral",
    "now.negative",
    "tile.lost_",
)


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_both_languages_have_every_text_with_the_same_fields() -> None:
    for key, row in texts().rows.items():
        assert all(row[language].strip() for language in LANGUAGES), key
        assert fields(row["en"]) == fields(row["de"]), key
    for reason in texts().reasons:
        assert fields(reason.en) == fields(reason.de), reason.match


def test_every_text_that_a_script_uses_exists_and_every_text_is_used() -> None:
    used = set(re.findall(r"\{\{([\w.]+)\}\}", "".join(PAGES.values())))
    for name, script in SCRIPTS.items():
        # A key in t(…) may also stand in a choice or be chosen by a condition.
        found = {k for k in re.findall(r'"([a-z_]+\.[\w.]+)"', script) if k in texts().rows}
        direct = set(re.findall(r'\bt\("([\w.]+)"', script))
        assert direct <= set(texts().rows), name
        used |= found
    folder = Path(strings.__file__).parent
    python = "".join((folder / name).read_text() for name in ("strings.py", "history_text.py"))
    unused = {k for k in texts().rows if k not in used and not k.startswith(COMPUTED) and f'"{k}"' not in python}
    assert not unused


@pytest.mark.parametrize("name", sorted(PAGES))
def test_page_in_each_language_has_no_empty_place(name: str) -> None:
    for language in LANGUAGES:
        shown = render(PAGES[name], language)
        assert "{{" not in shown
        assert f'<html lang="{language}">' in shown


def test_text_without_a_row_is_an_error() -> None:
    assert "Alles ausschalten" in render(PAGES["index.html"], "de")
    with pytest.raises(KeyError):
        render("{{no.such_text}}", "en")


def test_words_of_modalities_are_those_of_their_table() -> None:
    for modality, row in TABLE.items():
        words = [sensor_text("en", modality, part) for part in ("name", "channel", "at")]
        assert words == [row.words.sensor, row.words.channel, row.words.active]
        assert sensor_text("de", modality, "name") != row.words.sensor
    assert combination_text("en", "atv") == "all three"
    assert combination_text("en", "av") == "voice and face"
    assert combination_text("de", "v") == "nur Gesicht"
    assert set(EMOTIONS) <= {k.partition(".")[2] for k in texts().rows if k.startswith("emotion.")}


def plain(reason: str) -> str | None:
    """The English template that applies, by Python's notation of named groups."""
    for row in texts().reasons:
        if re.fullmatch(row.match, reason):
            return row.en
    return None


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("out of distribution (audio)", "This voice is unlike those it was tested on"),
        ("out of distribution (audio, video)", "Unlike what it was tested on: {channels}"),
        ("set too large (6 labels)", "Could be any of {count}"),
        ("no sentiment labels for this combination", "No sentiment from {from} alone"),
        ("masked by the web page", "Masked by the web page"),
        ("masked by anna, with the audio that it is made from", "{reason}. Made from: {sensor}"),
        ("no consent: nobody in this home agreed to audio", "Nobody in this home agreed to it"),
    ],
)
def test_codes_become_plain_words(reason: str, shown: str) -> None:
    assert plain(reason) == shown


def test_every_reason_of_fusion_and_switch_has_plain_words() -> None:
    words = [w for row in TABLE.values() for w in (row.words.nothing, row.words.stale)]
    constants = [presence.WARMING, presence.FEW, abstention.NOTHING, abstention.UNBOUND, abstention.LOW]
    scoped = [f"{code} ({m})" for code in (presence.FEW, abstention.NOVEL) for m in MODALITIES]
    for reason in (*words, *constants, *scoped, memory.NEVER, memory.STARTED):
        assert plain(reason), reason


@pytest.mark.parametrize(
    ("setting", "accepted", "language"),
    [
        ("auto", "de-DE,de;q=0.9,en;q=0.8", "de"),
        ("auto", "en-GB,en;q=0.9,de;q=0.8", "en"),
        ("auto", "fr,de;q=0.5", "de"),
        ("auto", "fr", "en"),
        ("auto", "", "en"),
        ("auto", "de;q=x", "en"),
        ("de", "en", "de"),
        ("en", "de", "en"),
    ],
)
def test_language_is_what_the_browser_asks_or_the_setting(setting: str, accepted: str, language: str) -> None:
    assert chosen(setting, accepted) == language  # type: ignore[arg-type]


@given(st.text())
def test_any_accept_language_header_gives_a_language(accepted: str) -> None:
    assert chosen("auto", accepted) in LANGUAGES


def test_script_of_texts_holds_the_table() -> None:
    for language in LANGUAGES:
        lines = dict(
            line.removeprefix("export const ").split(" = ", 1) for line in strings_js(language).decode().splitlines()
        )
        rows = {name: json.loads(value.removesuffix(";")) for name, value in lines.items()}
        assert rows["LANGUAGE"] == language
        assert set(rows["TEXT"]) == set(texts().rows)
        assert set(rows["COMBINATIONS"]) == set(COMBINATIONS)
        assert list(rows["MODALITIES"]) == list(MODALITIES)
