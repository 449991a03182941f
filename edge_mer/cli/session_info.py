"""``edge-mer session info FILE``: what was recorded, when and how; what is sealed, erased or damaged."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from edge_mer.cli.options import ConfigFile, Json
from edge_mer.config import load
from edge_mer.session.keys import KeyStore, key_store
from edge_mer.session.reader import Session, check_own, is_held


def info(
    file: Annotated[Path, typer.Argument(help="session file")],
    check: Annotated[bool, typer.Option("--check", help="read everything and list all damage")] = False,
    json: Json = False,
    config: ConfigFile = None,
) -> None:
    """Show what a session holds.

    With --check, exit code 1 when anything in it is damaged.
    """
    keys = key_store(load(config)[0])
    found = Session(file, keys)
    check_own(found)
    if check:
        found.check()
    facts = describe(found, keys)
    typer.echo(msgspec.json.encode(facts).decode() if json else "\n".join(lines(facts)))
    if check and found.faults and not is_held(file):
        raise typer.Exit(1)


def describe(session: Session, keys: KeyStore) -> dict[str, Any]:
    opening, trailer = session.opening, session.trailer
    first, last = session.span_us
    erased = {m: keys.erased_at(opening.session, m) for m in session.unreadable} if opening is not None else {}
    return {
        "path": str(session.path),
        "finished": session.finished,
        "began": wall(first, opening.wall_offset_us) if opening is not None else None,
        "seconds": round((last - first) / 1e6, 3),
        "bytes": session.path.stat().st_size,
        "joined": opening.joined if opening is not None else None,
        "origin": trailer.origin if trailer is not None else None,
        "unverifiable": trailer.unverifiable if trailer is not None else _unfinished(session.path),
        "entries": trailer.entries if trailer is not None else None,
        "results": trailer.results if trailer is not None else None,
        "messages": trailer.messages if trailer is not None else dict.fromkeys(sorted(session.topics)),
        "models": trailer.models if trailer is not None else {},
        "versions": opening.versions if opening is not None else {},
        "threads": trailer.threads if trailer is not None else {},
        "digests": {k: getattr(trailer, k) for k in ("digest", "journal", "config", "runtime")} if trailer else {},
        "lost": {k: v for k, v in trailer.counters.items() if v} if trailer is not None else {},
        "sealed": list(session.sealed),
        "erased": {m: wall(at * 1_000_000, 0) for m, at in erased.items() if at is not None},
        "key_missing": [m for m, at in erased.items() if at is None],
        "faults": session.faults,
    }


def _unfinished(path: Path) -> str:
    return "it is being recorded now" if is_held(path) else "its recording was not finished"


def wall(us: int, offset_us: int) -> str:
    return datetime.fromtimestamp((us + offset_us) / 1e6, timezone.utc).isoformat(timespec="seconds")


def lines(facts: dict[str, Any]) -> list[str]:
    """A line per fact that is not empty; lists and tables take one line each."""
    shown = []
    for name, value in facts.items():
        if value in (None, [], {}):
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" if v is not None else str(k) for k, v in value.items())
        elif isinstance(value, list):
            value = "; ".join(map(str, value))
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        shown.append(f"{name.replace('_', ' '):13}{value}")
    return shown
