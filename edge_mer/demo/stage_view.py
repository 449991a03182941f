"""The screen of ``edge-mer demo``: picture, intention, words and estimate side by side. Fits 80 columns, 24 lines."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edge_mer.client.snapshot import Snapshot
from edge_mer.client.view import bars
from edge_mer.demo.pictures import COLUMNS, Pictures
from edge_mer.demo.showcase import SceneResult, Showcase
from edge_mer.demo.summary import counts

STYLE = {"agreed": "green", "withheld": "yellow", "wrong": "red", "not seen": "dim"}
EVENTS = 3


def render(show: Showcase, pictures: Pictures, snapshot: Snapshot, now_us: int, title: str) -> RenderableType:
    """The scene that plays now, what was estimated so far, and the latest events."""
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=COLUMNS)
    table.add_column(ratio=1)
    table.add_row(pictures.at(show.position_s(now_us)), Group(*_facts(show, now_us)))
    events = [_line((f"{(at - snapshot.started_us) / 1e6:6.1f} s  {text}", "dim")) for at, text in snapshot.events]
    return Group(_headline(show, now_us, title), table, _results(show), *events[-EVENTS:])


def _line(*parts: tuple[str, str] | str) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _headline(show: Showcase, now_us: int, title: str) -> Text:
    position = show.position_s(now_us)
    if position < 0:
        where = "starting"
    elif position < show.scenes.duration_s:
        number = 1 + show.scenes.scenes.index(show.scenes.at(position))
        where = f"scene {number} of {len(show.scenes.scenes)}"
    else:
        where = "a mask and a crash"
    return _line((" edge_mer ", "reverse bold"), f" {title}: {where}", ("   Ctrl-C ends", "dim"))


def _facts(show: Showcase, now_us: int) -> list[RenderableType]:
    scene = show.scenes.at(max(0.0, show.position_s(now_us)))
    body = show.newest.body if show.newest else None
    facts: list[RenderableType] = [
        _line("intended  ", (scene.intended, "bold")),
        _line("words     ", f"“{scene.words}”"),
    ]
    if body is None:
        return [*facts, _line("estimate  ", ("waiting for the first", "dim"))]
    if body.label is not None:
        style = "bold green" if body.label == scene.intended else "bold red"
        facts.append(_line("estimate  ", (f"{body.label} {body.confidence or 0:.2f}", style)))
    else:
        facts.append(Text.assemble("estimate  ", (f"withheld: {body.abstain}", "yellow"), overflow="fold"))
    facts.append(_line("used      ", _USED[body.combination]))
    return [*facts, Text(""), *bars(body)]


_USED = {
    "a": "voice",
    "v": "face",
    "t": "words",
    "av": "voice and face",
    "at": "voice and words",
    "tv": "face and words",
    "atv": "voice, face and words",
    "none": "nothing",
}


def _results(show: Showcase) -> Panel:
    rows = [_result(number, result) for number, result in enumerate(show.results, 1)]
    return Panel(Group(*rows), title="so far", title_align="left", padding=(0, 1))


def _result(number: int, result: SceneResult) -> Text:
    verdict = (f"{result.verdict if result.windows else '':<10}", STYLE[result.verdict])
    return _line(f"{number}  {result.scene.intended:<10}", verdict, counts(result) if result.windows else "")
