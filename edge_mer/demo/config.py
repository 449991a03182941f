"""The configuration of the demo: all input from files, and a separate state directory."""

from __future__ import annotations

import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edge_mer.config import Config, load
from edge_mer.demo.clip import Clip
from edge_mer.privacy.consent_setup import agree
from edge_mer.session.keys import key_store

ASSETS = Path(__file__).parent / "assets"
SESSION, WORDS = ASSETS / "demo.mkv", ASSETS / "demo.words.json"


def demo_config(
    place: Path,
    clip: Clip | None,
    record: Path | None,
    more: dict[str, dict[str, Any]],
    bundled: tuple[Path, Path] = (SESSION, WORDS),
) -> Config:
    """All input from files, and a separate deployment: the user's own state is neither read nor changed.

    Starting the demo is consent to process its files. ``bundled``: clip and words to play without ``clip``.
    """

    user, _ = load(None, more)  # reports errors in --set
    sections: dict[str, dict[str, Any]] = {
        "audio": {"source": "file"},
        "video": {"source": "file", "live": False},
        "text": {"source": "recorded", "path": str(bundled[1])},
        "file": {"path": str(bundled[0]), "loop": True},
        "privacy": {"state": str(place / "privacy")},
        # The keys of a recording must survive the demo's state directory.
        "record": {"path": str(record.absolute()) if record else None, "keys": str(key_store(user).directory)},
    }
    if clip is not None:
        has_recogniser = find_spec("pocketsphinx") is not None
        sections["text"] = {"source": "asr", "engine": "pocketsphinx"} if has_recogniser else {"source": "off"}
        sections.update(clip.sections())
    for section, values in more.items():
        sections.setdefault(section, {}).update(values)
    config = Config.model_validate(sections)
    agree(config.privacy.state, ("audio", "video", "text"), "who started the demo", datetime.date.today())
    return config
