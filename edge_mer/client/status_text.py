"""State of a running instance as lines of text: masks, consent, sensors, processes."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path

from edge_mer.contract.clock import SystemClock
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import PrivacyError
from edge_mer.contract.messages import PrivacyState, SensorState, WorkerHealth
from edge_mer.contract.people import MaskedPeople
from edge_mer.privacy.consent.consent_file import FILE, in_words, read_deployment
from edge_mer.privacy.keys.keyring import Keyring


def privacy_lines(states: Mapping[Modality, PrivacyState], now_us: int | None = None) -> list[str]:
    """``audio  masked  for 12 s, until 18:40, masked by the hub``, with what does not hold or is not confirmed yet.

    ``now_us``: time on the clock of the host of these states.
    """
    lines = []
    for m in MODALITIES:
        if (state := states.get(m)) is None:
            continue
        gap = ""
        if state.effective != state.requested:
            gap = ", but nothing is open" if state.requested == "live" else ", STILL OPEN: not confirmed closed"
        since = "" if now_us is None else f"for {(now_us - state.since_us) / 1e6:.0f} s"
        until = "" if state.until_us is None else f"until {clock_text(state.until_us)}"
        facts = ", ".join(fact for fact in (since, until, state.reason) if fact)
        lines.append(f"  {m:<6} {state.requested:<7} {facts}{gap}".rstrip())
        lines += [f"  {'':<6} no receipt: {text}" for text in state.unconfirmed]
    return lines


def people_lines(people: MaskedPeople | None, now_us: int | None = None) -> list[str]:
    """``persons p2 masked  for 12 s, masked by the hub``; nothing where nobody is masked alone."""
    if people is None or not people.holds:
        return []
    who = "everybody in view" if people.everybody else ", ".join(people.persons)
    since = "" if now_us is None else f"for {(now_us - people.since_us) / 1e6:.0f} s"
    facts = ", ".join(fact for fact in (since, people.reason) if fact)
    lines = [f"  person {who} masked  {facts}; the camera stays open".rstrip()]
    return lines + [f"  {'':<6} no receipt: {text}" for text in people.unconfirmed]


def clock_text(wall_us: int, today: datetime.date | None = None) -> str:
    """``18:40`` in local time; of another day with its date, ``28 Nov 18:40``."""
    at = datetime.datetime.fromtimestamp(wall_us / 1e6)
    return f"{at:%H:%M}" if at.date() == (today or datetime.date.today()) else f"{at:%d %b %H:%M}"


def consent_lines(state: Path | None) -> list[str]:
    """Given consent, and the keys that may unmask."""

    if state is None:
        return ["  the privacy switch does not run"]
    keys = ", ".join(f"{k.name} ({k.role})" for k in Keyring(state).paired()) or "none"
    try:
        deployment = read_deployment(state / FILE)
    except PrivacyError as error:
        return [f"  {error}", f"  paired keys: {keys}"]
    lines = [f"  place: {deployment.place}", *(f"  {line}" for line in in_words(deployment, SystemClock().wall_us()))]
    after = "sensors that were live are live again" if deployment.resume else "everything is masked"
    return [*lines, f"  after a restart {after}", f"  paired keys: {keys}"]


def sensor_lines(
    sensors: Mapping[Modality, SensorState], off: frozenset[Modality] = frozenset[Modality]()
) -> list[str]:
    """``off``: modalities that the configuration leaves out."""
    lines = []
    for m in MODALITIES:
        if (sensor := sensors.get(m)) is None:
            lines.append(f"  {m:<6} off" if m in off else f"  {m:<6} no sensor: its process does not run")
            continue
        reason = f": {sensor.reason}" if sensor.reason else ""
        lines.append(
            f"  {m:<6} gate {sensor.gate}, {sensor.health}{reason}  ({sensor.device}, {sensor.rate_hz:.1f}/s, "
            f"{sensor.dropped} dropped)"
        )
    return lines


def worker_lines(workers: Mapping[str, WorkerHealth]) -> list[str]:
    if not workers:
        return ["  no health report yet"]
    return [
        f"  {name:<17} {w.state:<10} pid {w.pid or '-':<7} {w.restarts} restarts  {w.cpu:5.2f} cores "
        f"{w.rss / 1e6:5.0f} MB{f'  {w.reason}' if w.reason else ''}{_counters(w)}"
        + "".join(f"\n  {'':<17} {note}" for note in w.notes)
        for name, w in workers.items()
    ]


def _counters(worker: WorkerHealth) -> str:
    return "".join(f"  {name} {count}" for name, count in worker.counters.items() if count)
