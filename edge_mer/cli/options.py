"""Options that several commands take, and how they become a config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.privacy.switch.people_mask import fault_of

PERSON = "person"

ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML config; default ~/.config/edge_mer.toml")]
Setting = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="override one config value")
]
Directory = Annotated[
    Path | None, typer.Option("--directory", help="runtime directory of the running instance; default: as configured")
]
Modalities = Annotated[
    list[str],
    typer.Argument(
        metavar="MODALITY", help=f"one or more of {', '.join(MODALITIES)}; or all; or: person p2, person all"
    ),
]
At = Annotated[str | None, typer.Option("--at", metavar="NAME", help="name of a paired remote host")]
Json = Annotated[bool, typer.Option("--json", help="one JSON object per line on standard output")]
From = Annotated[float, typer.Option("--from", metavar="S", min=0, help="start, in seconds from the first message")]
To = Annotated[
    float | None,
    typer.Option(
        "--to", metavar="S", min=0, help="end, in seconds from the first message; default: the end of the session"
    ),
]


def overrides(settings: list[str] | None) -> dict[str, dict[str, Any]]:
    """``["video.fps=10"]`` is ``{"video": {"fps": 10}}``. Raises BadParameter (exit code 2) for any other form."""
    found: dict[str, dict[str, Any]] = {}
    for text in settings or []:
        name, equals, value = text.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and section and key):
            raise typer.BadParameter(f"--set takes SECTION.KEY=VALUE, for example video.fps=10; got {text!r}")
        found.setdefault(section, {})[key] = _value(value.strip())
    return found


def _value(text: str) -> Any:
    """A JSON value where it is one (10, true, null, "x"), else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def persons(names: list[str]) -> tuple[str, ...]:
    """Whom ``person p2 p3`` names; none where modalities are named. Raises BadParameter (exit code 2) for others."""
    if not names or names[0] != PERSON:
        return ()
    if len(names) == 1:
        raise typer.BadParameter("which person? name those in view as edge-mer status and the page do, as p2; or all")
    if fault := fault_of(names[1:]):
        raise typer.BadParameter(fault)
    return tuple(dict.fromkeys(names[1:]))


def modalities(names: list[str]) -> tuple[Modality, ...]:
    """Checked names, each once; ``all`` is every modality. Raises BadParameter (exit code 2) for an unknown one."""
    if names == ["all"]:
        return MODALITIES
    if unknown := [n for n in names if n not in MODALITIES]:
        raise typer.BadParameter(f"unknown modality {', '.join(unknown)}; known: {', '.join(MODALITIES)}")
    return tuple(m for m in MODALITIES if m in cast(list[Modality], names))
