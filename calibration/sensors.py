"""Sensor report: ``python -m calibration.sensors [--config FILE]``.

Prints what ``edge-mer calibrate`` measured in this room, where each value came from, what fusion makes of it, and what
a person could mend. Exit code 1 when the room was never calibrated.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Mapping
from pathlib import Path

from edge_mer.capture.room.quality import advice
from edge_mer.config import Config, load
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import EdgeMerError
from edge_mer.fusion.settings import settings_from


def report(config: Config, origin: Mapping[str, str], today: datetime.date) -> str:
    """Lines of name, value and origin, then what fusion does with them, then advice."""
    lines = []
    for name, value in config.sensors.model_dump().items():
        shown = "not measured" if value is None else str(value)
        lines.append(f"{'sensors.' + name:<24} {shown:<14} {origin[f'sensors.{name}']}")
    settings = settings_from(config.fusion, config.sensors)
    for modality in MODALITIES:
        share = min(1.0, settings.min_tokens * settings.demand.get(modality, 1.0))
        delay = settings.delay_us.get(modality, 0) // 1000
        if modality != "text":
            lines.append(f"{modality:<24} present from {share:.0%} of its tokens on; stamped {delay} ms earlier")
    lines += [f"advice: {line}" for line in advice(config.sensors, today)]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m calibration.sensors", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, help="TOML config; default ~/.config/edge_mer.toml")
    arguments = parser.parse_args()
    try:
        config, origin = load(arguments.config)
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error
    print(report(config, origin, datetime.date.today()))
    if config.sensors.date is None:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
