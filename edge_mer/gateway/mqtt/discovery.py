"""MQTT payloads for Home Assistant: one device, its entities, and their states. Pure functions.

Formats: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery (device discovery), and the pages of its MQTT
sensor, binary sensor, switch and button. No entity has a ``state_class``: Home Assistant never deletes statistics.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import edge_mer
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import EMOTIONS, EVENT_LABELS, MODALITIES, Modality
from edge_mer.contract.messages import EventChange, PrivacyState
from edge_mer.contract.modalities import TABLE
from edge_mer.gateway.mqtt.shown import Shown

ON, OFF, PRESS = "ON", "OFF", "PRESS"
ONLINE, OFFLINE = "online", "offline"
# On the estimate, in [-1, 1].
AFFECT = ("valence", "arousal")
PHASES: Mapping[str, str] = {"begin": "began", "end": "ended"}
# Home Assistant marks an estimate unavailable after this time without a new one.
EXPIRE_S = 30
ICONS: Mapping[Modality, str] = {"audio": "mdi:microphone", "video": "mdi:video", "text": "mdi:message-text"}


@dataclass(frozen=True, slots=True)
class Names:
    """Topics of one host. ``node`` is a prefix of its public key."""

    node: str
    prefix: str
    root: str = "edge_mer"

    @property
    def base(self) -> str:
        return f"{self.root}/{self.node}"

    @property
    def config(self) -> str:
        return f"{self.prefix}/device/edge_mer_{self.node}/config"

    @property
    def birth(self) -> str:
        """The topic on which Home Assistant announces its start."""
        return f"{self.prefix}/status"

    @property
    def availability(self) -> str:
        return f"{self.base}/availability"

    @property
    def estimate(self) -> str:
        """States of the entities."""
        return f"{self.base}/estimate"

    @property
    def emotion(self) -> str:
        """The whole message of topic ``emotion``, for every window."""
        return f"{self.base}/emotion"

    @property
    def event(self) -> str:
        """Beginnings and ends of events."""
        return f"{self.base}/event"

    @property
    def wrong(self) -> str:
        return f"{self.base}/event/wrong"

    @property
    def notice(self) -> str:
        return f"{self.base}/notice"

    @property
    def guests(self) -> str:
        return f"{self.base}/guests/press"

    @property
    def first_until(self) -> str:
        return f"{self.base}/until"

    def state(self, modality: Modality) -> str:
        return f"{self.base}/{modality}/state"

    def until(self, modality: Modality) -> str:
        return f"{self.base}/{modality}/until"

    @property
    def grant(self) -> str:
        """What a client needs to sign a grant: this host's key, and the newest mask epoch."""
        return f"{self.base}/grant"

    def command(self, modality: Modality) -> str:
        return f"{self.base}/{modality}/set"


@dataclass(frozen=True, slots=True)
class Device:
    """What Home Assistant shows of the host. ``area``: only a room that somebody has named. ``page``: its address."""

    room: str
    area: str | None
    page: str | None
    host: str


@dataclass(frozen=True, slots=True)
class Entity:
    """One row: ``fields`` are those of Home Assistant's page of this ``platform``.

    ``modality``: left out where that sense is off. ``diagnostic`` entities are hidden below the main ones; those not
    ``enabled`` are off until somebody turns them on.
    """

    key: str
    platform: str
    name: str
    icon: str
    fields: Mapping[str, Any]
    modality: Modality | None = None
    diagnostic: bool = False
    enabled: bool = True


