"""MQTT payloads for Home Assistant: one device, its entities, and their states. Pure functions.

Formats: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery (device discovery), and the pages of its MQTT
sensor, binary sensor, switch and button.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import edge_mer
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import EMOTIONS, MODALITIES, Emotion, Modality
from edge_mer.contract.messages import Estimate, PrivacyState
from edge_mer.contract.modalities import TABLE

ON, OFF, PRESS = "ON", "OFF", "PRESS"
ONLINE, OFFLINE = "online", "offline"
# On the estimate, in [-1, 1]; diagnostic, and off until somebody turns them on in Home Assistant.
AFFECT = ("valence", "arousal")
# Home Assistant marks an estimate unavailable after this time without a new one.
EXPIRE_S = 30


@dataclass(frozen=True, slots=True)
class Names:
    """Topics of one host. ``node`` is a prefix of its public key."""

    node: str
    prefix: str

    @property
    def base(self) -> str:
        return f"edge_mer/{self.node}"

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
        return f"{self.base}/estimate"

    @property
    def notice(self) -> str:
        return f"{self.base}/notice"

    @property
    def guests(self) -> str:
        return f"{self.base}/guests/press"

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


def discovery(names: Names, guest_hours: float) -> dict[str, Any]:
    """The payload that registers this host as one device."""
    entities: dict[str, dict[str, Any]] = {
        "emotion": _of_estimate(
            names,
            "emotion",
            "Expressed emotion",
            device_class="enum",
            options=list(EMOTIONS),
            icon="mdi:emoticon-outline",
        ),
        "confidence": _of_estimate(
            names, "confidence", "Confidence", unit_of_measurement="%", state_class="measurement"
        ),
        "sentiment": _of_estimate(names, "sentiment", "Sentiment", state_class="measurement"),
        **{name: _affect(names, name) for name in AFFECT},
        "latency": _of_estimate(
            names,
            "latency_ms",
            "Latency",
            device_class="duration",
            unit_of_measurement="ms",
            state_class="measurement",
            entity_category="diagnostic",
        ),
        "notice": {
            "platform": "sensor",
            "name": "Last answer",
            "state_topic": names.notice,
            "entity_category": "diagnostic",
        },
        "guests": {
            "platform": "button",
            "name": f"Guests: mask everything for {guest_hours:g} h",
            "command_topic": names.guests,
            "payload_press": PRESS,
            "icon": "mdi:account-group",
        },
    }
    for m in MODALITIES:
        entities[f"{m}_present"] = {
            "platform": "binary_sensor",
            "name": f"{TABLE[m].words.sensor} used",
            "state_topic": names.estimate,
            "value_template": f"{{{{ value_json.present.{m} }}}}",
            "payload_on": ON,
            "payload_off": OFF,
            "expire_after": EXPIRE_S,
        }
        entities[f"{m}_switch"] = {
            "platform": "switch",
            "name": TABLE[m].words.sensor,
            "command_topic": names.command(m),
            "state_topic": names.state(m),
            "payload_on": ON,
            "payload_off": OFF,
            "state_on": ON,
            "state_off": OFF,
            "optimistic": False,
            "qos": 1,
            "retain": False,
        }
        entities[f"{m}_until"] = {
            "platform": "sensor",
            "name": f"{TABLE[m].words.sensor} masked until",
            "state_topic": names.until(m),
            "device_class": "timestamp",
            "entity_category": "diagnostic",
            "icon": "mdi:timer-outline",
        }
    return {
        "device": {
            "identifiers": [f"edge_mer_{names.node}"],
            "name": "edge_mer",
            "manufacturer": "edge_mer",
            "model": "Expressed emotion",
            "sw_version": edge_mer.__version__,
        },
        "origin": {"name": "edge_mer", "sw_version": edge_mer.__version__},
        "availability_topic": names.availability,
        "payload_available": ONLINE,
        "payload_not_available": OFFLINE,
        "components": {key: {"unique_id": f"edge_mer_{names.node}_{key}", **e} for key, e in entities.items()},
    }


def _affect(names: Names, name: str) -> dict[str, Any]:
    quiet = {"entity_category": "diagnostic", "enabled_by_default": False}
    return _of_estimate(names, name, name.capitalize(), state_class="measurement", **quiet)


def _of_estimate(names: Names, field: str, name: str, **more: Any) -> dict[str, Any]:
    return {
        "platform": "sensor",
        "name": name,
        "state_topic": names.estimate,
        "value_template": f"{{{{ value_json.{field} }}}}",
        "expire_after": EXPIRE_S,
        **more,
    }


def estimate_state(shown: Emotion | None, estimate: Estimate | None) -> dict[str, Any]:
    """State of the sensor entities. Null becomes ``None`` in a template, which Home Assistant shows as unknown."""
    if estimate is None:
        return {
            "emotion": None,
            "confidence": None,
            "sentiment": None,
            **dict.fromkeys(AFFECT),
            "latency_ms": None,
            "present": dict.fromkeys(MODALITIES, OFF),
        }
    confidence = estimate.confidence if shown is not None and shown == estimate.label else None
    present = {m: estimate.presence.get(m) for m in MODALITIES}
    return {
        "emotion": shown,
        "confidence": None if confidence is None else round(100 * confidence),
        **{name: _rounded(getattr(estimate, name)) for name in ("sentiment", *AFFECT)},
        "latency_ms": round(estimate.latency_ms.total, 1),
        "present": {m: ON if p is not None and p.state == "present" else OFF for m, p in present.items()},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def until_states(privacy: Mapping[Modality, PrivacyState]) -> dict[Modality, str]:
    """When each opens by itself, as ISO 8601 in UTC; otherwise ``None``, which Home Assistant shows as unknown."""
    return {
        m: "None"
        if s.until_us is None
        else datetime.datetime.fromtimestamp(s.until_us // SECOND, datetime.timezone.utc).isoformat()
        for m, s in privacy.items()
    }


def switch_states(privacy: Mapping[Modality, PrivacyState]) -> dict[Modality, str]:
    """ON only where a device may be open, as measured; a requested state that does not hold yet is not shown."""
    return {m: ON if s.effective == "live" else OFF for m, s in privacy.items()}
