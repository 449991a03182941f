"""The live terminal view: a pure function from a snapshot to rich renderables. Fits 80 columns and 24 lines."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edge_mer.client.snapshot import Snapshot
from edge_mer.contract.domain import EMOTIONS, MODALITIES, Modality
from edge_mer.contract.messages import Estimate, People, SensorState
from edge_mer.contract.people import OFF_SCREEN, Speaking, in_order

GATE_STYLE = {"live": "bold green", "masked": "bold yellow", "hard": "bold red"}
HEALTH_STYLE = {
    "ok": "green",
    "warming": "cyan",
    "absent": "yellow",
    "silent": "yellow",
    "frozen": "red",
    "failed": "red",
}
SPEAKING: Mapping[Speaking, str] = {"speaking": "speaks", "silent": "silent", "unknown": "?"}
BAR = 16
STALE_US = 3_000_000
LAST_EVENTS = 6


def render(snapshot: Snapshot, now_us: int, title: str) -> RenderableType:
    """Sensor tiles, the estimate, the processes, and the latest events."""
    tiles = Table.grid(expand=True)
    for _ in MODALITIES:
        tiles.add_column(ratio=1)
    tiles.add_row(*(_tile(m, snapshot) for m in MODALITIES))
    return Group(
        _headline(snapshot, now_us, title), tiles, _shown(snapshot, now_us), _processes(snapshot), *_events(snapshot)
    )


def _shown(snapshot: Snapshot, now_us: int) -> Panel:
    """Everybody in view where several are, else the estimate."""
    people = snapshot.people
    is_fresh = people is not None and now_us - people.envelope.created_us <= STALE_US
    if people is None or not is_fresh or len(people.body.people) < 2:
        return _estimate(snapshot, now_us)
    return everybody(people.body, {name: m.body for name, m in snapshot.persons.items()})


def everybody(people: People, estimates: Mapping[str, Estimate]) -> Panel:
    """A row for each person in view, who is in focus first, and for a voice off screen."""
    table = Table.grid(expand=True, padding=(0, 2, 0, 0))
    for width in (8, 9, 8):
        table.add_column(width=width, no_wrap=True)
    table.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
    table.add_column(width=4, justify="right", no_wrap=True)
    table.add_row(*(Text(name, style="dim") for name in ("person", "speaks", "sensors", "expressed", "conf")))
    for p in in_order(people.people):
        mark = ("> " if p.focus else "  ", "bold cyan")
        name = _line(mark, (p.person, "bold" if p.focus else ""))
        if p.masked:
            table.add_row(name, "", "", _line(("masked", GATE_STYLE["masked"])), "")
        else:
            spoken = _line((SPEAKING[p.speaking], "bold green" if p.speaking == "speaking" else "dim"))
            table.add_row(name, spoken, _line(p.combination), *_expressed(estimates.get(p.person)))
    if people.voice == OFF_SCREEN:
        estimate = estimates.get(OFF_SCREEN)
        used = "" if estimate is None else estimate.combination
        table.add_row("  voice", _line(("speaks", "bold green")), _line(used), *_expressed(estimate))
    return Panel(table, title="expressed emotion of each", title_align="left", height=9, padding=(0, 1))


def _expressed(estimate: Estimate | None) -> tuple[Text, Text]:
    """Label or why there is none, and confidence."""
    if estimate is None:
        return _line(("waiting", "dim")), Text("")
    if estimate.label is None:
        return _line((estimate.abstain or "", "yellow")), Text("")
    return _line((estimate.label, "bold cyan")), Text(f"{estimate.confidence or 0:.2f}")


def _line(*parts: tuple[str, str] | str) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _headline(snapshot: Snapshot, now_us: int, title: str) -> Text:
    seconds = (now_us - snapshot.started_us) // 1_000_000
    return _line((" edge_mer ", "reverse bold"), f" {title}", (f"   {seconds} s   Ctrl-C ends", "dim"))


def _tile(modality: Modality, snapshot: Snapshot) -> Panel:
    sensor = snapshot.sensors.get(modality)
    off = "off" if modality in snapshot.off else "not started"
    lines = [_line((off, "dim"))] if sensor is None else _sensor_lines(sensor)
    estimate = snapshot.estimate.body if snapshot.estimate else None
    presence = estimate.presence.get(modality) if estimate and modality not in snapshot.off else None
    if presence is not None:
        used = presence.state == "present"
        shown = sensor is not None and sensor.reason == presence.reason and presence.reason is not None
        why = "" if shown else f": {presence.reason or presence.state}"
        status = f"used, {presence.tokens} tokens" if used else f"not used{why}"
        lines.append(_line((status, "bold" if used else "dim")))
    while len(lines) < 4:
        lines.append(Text(""))
    return Panel(
        Group(*lines[:4]),
        title=modality,
        title_align="left",
        height=6,
        padding=(0, 1),
        border_style=GATE_STYLE.get(sensor.gate, "dim") if sensor else "dim",
    )


def _sensor_lines(sensor: SensorState) -> list[Text]:
    rate = f"  {sensor.rate_hz:.1f}/s" if sensor.rate_hz else ""
    dropped = f"  {sensor.dropped} dropped" if sensor.dropped else ""
    measured = (sensor.health, HEALTH_STYLE.get(sensor.health, "")) if sensor.gate == "live" else ("closed", "dim")
    return [
        _line("gate   ", (sensor.gate, GATE_STYLE.get(sensor.gate, ""))),
        _line("sensor ", measured, (rate + dropped if sensor.gate == "live" else "", "dim")),
        _line((sensor.reason or sensor.device, "dim")),
    ]


def _estimate(snapshot: Snapshot, now_us: int) -> Panel:
    message = snapshot.estimate
    if message is None:
        return Panel(
            Text("waiting for the first estimate", style="dim"),
            title="expressed emotion",
            title_align="left",
            height=9,
            padding=(0, 1),
        )
    body = message.body
    table = Table.grid(expand=True, padding=(0, 2, 0, 0))
    table.add_column(width=BAR + 15, no_wrap=True)
    table.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
    for bar, fact in zip(bars(body), _facts(body), strict=True):
        table.add_row(bar, fact)
    age = now_us - message.envelope.created_us
    is_stale = age > STALE_US
    title = f"expressed emotion{f' (no update for {age / 1e6:.0f} s)' if is_stale else ''}"
    return Panel(
        table, title=title, title_align="left", height=9, padding=(0, 1), border_style="red" if is_stale else "none"
    )


def bars(body: Estimate) -> list[Text]:
    """One bar for each emotion."""
    rows = []
    for emotion in EMOTIONS:
        p = (body.probabilities or {}).get(emotion)
        full = round((p or 0) * BAR)
        top = emotion == body.label
        rows.append(
            _line(
                (f"{emotion:<9}", "bold" if top else ""),
                ("█" * full, "cyan" if top else "blue"),
                ("·" * (BAR - full), "dim"),
                f" {p:4.2f}" if p is not None else "    -",
            )
        )
    return rows


def _facts(body: Estimate) -> list[Text]:
    latency = body.latency_ms
    label = (body.label, "bold cyan") if body.label else (f"abstains: {body.abstain}", "yellow")
    confidence = "-" if body.confidence is None else f"{body.confidence:.2f}"
    facts = [
        _line("sensors used  ", (body.combination, "bold")),
        _line("label         ", label),
        _line("confidence    ", confidence, ("" if body.calibrated else "  not calibrated", "dim")),
        _line("sentiment     ", "none" if body.sentiment is None else f"{body.sentiment:+.2f} of ±3"),
    ]
    if body.sentiment is None:
        facts.append(_line((f" {body.sentiment_reason}", "dim")))
    if body.valence is not None or body.arousal is not None:
        facts.append(_line("valence       ", _signed(body.valence), ("  arousal ", "dim"), _signed(body.arousal)))
    facts += [
        _line("latency       ", f"{latency.total:.0f} ms", ("  since the event", "dim")),
        _line((f" capture {latency.capture:.0f}  encode {latency.encode:.0f}  wait {latency.wait:.0f}", "dim")),
        _line((f" fuse {latency.fuse:.1f}  publish {latency.publish:.1f}", "dim")),
    ]
    return facts[: len(EMOTIONS)]


def _signed(value: float | None) -> str:
    return "none" if value is None else f"{value:+.2f}"


def _processes(snapshot: Snapshot) -> Text:
    if snapshot.health is None:
        return _line((" processes: starting", "dim"))
    workers = snapshot.health.workers
    bad = [f"{name} {w.state}" for name, w in workers.items() if w.state not in ("running", "starting")]
    cpu, rss = sum(w.cpu for w in workers.values()), sum(w.rss for w in workers.values())
    running = sum(w.state == "running" for w in workers.values())
    restarts = counted(snapshot.restarts, "restart")
    return _line(
        f" {running} of {len(workers)} processes run, {restarts}, {cpu:.2f} cores, {rss / 1e6:.0f} MB",
        ("   " + ", ".join(bad) if bad else "", "bold red"),
    )


def _events(snapshot: Snapshot) -> list[Text]:
    newest = list(snapshot.events)[-LAST_EVENTS:]
    lines = [_line((f" {(at - snapshot.started_us) / 1e6:6.1f} s  ", "dim"), text) for at, text in newest]
    return lines + [Text("")] * (LAST_EVENTS - len(lines))


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