def entities(names: Names) -> Iterator[Entity]:
    """Main entities first, then those for diagnosis."""

    def shown(field: str, **more: Any) -> dict[str, Any]:
        template = f"{{{{ value_json.{field} }}}}"
        return {"state_topic": names.estimate, "value_template": template, "expire_after": EXPIRE_S, **more}

    yield Entity(
        "emotion",
        "sensor",
        "Expressed emotion",
        "mdi:emoticon-outline",
        shown("emotion", device_class="enum", options=list(EMOTIONS)),
    )
    yield Entity("sentiment", "sensor", "Sentiment", "mdi:plus-minus-variant", shown("sentiment"))
    yield Entity("why", "sensor", "Why unknown", "mdi:help-circle-outline", shown("why"))
    persons = {"json_attributes_topic": names.estimate, "json_attributes_template": "{{ value_json.persons | tojson }}"}
    yield Entity("people", "sensor", "People in view", "mdi:account-multiple", shown("people", **persons), "video")
    spoken = shown("speaking", payload_on=ON, payload_off=OFF)
    yield Entity("speaking", "binary_sensor", "Somebody speaks", "mdi:account-voice", spoken, "audio")
    happens = {"state_topic": names.event, "event_types": [event_type(e, p) for e in EVENT_LABELS for p in PHASES]}
    yield Entity("event", "event", "Event", "mdi:bell-ring-outline", happens)
    was_wrong = {"command_topic": names.wrong, "payload_press": PRESS}
    yield Entity("wrong", "button", "The last event was wrong", "mdi:thumb-down-outline", was_wrong)
    for m in MODALITIES:
        command = {
            "command_topic": names.command(m),
            "state_topic": names.state(m),
            "payload_on": ON,
            "payload_off": OFF,
            "state_on": ON,
            "state_off": OFF,
            "optimistic": False,
            "qos": 1,
            "retain": False,
            "device_class": "switch",
        }
        yield Entity(f"{m}_switch", "switch", TABLE[m].words.sensor, ICONS.get(m, "mdi:eye"), command, m)
    press = {"command_topic": names.guests, "payload_press": PRESS}
    yield Entity("guests", "button", "Guests: mask everything", "mdi:account-group", press)
    end = {"state_topic": names.first_until, "device_class": "timestamp"}
    yield Entity("until", "sensor", "Masked until", "mdi:timer-outline", end)
    answer = {"state_topic": names.notice}
    yield Entity("notice", "sensor", "Last answer", "mdi:message-reply-text", answer, diagnostic=True)
    yield Entity(
        "confidence",
        "sensor",
        "Confidence",
        "mdi:percent",
        shown("confidence", unit_of_measurement="%"),
        diagnostic=True,
        enabled=False,
    )
    yield Entity(
        "latency",
        "sensor",
        "Latency",
        "mdi:timer-sand",
        shown("latency_ms", device_class="duration", unit_of_measurement="ms"),
        diagnostic=True,
        enabled=False,
    )
    for name in AFFECT:
        yield Entity(name, "sensor", name.capitalize(), "mdi:chart-bell-curve", shown(name), None, True, False)
    for m in MODALITIES:
        sensor = TABLE[m].words.sensor
        used = shown(f"present.{m}", payload_on=ON, payload_off=OFF)
        yield Entity(f"{m}_present", "binary_sensor", f"{sensor} used", ICONS.get(m, "mdi:eye"), used, m, True, False)
        end = {"state_topic": names.until(m), "device_class": "timestamp"}
        yield Entity(f"{m}_until", "sensor", f"{sensor} masked until", "mdi:timer-outline", end, m, True, False)


def discovery(names: Names, device: Device, senses: tuple[Modality, ...] = MODALITIES) -> dict[str, Any]:
    """The payload that registers this host as one device with the entities of ``senses``; it removes the others."""
    described = {
        "identifiers": [f"edge_mer_{names.node}"],
        "name": f"edge_mer {device.room}",
        "manufacturer": "edge_mer",
        "model": "Expressed emotion",
        "sw_version": edge_mer.__version__,
        "serial_number": device.host,
        "suggested_area": device.area,
        "configuration_url": device.page,
    }
    return {
        "device": {field: value for field, value in described.items() if value is not None},
        "origin": {"name": "edge_mer", "sw_version": edge_mer.__version__},
        "availability_topic": names.availability,
        "payload_available": ONLINE,
        "payload_not_available": OFFLINE,
        "components": {
            **{e.key: _component(e, names, device.room, senses) for e in entities(names)},
            **dict(triggers(names)),
        },
    }


