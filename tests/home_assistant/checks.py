"""What must hold with a real Home Assistant. Each check returns what it measured, and raises AssertionError."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import EMOTIONS, MODALITIES
from edge_mer.gateway.mqtt.discovery import Names, entities
from edge_mer.gateway.mqtt.shown import CHANGE_US, CHANGES
from edge_mer.privacy.consent.consent_file import HubConsent, read_deployment, write_deployment
from tests.home_assistant.client import HomeAssistant
from tests.home_assistant.stage import BROKER_PORT, ROOM, Stage

UNUSABLE = ("unavailable", "unknown")
DAY_S = 86_400
MOST_ROWS_A_DAY = 5_000
MEDIA_S = 150
BLUEPRINTS = Path(__file__).parents[2] / "edge_mer/gateway/mqtt/blueprints"


@dataclass
class Scene:
    """``entities``: key of an entity within its device, as ``video_switch``, and its entity id."""

    stage: Stage
    ha: HomeAssistant
    minutes: float
    entities: dict[str, str] = field(default_factory=dict)
    disabled: set[str] = field(default_factory=set)

    def entity(self, *keys: str) -> str:
        """The entity with the first of these keys that exists."""
        found = [self.entities[k] for k in keys if k in self.entities]
        assert found, f"none of {keys} is among {sorted(self.entities)}"
        return found[0]

    async def state_of(self, key: str, wanted: str, timeout_s: float) -> float:
        return await self.ha.until(self.entity(key), lambda state: state == wanted, timeout_s)


async def discovery(scene: Scene) -> str:
    """Onboarding, the config flow of MQTT, and every entity of the device."""
    broker = {"broker": "127.0.0.1", "port": BROKER_PORT, "protocol": "5"}
    other = {"set_client_cert": False, "set_ca_cert": "off", "tls_insecure": False, "transport": "tcp"}
    made = await scene.ha.flow("mqtt", broker | {"other_settings": other})
    assert made["type"] == "create_entry", made

    wanted = {entity.key for entity in entities(Names("", ""))}

    async def registered() -> bool:
        for row in await scene.ha.ask("config/entity_registry/list"):
            if row["platform"] == "mqtt":
                key = row["unique_id"].split("_", 3)[-1]
                scene.entities[key] = row["entity_id"]
                scene.disabled |= {row["entity_id"]} if row["disabled_by"] else set()
        return wanted <= set(scene.entities)

    await scene.ha.until_registered(registered, 240, "not every entity of the device")
    devices = [d for d in await scene.ha.ask("config/device_registry/list") if "edge_mer" in str(d["identifiers"])]
    assert [d["name"] for d in devices] == [f"edge_mer {ROOM}"], devices
    return (
        f"one device, {devices[0]['name']!r}, with {len(scene.entities)} entities, {len(scene.disabled)} of them "
        "disabled by default"
    )


async def estimates(scene: Scene) -> str:
    """Nothing is unavailable, and an emotion arrives."""
    await scene.ha.until(scene.entity("emotion"), lambda state: state in EMOTIONS, 120)
    enabled = set(scene.entities.values()) - scene.disabled
    for entity in enabled:
        await scene.ha.until(entity, lambda state: state != "unavailable", 30)
    return f"{scene.entity('emotion')} is {scene.ha.states[scene.entity('emotion')]['state']}"


async def switches(scene: Scene) -> str:
    """Off at once and measured; on only with the permission of the deployment file."""
    video, audio = scene.entity("video_switch"), scene.entity("audio_switch")
    await scene.state_of("video_switch", "on", 60)
    started = time.monotonic()
    await scene.ha.call("switch.turn_off", video)
    closed = await scene.state_of("video_switch", "off", 10) - started
    assert "masked by" in scene.stage.edge_mer("receipts", "show")
    scene.stage.edge_mer("receipts", "verify")
    started = time.monotonic()
    await scene.ha.call("switch.turn_on", video)
    opened = await scene.state_of("video_switch", "on", 10) - started
    await scene.ha.call("switch.turn_off", audio)
    await scene.state_of("audio_switch", "off", 10)
    await scene.ha.call("switch.turn_on", audio)
    await scene.ha.until(scene.entity("notice"), lambda state: "may not unmask" in state, 10)
    assert scene.ha.states[audio]["state"] == "off"
    scene.stage.edge_mer("unmask", "all")
    await scene.state_of("audio_switch", "on", 10)
    return (
        f"camera closed with a receipt in {closed:.2f} s, opened in {opened:.2f} s; microphone stays off, with reason"
    )


async def guests(scene: Scene) -> str:
    """The button masks everything until a time that is shown."""
    started = time.monotonic()
    await scene.ha.call("button.press", scene.entity("guests"))
    took = max([await scene.state_of(f"{m}_switch", "off", 10) for m in MODALITIES]) - started
    until = scene.entity("masked_until", "until", "video_until")
    await scene.ha.until(until, lambda state: state not in UNUSABLE, 10)
    scene.stage.edge_mer("unmask", "all")
    await scene.state_of("audio_switch", "on", 10)
    return f"all closed in {took:.2f} s, {until} is a time"


async def restart_of_home_assistant(scene: Scene) -> str:
    scene.stage.stop("home_assistant")
    scene.stage.start_home_assistant()
    await scene.ha.connect()
    started = time.monotonic()
    await scene.state_of("video_switch", "on", 60)
    switch = time.monotonic() - started
    await scene.ha.until(scene.entity("emotion"), lambda state: state in EMOTIONS, 120)
    return f"switches {switch:.0f} s after its start, an emotion after {time.monotonic() - started:.0f} s"


async def restart_of_the_broker(scene: Scene) -> str:
    scene.stage.stop("broker")
    await scene.state_of("video_switch", "unavailable", 60)
    scene.stage.start_broker()
    started = time.monotonic()
    await scene.state_of("video_switch", "on", 120)
    return f"available {time.monotonic() - started:.0f} s after its start"


async def restart_of_edge_mer(scene: Scene) -> str:
    """Killed without warning: unavailable by the last will."""
    scene.stage.cut_off("edge_mer")
    killed = time.monotonic()
    gone = await scene.state_of("video_switch", "unavailable", 60) - killed
    scene.stage.start_edge_mer()
    started = time.monotonic()
    await scene.state_of("video_switch", "on", 120)
    return (
        f"unavailable {max(0.0, gone):.1f} s after a kill, available {time.monotonic() - started:.0f} s after its start"
    )


@dataclass(frozen=True)
class Trial:
    """An automation of one blueprint: its inputs, what makes it run, and how to see that it did."""

    inputs: Callable[[Scene], dict[str, Any]]
    provoke: Callable[[Scene], Awaitable[Any]]
    effect: Callable[[Scene], Awaitable[Any]]


async def lamp_goes_on(scene: Scene) -> None:
    await scene.ha.until("light.lamp", lambda state: state == "on", MEDIA_S)


async def notice_is_shown(scene: Scene) -> None:
    await scene.ha.until("input_boolean.called", lambda state: state == "on", MEDIA_S)


async def camera_is_closed(scene: Scene) -> None:
    await scene.state_of("video_switch", "off", 10)
    scene.stage.edge_mer("unmask", "all")
    await scene.state_of("video_switch", "on", 10)


async def playing(scene: Scene) -> None:
    """The media loops, so that every emotion in it comes again."""


# The scenes of the demo express each emotion for about 5 s of every 25 s.
TRIALS: dict[str, Trial] = {
    "camera_masked_for_guests": Trial(
        lambda scene: {"guest_mode": "input_boolean.called", "camera": scene.entity("video_switch")},
        lambda scene: scene.ha.call("input_boolean.turn_on", "input_boolean.called"),
        camera_is_closed,
    ),
    "lamp_on_expression": Trial(
        lambda scene: {
            "emotion": scene.entity("emotion"),
            "label": "happy",
            "seconds": 1,
            "lamp": {"entity_id": "light.lamp"},
        },
        playing,
        lamp_goes_on,
    ),
    "notify_lasting_emotion": Trial(
        lambda scene: {
            "emotion": scene.entity("emotion"),
            "label": "neutral",
            "seconds": 1,
            "notify": [{"action": "input_boolean.turn_on", "target": {"entity_id": "input_boolean.called"}}],
        },
        playing,
        notice_is_shown,
    ),
}


async def automations(scene: Scene) -> str:
    """Each shipped blueprint is imported, used for an automation, and does what it says."""
    ran = []
    for name, trial in TRIALS.items():
        for helper in ("input_boolean.lamp", "input_boolean.called"):
            await scene.ha.call("input_boolean.turn_off", helper)
        place = scene.stage.place / "ha/blueprints/automation/edge_mer" / f"{name}.yaml"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text((BLUEPRINTS / f"{name}.yaml").read_text())
        found = await scene.ha.ask("blueprint/list", domain="automation")
        listed = found[f"edge_mer/{name}.yaml"]
        assert "error" not in listed, listed
        use = {"path": f"edge_mer/{name}.yaml", "input": trial.inputs(scene)}
        await scene.ha.save_automation(name, {"alias": name, "use_blueprint": use})
        await scene.ha.until(f"automation.{name}", lambda state: state == "on", 30)
        started = time.monotonic()
        await trial.provoke(scene)
        await trial.effect(scene)
        ran.append(f"{name} after {time.monotonic() - started:.1f} s")
        await scene.ha.call("automation.turn_off", f"automation.{name}")
    missing = {p.stem for p in BLUEPRINTS.glob("*.yaml")} - set(TRIALS)
    assert not missing, f"blueprints without a trial: {missing}"
    return "; ".join(ran)


async def rows(scene: Scene) -> str:
    """What the recorder keeps, and what a day of the same would be.

    Changes of the emotion, and of why there is none, have a budget that these minutes do not use up. So a day has the
    changes that the budget allows, each with as many rows as it has here.
    """
    known = set(scene.entities.values())
    before, started = scene.stage.rows(known), time.monotonic()
    await asyncio.sleep(scene.minutes * 60)
    took = time.monotonic() - started
    found = scene.stage.rows(known) - before
    of_entity: Counter[str] = Counter()
    for (entity, _), count in found.items():
        of_entity[entity] += count
    emotion = scene.entity("emotion")
    limited = of_entity[emotion] + of_entity[scene.entity("why")]
    changes = sum(count for (entity, state), count in found.items() if entity == emotion and state in EMOTIONS)
    allowed = min(changes * DAY_S / took, CHANGES + DAY_S * SECOND / CHANGE_US)
    total = of_entity.total()
    a_day = (total - limited) * DAY_S / took + limited / max(1, changes) * allowed
    most = ", ".join(f"{e} {n}" for e, n in of_entity.most_common(3))
    text = (
        f"{total} rows in {took / 60:.1f} min of a clip that loops every 25 s ({most}); {a_day:.0f} in a day of it, "
        f"with the {allowed:.0f} changes of the emotion that are allowed"
    )
    assert a_day <= MOST_ROWS_A_DAY, text
    return text


async def log_is_clean(scene: Scene) -> str:
    """No warning or error of Home Assistant about what edge_mer sends."""
    lines = scene.stage.log("home_assistant").splitlines()
    bad = [line for line in lines if (" WARNING " in line or " ERROR " in line) and "edge_mer" in line]
    assert not bad, "\n".join(bad[:5])
    return "no warning or error about a message of edge_mer"


async def forget(scene: Scene) -> str:
    """``edge-mer mqtt forget`` clears what the broker keeps, and Home Assistant removes the device."""
    scene.stage.stop("edge_mer")
    scene.stage.edge_mer("mqtt", "forget")

    async def gone() -> bool:
        devices = await scene.ha.ask("config/device_registry/list")
        return not any("edge_mer" in str(device["identifiers"]) for device in devices)

    await scene.ha.until_registered(gone, 30, "the device is still there")
    return "the device is gone from Home Assistant"


Check = Callable[[Scene], Awaitable[str]]
CHECKS: dict[str, Check] = {
    "discovery": discovery,
    "estimates": estimates,
    "switches": switches,
    "guest button": guests,
    "rows of the recorder": rows,
    "blueprints": automations,
    "restart of Home Assistant": restart_of_home_assistant,
    "restart of the broker": restart_of_the_broker,
    "edge_mer killed": restart_of_edge_mer,
    "log": log_is_clean,
    "mqtt forget": forget,
}


def let_hub_unmask_video(state: Path) -> None:
    path = state / "deployment.toml"
    write_deployment(path, replace(read_deployment(path), hub=HubConsent(("video",))))
