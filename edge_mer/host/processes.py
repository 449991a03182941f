"""The process table: one row per process, and when it should run. The supervisor starts and watches them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edge_mer.config import Config, in_one_stream, is_off, plays_with_file
from edge_mer.contract.modalities import MODALITIES, TABLE, Modality

Predicate = Callable[[Config], bool]
# core: without it there is no estimate; sensor: one modality is absent without it; extra: estimates go on unchanged.
Importance = Literal["core", "sensor", "extra"]


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """``module`` defines ``build(config, bus)``, with ``argument`` as third parameter where the row has one.

    Processes of a later ``stop_stage`` stop after the earlier ones have ended. It first starts when ``after`` runs.

    ``retry_s``: pause after too many restarts; short for sensors, which may be plugged in again. ``memory_mb``: most
    address space (RLIMIT_AS) of a process that other hosts can reach; one that needs more ends and is restarted.
    """

    name: str
    module: str
    should_run: Predicate
    importance: Importance
    retry_s: float = 60
    stop_stage: int = 0
    argument: str | None = None
    memory_mb: int | None = None
    after: str | None = None

    @property
    def entry(self) -> str:
        """The command-line argument of a worker process: ``MODULE`` or ``MODULE:ARGUMENT``."""
        return self.module if self.argument is None else f"{self.module}:{self.argument}"


def always(config: Config) -> bool:
    return True


def in_file(config: Config) -> bool:
    return any(plays_with_file(config, m) for m in MODALITIES)


def in_own_process(modality: Modality) -> Predicate:
    def alone(config: Config) -> bool:
        shared = plays_with_file(config, modality) or (modality in ("audio", "video") and in_one_stream(config))
        return not is_off(config, modality) and not shared

    return alone


def by_plugin(modality: Modality) -> Predicate:
    return lambda config: modality in config.plugins.sources and in_own_process(modality)(config)


def by_own_device(modality: Modality) -> Predicate:
    return lambda config: modality not in config.plugins.sources and in_own_process(modality)(config)


def perception_apart(config: Config) -> bool:
    return config.perception.placement == "separate"


def recording(config: Config) -> bool:
    return config.record.path is not None


def public(config: Config) -> bool:
    return config.hub.publish is not None or config.hub.requests is not None


def remote(config: Config) -> bool:
    return config.remote.listen is not None


def over_mqtt(config: Config) -> bool:
    return config.mqtt.address is not None


def with_page(config: Config) -> bool:
    return config.page.address is not None


def with_house(config: Config) -> bool:
    return bool(config.house.rooms)


def shares_voice(config: Config) -> bool:
    return config.house.share_voice and not is_off(config, "audio")


def perceived_apart(modality: Modality) -> Predicate:
    return lambda config: perception_apart(config) and not is_off(config, modality)


def _perception(modality: Modality) -> ProcessRow:
    return ProcessRow(
        f"perception.{modality}", "edge_mer.perception.node", perceived_apart(modality), "sensor", argument=modality
    )


def _capture(modality: Modality) -> ProcessRow:
    row = TABLE[modality]
    return ProcessRow(row.process, row.capture, by_own_device(modality), "sensor", retry_s=10)


def _plugin_source(modality: Modality) -> ProcessRow:
    return ProcessRow(
        f"plugin.{modality}", "edge_mer.capture.plugin_source", by_plugin(modality), "sensor", 10, argument=modality
    )


def _plugin_outlet(name: str) -> ProcessRow:
    return ProcessRow(f"outlet.{name}", "edge_mer.gateway.plugin_outlet", always, "extra", 10, argument=name)


# Address space in use when idle, measured: 230 MB (mqtt 310 MB, with paho's thread). On top of that: hub, 200 clients
# with full queues; page, 256 TLS connections and 64 viewers; door, 256 connections; mqtt, payloads of 100 MB; house,
# what the page has, and full queues of 64 rooms.
HUB_MB, PAGE_MB, DOOR_MB, MQTT_MB, HOUSE_MB = 768, 512, 512, 448, 768
# In order of start: slow processes first, the recorder before the first message.
PROCESSES: tuple[ProcessRow, ...] = (
    ProcessRow("recorder", "edge_mer.session.recorder", recording, "extra", stop_stage=1),
    ProcessRow("switch", "edge_mer.privacy.switch.switch", always, "core"),
    ProcessRow("fusion", "edge_mer.fusion.node", always, "core"),
    *map(_perception, MODALITIES),
    ProcessRow("file", "edge_mer.capture.playback.file", in_file, "sensor", retry_s=10),
    ProcessRow("stream", "edge_mer.capture.joint_stream", in_one_stream, "sensor", retry_s=10),
    *map(_capture, MODALITIES),
    *map(_plugin_source, MODALITIES),
    ProcessRow("voice", "edge_mer.perception.envelope", shares_voice, "extra", retry_s=10),
    ProcessRow("hub", "edge_mer.gateway.public.node", public, "extra", retry_s=10, memory_mb=HUB_MB),
    ProcessRow("door", "edge_mer.gateway.door", remote, "extra", retry_s=10, memory_mb=DOOR_MB),
    # The switch makes the key of this host, which these two need.
    ProcessRow("mqtt", "edge_mer.gateway.mqtt.node", over_mqtt, "extra", 10, memory_mb=MQTT_MB, after="switch"),
    ProcessRow("page", "edge_mer.gateway.page.node", with_page, "extra", 10, memory_mb=PAGE_MB, after="switch"),
    ProcessRow("house", "edge_mer.gateway.house.node", with_house, "extra", 10, memory_mb=HOUSE_MB, after="switch"),
)


def rows_for(config: Config, table: tuple[ProcessRow, ...] = PROCESSES) -> tuple[ProcessRow, ...]:
    """The processes of this configuration, in order of start."""
    return (*(row for row in table if row.should_run(config)), *map(_plugin_outlet, config.plugins.outlets))


def memory_limit_mb(name: str) -> int | None:
    """The limit of the process ``name``; None for one without."""
    return next((row.memory_mb for row in PROCESSES if row.name == name), None)
