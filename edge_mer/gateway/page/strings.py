"""The page's texts in English and German: one table for the HTML, the JavaScript and the history's summary."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import Struct

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, Combination, modalities_of
from edge_mer.contract.modalities import ALL, LETTER, TABLE, Modality

Language = Literal["en", "de"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
JS = "strings.js"
_PLACE = re.compile(r"\{\{([\w.]+)\}\}")
_ACCEPTED = re.compile(r"\s*([A-Za-z]+)[\w-]*\s*(?:;\s*q=([\d.]+))?\s*")


class Reason(Struct, frozen=True, forbid_unknown_fields=True):
    """A reason in messages, and its plain words. ``match``: see strings.toml."""

    match: str
    en: str
    de: str

    def of(self, language: Language) -> str:
        return self.en if language == "en" else self.de


class Texts(Struct, frozen=True):
    """``rows``: by ``section.key``, the text in each language."""

    rows: Mapping[str, Mapping[Language, str]]
    reasons: tuple[Reason, ...]


@cache
def texts() -> Texts:
    """The table in strings.toml."""
    found = msgspec.toml.decode(files("edge_mer.gateway.page").joinpath("strings.toml").read_bytes())
    reasons = msgspec.convert(found.pop("reason"), tuple[Reason, ...])
    return Texts(dict(_flat("", found)), reasons)


def _flat(prefix: str, table: Mapping[str, Any]) -> list[tuple[str, Mapping[Language, str]]]:
    rows: list[tuple[str, Mapping[Language, str]]] = []
    for key, value in table.items():
        name = f"{prefix}{key}"
        rows += [(name, value)] if set(value) == set(LANGUAGES) else _flat(f"{name}.", value)
    return rows


def text(language: Language, key: str, **values: object) -> str:
    """A row with its ``{name}`` filled in. Raises KeyError for an unknown row."""
    return texts().rows[key][language].format(**values)


def listed(language: Language, items: list[str], word: Literal["and", "or"] = "and") -> str:
    """``a, b and c``."""
    if len(items) < 2:
        return "".join(items)
    return text(language, f"channel.{word}", first=", ".join(items[:-1]), last=items[-1])


def plain(language: Language, reason: str) -> str:
    """A reason of a message in plain words; one that the table does not know is given as it is."""
    for row in texts().reasons:
        if found := re.fullmatch(row.match, reason):
            given = {name: _translated(language, name, value) for name, value in found.groupdict("").items()}
            return row.of(language).format_map({"from": "", **given})
    return reason


def _translated(language: Language, name: str, value: str) -> str:
    if name == "channels":
        return listed(language, [sensor_text(language, m, "channel") if m in TABLE else m for m in value.split(", ")])
    if name == "sensor":
        return sensor_text(language, value, "name") if value in TABLE else value
    if name == "count":
        return texts().rows.get(f"count.{value}", {}).get(language, value)
    return plain(language, value) if name == "reason" else value


def chosen(setting: Literal["auto", "en", "de"], accepted: str) -> Language:
    """``setting``, or with "auto" the best of an Accept-Language header; English where it names neither."""
    if setting != "auto":
        return setting
    found: list[tuple[float, Language]] = []
    for part in accepted.split(","):
        match = _ACCEPTED.fullmatch(part)
        name = match[1].lower() if match else ""
        if match and name in LANGUAGES:
            found.append((_weight(match[2]), name))
    return max(found, key=lambda f: f[0], default=(0.0, LANGUAGES[0]))[1]


def _weight(text: str | None) -> float:
    try:
        return 1.0 if text is None else float(text)
    except ValueError:
        return 0.0


def sensor_text(language: Language, modality: Modality, part: Literal["name", "channel", "at"]) -> str:
    """A word of a modality; of one that a package added, the English of its own row."""
    words = TABLE[modality].words
    own = {"name": words.sensor, "channel": words.channel, "at": words.active}[part]
    row = texts().rows.get(f"channel.{modality}" if part == "channel" else f"sensor.{modality}.{part}")
    return own if row is None else row[language]


def combination_text(language: Language, combination: Combination) -> str:
    """``voice and face``; ``voice alone``; ``all three``."""
    channels = [sensor_text(language, m, "channel") for m in modalities_of(combination)]
    if combination == ALL:
        number = texts().rows.get(f"count.{len(channels)}", {}).get(language, str(len(channels)))
        return text(language, "count.all", count=number)
    if len(channels) == 1:
        return text(language, "channel.alone", channel=channels[0])
    return listed(language, channels)


def render(page: str, language: Language) -> str:
    """HTML with every ``{{section.key}}`` replaced. Raises KeyError for an unknown row."""
    filled = _PLACE.sub(lambda found: html.escape(texts().rows[found[1]][language]), page)
    return filled.replace('<html lang="en">', f'<html lang="{language}">')


def strings_js(language: Language) -> bytes:
    """The table as a JavaScript module, with the table of modalities, so that the page code names no modality."""
    exports: dict[str, Any] = {
        "LANGUAGE": language,
        "TEXT": {key: row[language] for key, row in texts().rows.items()},
        "REASONS": [[f"^(?:{row.match})$".replace("(?P<", "(?<"), row.of(language)] for row in texts().reasons],
        "MODALITIES": MODALITIES,
        "LETTER": LETTER,
        "SENSORS": {
            m: {part: sensor_text(language, m, part) for part in ("name", "channel", "at")}
            | {"icon": TABLE[m].words.icon}
            for m in MODALITIES
        },
        "COMBINATIONS": {c: combination_text(language, c) for c in COMBINATIONS},
    }
    rows = (f"export const {name} = {json.dumps(value, ensure_ascii=False)};\n" for name, value in exports.items())
    return "".join(rows).encode()
