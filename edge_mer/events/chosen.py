"""The settings of events on this host: of the shipped file, the budgets of the config and this home's corrections."""

from __future__ import annotations

from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import EVENT_LABELS
from edge_mer.events import corrections
from edge_mer.events.settings import FILE, FIX, EventSettings, read, settings_of
from edge_mer.host.files import state_path
from edge_mer.runtime.select import models_directory


def chosen_settings(config: Config, model: str | None) -> tuple[EventSettings | None, dict[str, str], str | None]:
    """The settings; what is off (``angry/av``), with the reason; and why all events are off.

    ``model``: the name of the fusion model; None takes the one of the file. Raises ModelError for a damaged file.
    """
    directory = models_directory(config.models.directory)
    file = read(directory)
    if file is None:
        return None, {}, f"{directory / FILE} is missing; {FIX}"
    if model is not None and file.model != model:
        return None, {}, f"{FILE} was measured with {file.model}, configured is {model}; {FIX}"
    hop_us, window_us = (round(s * SECOND) for s in (config.fusion.hop_s, config.fusion.window_s))
    if (hop_us, window_us) != (file.hop_us, file.window_us):
        measured = f"{file.window_us / SECOND:g} s every {file.hop_us / SECOND:g} s"
        return (
            None,
            {},
            f"{FILE} was measured with windows of {measured}; set fusion.window_s and hop_s so",
        )
    budgets = {label: n for label in EVENT_LABELS if (n := config.events.per_hour(label)) is not None}
    times = [round(s * SECOND) for s in (config.events.minimum_s, config.events.gap_s)]
    factors = corrections.read(state_path(config.privacy.state)).factors
    return *settings_of(file, budgets, times[0], times[1], factors), None
