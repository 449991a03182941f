"""The process table: one row per process, and when it should run. The supervisor does the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edge_mer.config import Config, plays_with_file
from edge_mer.contract.domain import Modality

Predicate = Callable[[Config], bool]
# core: without it there is no estimate; sensor: one modality is absent without it; extra: estimates go on unchanged.
Importance = Literal["core", "sensor", "extra"]


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """``module`` offers ``build(config, bus)``. Processes of a later ``stop_stage`` stop when the earlier are gone.

    ``retry_s``: how long the process rests after too many restarts; short for sensors, which get plugged in again.
    """

    name: str
    module: str
    should_run: Predicate
    importance: Importance
    retry_s: float = 60
    stop_stage: int = 0


def always(config: Config) -> bool:
    return True


def from_microphone(config: Config) -> bool:
    return config.audio.source == "microphone"


def from_camera(config: Config) -> bool:
    return config.video.source == "camera"


def audio_from_file(config: Config) -> bool:
    return config.audio.source == "file"


def video_from_file(config: Config) -> bool:
    return config.video.source == "file"


def words_apart(config: Config) -> bool:
    """A recorded transcript plays in the process of the file that it belongs to, on the same t0."""
    return config.text.source != "off" and not plays_with_file(config)


def perception_apart(config: Config) -> bool:
    return config.perception.placement == "separate"


def recording(config: Config) -> bool:
    return config.record.path is not None


def public(config: Config) -> bool:
    return config.hub.publish is not None or config.hub.requests is not None


def over_mqtt(config: Config) -> bool:
    return config.mqtt.address is not None


def with_page(config: Config) -> bool:
    return config.page.address is not None


def sensing(modality: Modality) -> Predicate:
    return lambda config: getattr(config, modality).source != "off"


def both(first: Predicate, second: Predicate) -> Predicate:
    return lambda config: first(config) and second(config)


def either(first: Predicate, second: Predicate) -> Predicate:
    return lambda config: first(config) or second(config)


def _perception(modality: Modality) -> ProcessRow:
    return ProcessRow(
        f"perception.{modality}",
        f"edge_mer.perception.node_{modality}",
        both(perception_apart, sensing(modality)),
        "sensor",
    )


# In order of start: the slow starters first, the recorder before there is anything to record.
TABLE: tuple[ProcessRow, ...] = (
    ProcessRow("recorder", "edge_mer.session.recorder", recording, "extra", stop_stage=1),
    ProcessRow("switch", "edge_mer.privacy.switch.switch", always, "core"),
    ProcessRow("fusion", "edge_mer.fusion.node", always, "core"),
    _perception("audio"),
    _perception("video"),
    _perception("text"),
    ProcessRow(
        "file", "edge_mer.capture.playback.file", either(audio_from_file, video_from_file), "sensor", retry_s=10
    ),
    ProcessRow("microphone", "edge_mer.capture.microphone", from_microphone, "sensor", retry_s=10),
    ProcessRow("camera", "edge_mer.capture.camera", from_camera, "sensor", retry_s=10),
    ProcessRow("transcript", "edge_mer.capture.transcript", words_apart, "sensor", retry_s=10),
    ProcessRow("hub", "edge_mer.gateway.public.node", public, "extra", retry_s=10),
    ProcessRow("mqtt", "edge_mer.gateway.mqtt.node", over_mqtt, "extra", retry_s=10),
    ProcessRow("page", "edge_mer.gateway.page.node", with_page, "extra", retry_s=10),
)


def rows_for(config: Config, table: tuple[ProcessRow, ...] = TABLE) -> tuple[ProcessRow, ...]:
    """The processes that this configuration asks for, in order of start."""
    return tuple(row for row in table if row.should_run(config))