def triggers(names: Names) -> Iterator[tuple[str, dict[str, Any]]]:
    """Device triggers: what an automation may begin with, one for each label and phase of an event."""
    for label in EVENT_LABELS:
        for phase, words in PHASES.items():
            kind = event_type(label, phase)
            yield (
                f"{kind}_trigger",
                {
                    "platform": "device_automation",
                    "automation_type": "trigger",
                    "type": f"{label} {words}",
                    "subtype": "event",
                    "topic": names.event,
                    "value_template": "{{ value_json.event_type }}",
                    "payload": kind,
                },
            )


def event_type(label: str, phase: str) -> str:
    """``angry_begin``."""
    return f"{label}_{phase}"


def event_state(change: EventChange) -> dict[str, Any]:
    """Payload of the entity ``event``: its type, and what Home Assistant shows as attributes."""
    return {
        "event_type": event_type(change.label, change.phase),
        "id": change.event,
        "combinations": change.combinations,
        "evidence": round(change.evidence, 2),
        "hours_per_wrong": round(change.hours_per_wrong, 1),
        "reason": change.reason,
    }


def _component(entity: Entity, names: Names, room: str, senses: tuple[Modality, ...]) -> dict[str, Any]:
    if entity.modality is not None and entity.modality not in senses:
        return {"platform": entity.platform}  # this alone removes an entity of before
    return {
        "platform": entity.platform,
        "unique_id": f"edge_mer_{names.node}_{entity.key}",
        "default_entity_id": f"{entity.platform}.{slug(room, names.node)}_{entity.key}",
        "name": entity.name,
        "icon": entity.icon,
        **entity.fields,
        **({"entity_category": "diagnostic"} if entity.diagnostic else {}),
        **({} if entity.enabled else {"enabled_by_default": False}),
    }


def slug(room: str, otherwise: str) -> str:
    """The room as a part of an entity's id: a to z, digits and underscores."""
    plain = unicodedata.normalize("NFKD", room).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_") or otherwise


def estimate_state(shown: Shown) -> dict[str, Any]:
    """State of the sensor entities. Null becomes ``None`` in a template, which Home Assistant shows as unknown."""
    diagnostic = shown.diagnostic
    return {
        "emotion": shown.emotion,
        "sentiment": shown.sentiment,
        "why": shown.why,
        "confidence": diagnostic.confidence,
        "latency_ms": diagnostic.latency_ms,
        **{name: getattr(diagnostic, name) for name in AFFECT},
        "people": shown.people.count,
        "persons": shown.people.persons,
        "speaking": None if shown.speaking is None else ON if shown.speaking else OFF,
        "present": {m: ON if is_present else OFF for m, is_present in diagnostic.present.items()},
    }


def until_states(names: Names, privacy: Mapping[Modality, PrivacyState]) -> dict[str, str]:
    """By topic: when each opens by itself, and when the first does, as ISO 8601 in UTC; otherwise ``None``, which Home
    Assistant shows as unknown."""
    ends = {m: s.until_us for m, s in privacy.items()}
    first = min((end for end in ends.values() if end is not None), default=None)
    return {names.first_until: _until(first), **{names.until(m): _until(end) for m, end in ends.items()}}


def _until(end_us: int | None) -> str:
    if end_us is None:
        return "None"
    return datetime.datetime.fromtimestamp(end_us // SECOND, datetime.timezone.utc).isoformat()


def switch_states(privacy: Mapping[Modality, PrivacyState]) -> dict[Modality, str]:
    """ON only where a device may be open, as measured; a requested state that does not hold yet is not shown."""
    return {m: ON if s.effective == "live" else OFF for m, s in privacy.items()}
