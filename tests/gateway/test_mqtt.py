"""Home Assistant over a real mosquitto: states match the switch, commands are executed or refused with a reason."""

from __future__ import annotations

import datetime
import json
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

import edge_mer
from edge_mer.bus import ZmqBus
from edge_mer.config import Config, MqttConfig
from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import ConfigError
from edge_mer.contract.messages import EventChange
from edge_mer.events import corrections
from edge_mer.gateway.mqtt.broker import broker_of, plaintext_password, prepare
from edge_mer.gateway.mqtt.forget import BrokerFailed, forget
from edge_mer.gateway.mqtt.node import MqttOutlet
from edge_mer.gateway.mqtt.watched_client import WatchedClient
from edge_mer.gateway.outlet import OutletBus, OutletWorker
from edge_mer.privacy.keys.identity import new_identity, read_identity
from edge_mer.privacy.keys.keyring import Keyring, PairedKey
from tests.devices import free_port
from tests.gateway.estimates import estimate
from tests.gateway.stage import Stage


class Broker:
    def __init__(self, place: Path, *settings: str) -> None:
        self.port = free_port()
        self._config = place / "mosquitto.conf"
        self._config.write_text("\n".join([f"listener {self.port} 127.0.0.1", *settings]) + "\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(["mosquitto", "-c", str(self._config)], stderr=subprocess.PIPE)
        assert self._process.stderr is not None
        for line in self._process.stderr:  # logged once it listens
            if b"running" in line:
                return
        raise AssertionError("mosquitto did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class HomeAssistant:
    """``received``: the newest payload of every topic."""

    def __init__(self, port: int, user: tuple[str, str] | None = None) -> None:
        self.received: dict[str, str] = {}
        self.retained: set[str] = set()
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        if user is not None:
            self.client.username_pw_set(*user)
        self.client.on_message = self._on_message
        self.client.connect("127.0.0.1", port)
        self.client.subscribe([("edge_mer/#", 1), ("homeassistant/#", 1)])

    def _on_message(self, client: Any, user: Any, message: Any) -> None:
        self.received[message.topic] = message.payload.decode()
        if message.retain:
            self.retained.add(message.topic)

    def turn(self) -> None:
        self.client.loop(0)
        self.client.loop(0)


class Home:
    """A stage with Home Assistant; ``expect`` waits for the value of a topic."""

    def __init__(
        self, stage: Stage, port: int, user: tuple[str, str] | None = None, watched: bool = True, **section: Any
    ) -> None:
        self.stage = stage
        given = {"address": f"mqtt://127.0.0.1:{port}", "steady_s": 0, **section}
        config = Config.model_validate({"privacy": {"state": str(stage.state)}, "mqtt": given})
        self._bus = ZmqBus(stage.test_bus.directory)
        self.worker = OutletWorker("mqtt", self._bus, partial(self._outlets, config))
        self.base = self.mqtt.names.base
        if watched:
            self.ha = HomeAssistant(port, user)

    def _outlets(self, config: Config, bus: OutletBus) -> list[MqttOutlet]:
        self.mqtt = MqttOutlet(config, bus)
        return [self.mqtt]

    def until(self, done: Callable[[], Any], seconds: float = 8) -> Any:
        def turn() -> Any:
            self.worker.turn()
            self.ha.turn()
            return done()

        return self.stage.until(turn, seconds)

    def expect(self, topic: str, value: str) -> None:
        self.until(lambda: self.ha.received.get(f"{self.base}/{topic}") == value)

    def send(self, topic: str, payload: str, retain: bool = False) -> None:
        self.ha.client.publish(f"{self.base}/{topic}", payload, qos=1, retain=retain)

    def pair(self, *may_unmask: str) -> None:
        identity = new_identity(self.stage.state, "mqtt")
        Keyring(self.stage.state).add(PairedKey("mqtt", "hub", identity.signing, identity.content.curve_public, "now"))
        self.stage.may_unmask(*may_unmask)

    def requested(self) -> dict[str, str]:
        assert self.stage.switch is not None
        return {m: s.requested for m, s in self.stage.switch.states().items()}

    def reason(self, modality: Modality) -> str | None:
        assert self.stage.switch is not None
        return self.stage.switch.states()[modality].reason

    def close(self) -> None:
        self.ha.client.disconnect()
        self.worker.close()
        self._bus.close()


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="em", dir="/tmp") as found:
        Path(found).chmod(0o755)  # mosquitto drops its privileges
        yield Path(found)


@pytest.fixture
def broker(place: Path) -> Iterator[Broker]:
    found = Broker(place, "allow_anonymous true")
    yield found
    found.stop()


@pytest.fixture
def home(stage: Stage, broker: Broker) -> Iterator[Home]:
    found = Home(stage, broker.port)
    yield found
    found.close()


def test_discovery_and_states_are_published(home: Home) -> None:
    home.expect("availability", "online")
    for modality in ("audio", "video", "text"):
        home.expect(f"{modality}/state", "OFF")
    payload = json.loads(home.ha.received[home.mqtt.names.config])
    assert payload["availability_topic"] == f"{home.base}/availability"


def test_discovery_is_resent_when_home_assistant_starts(home: Home) -> None:
    home.expect("availability", "online")
    home.ha.received.clear()
    home.ha.client.publish("homeassistant/status", "online")
    home.until(lambda: home.mqtt.names.config in home.ha.received)


def test_estimates_are_published_and_not_retained(home: Home) -> None:
    def shown() -> bool:
        home.stage.publish("emotion", estimate(label="surprise", revision=0, final=False))
        return json.loads(home.ha.received.get(f"{home.base}/estimate", "{}")).get("emotion") == "surprise"

    home.until(shown)
    late = HomeAssistant(int(home.mqtt._section.address.rpartition(":")[2]))  # type: ignore[union-attr]
    home.until(lambda: late.turn() or f"{home.base}/availability" in late.retained)
    late.client.publish(f"{home.base}/end", "x", qos=1)  # arrives after all retained messages
    home.until(lambda: late.turn() or f"{home.base}/end" in late.received)
    assert f"{home.base}/estimate" not in late.retained


def test_only_the_first_publication_of_a_window_is_current(home: Home) -> None:
    """A revision or the final repetition is of a window that is two seconds old."""

    def shown() -> str | None:
        state: dict[str, str] = json.loads(home.ha.received.get(f"{home.base}/estimate", "{}"))
        return state.get("emotion")

    def current() -> bool:
        home.stage.publish("emotion", estimate(label="surprise", revision=0, final=False))
        return shown() == "surprise"

    home.until(current)
    for past in ({"revision": 1, "final": False}, {"revision": 0, "final": True}):
        home.stage.publish("emotion", estimate(label="sad", **past))
    home.until(current)
    assert home.mqtt._shown.steady.candidate == "surprise"


def test_the_whole_estimate_is_published_for_other_programs_and_not_retained(home: Home) -> None:
    topic = f"{home.base}/emotion"
    home.until(lambda: home.stage.publish("emotion", estimate(label="surprise")) or topic in home.ha.received)
    found = json.loads(home.ha.received[topic])
    assert (found["label"], found["room"], found["revision"]) == ("surprise", home.mqtt._device.room, 0)
    assert topic not in home.ha.retained


def test_a_steady_emotion_reaches_the_broker_200_ms_after_it_is_steady(stage: Stage, broker: Broker) -> None:
    """With a window each 50 ms, and the time of a window on top: what is steady is known only with the next."""
    steady_us = 300_000
    home = Home(stage, broker.port, steady_s=steady_us / 1e6)
    clock = stage.test_bus.clock
    began = due = 0

    def shown() -> bool:
        nonlocal began, due
        if clock.now_us() >= due:
            due = clock.now_us() + 50_000
            began = began or clock.now_us()
            stage.publish("emotion", estimate(label="fear"))
        return json.loads(home.ha.received.get(f"{home.base}/estimate", "{}")).get("emotion") == "fear"

    try:
        home.expect("availability", "online")
        stage.publish("emotion", estimate(label="sad"))
        home.until(lambda: home.mqtt._shown.steady.candidate == "sad")
        home.until(shown)
        took = clock.now_us() - began
        assert steady_us <= took
        assert took <= steady_us + 200_000 + 50_000, f"{took / 1000:.0f} ms"
    finally:
        home.close()


def test_forget_clears_every_retained_topic_also_of_former_entities(stage: Stage, broker: Broker) -> None:
    home = Home(stage, broker.port)
    section = MqttConfig(address=f"mqtt://127.0.0.1:{broker.port}")
    names = home.mqtt.names
    home.expect("audio/state", "OFF")
    former = (f"{home.base}/humidity/state", f"homeassistant/sensor/edge_mer_{names.node}/humidity/config")
    for topic in former:
        home.ha.client.publish(topic, "x", qos=1, retain=True)
    home.until(lambda: set(former) <= set(home.ha.received))
    other = "edge_mer/another/availability"
    home.ha.client.publish(other, "online", qos=1, retain=True)
    home.until(lambda: other in home.ha.received)
    with pytest.raises(BrokerFailed, match="stop edge-mer run"):
        forget(section, names)
    home.close()
    cleared = forget(section, names)
    assert {*former, names.config, names.availability, names.first_until, names.state("audio")} <= set(cleared)
    late = HomeAssistant(broker.port)
    stage.until(lambda: late.turn() or other in late.received)
    assert late.retained == {other}
    late.client.disconnect()


def test_forget_says_that_no_broker_is_there(home: Home) -> None:
    section = MqttConfig(address=f"mqtt://127.0.0.1:{free_port()}")
    with pytest.raises(BrokerFailed, match="not reachable"):
        forget(section, home.mqtt.names)


def test_mqtt_5_works_as_well(stage: Stage, broker: Broker) -> None:
    home = Home(stage, broker.port, protocol="5", base_topic="house/north")
    try:
        assert home.base.startswith("house/north/")
        home.ha.client.subscribe("house/#", 1)
        home.expect("availability", "online")
        home.send("guests/press", "PRESS")
        home.until(lambda: "done" in home.ha.received.get(f"{home.base}/notice", ""))
    finally:
        home.close()


def test_on_without_paired_key_is_refused_with_reason(home: Home) -> None:
    home.expect("audio/state", "OFF")
    home.send("audio/set", "ON")
    home.until(lambda: "needs paired key" in home.ha.received.get(f"{home.base}/notice", ""))
    assert home.requested()["audio"] == "masked"
    assert home.ha.received[f"{home.base}/audio/state"] == "OFF"


def test_on_with_paired_key_unmasks_only_permitted_modalities(home: Home) -> None:
    home.pair("audio")
    home.expect("audio/state", "OFF")
    home.send("video/set", "ON")
    home.until(lambda: "hub.may_unmask" in home.ha.received.get(f"{home.base}/notice", ""))
    home.send("audio/set", "ON")
    home.until(lambda: home.requested()["audio"] == "live")
    assert home.requested()["video"] == "masked"
    home.send("audio/set", "OFF")
    home.until(lambda: home.requested()["audio"] == "masked")
    assert home.stage.switch is not None
    assert home.stage.switch.states()["audio"].reason == "masked by mqtt"


def test_timed_mask_shows_its_end_and_says_when_it_has_ended(home: Home) -> None:
    home.pair("audio")
    home.expect("audio/until", "None")
    home.send("audio/set", "ON")
    home.until(lambda: home.requested()["audio"] == "live")
    home.send("guests/press", "PRESS")
    home.until(lambda: home.ha.received[f"{home.base}/audio/until"] != "None")
    ends = datetime.datetime.fromisoformat(home.ha.received[f"{home.base}/audio/until"])
    hours = (ends - datetime.datetime.now(datetime.timezone.utc)).total_seconds() / 3600
    assert 2.9 < hours < 3.1
    assert home.stage.switch is not None
    mask = home.stage.switch.policy.asked["audio"].mask
    assert mask is not None
    assert mask.until is not None
    past = msgspec.structs.replace(mask, until=msgspec.structs.replace(mask.until, wall_us=0, boottime_us=0))
    home.stage.switch.policy.asked["audio"] = msgspec.structs.replace(
        home.stage.switch.policy.asked["audio"], mask=past
    )
    home.until(lambda: "its timed mask has ended" in home.ha.received.get(f"{home.base}/notice", ""))
    home.expect("audio/until", "None")


def test_with_require_grant_only_a_signed_grant_unmasks(stage: Stage, broker: Broker) -> None:
    home = Home(stage, broker.port, require_grant=True)
    home.pair("audio")
    try:
        home.expect("audio/state", "OFF")
        home.send("audio/set", "ON")
        home.until(lambda: "mqtt.require_grant" in home.ha.received.get(f"{home.base}/notice", ""))
        home.send("audio/set", '{"kind":"grant"}')
        home.until(lambda: "this is no grant" in home.ha.received[f"{home.base}/notice"])
        assert home.requested()["audio"] == "masked"
        known = json.loads(home.ha.received[f"{home.base}/grant"])
        hub = read_identity(stage.state, "mqtt")
        assert hub is not None
        grant = hub.grant(known["host"], ("audio",), known["mask_epoch"], 1_800_000_000_000_000)
        forged = msgspec.structs.replace(grant, counter=grant.counter + 1)
        home.send("audio/set", msgspec.json.encode(forged).decode())
        home.until(lambda: "not signed by the key" in home.ha.received[f"{home.base}/notice"])
        home.send("audio/set", msgspec.json.encode(grant).decode())
        home.until(lambda: home.requested()["audio"] == "live")
        home.send("audio/set", "OFF")
        home.until(lambda: home.requested()["audio"] == "masked")
        assert any("needs a signed grant" in note for note in home.mqtt.notes)
    finally:
        home.close()


def test_a_broker_that_accepts_anybody_is_reported(home: Home) -> None:
    assert not any("anonymous" in note for note in home.mqtt.notes), "not before it has accepted anybody"
    home.expect("availability", "online")
    assert any("accepts anonymous clients" in note for note in home.mqtt.notes)
    assert any("access list decides" in note for note in home.mqtt.notes)


def test_retained_command_is_ignored(home: Home) -> None:
    home.pair("audio")
    home.expect("audio/state", "OFF")
    home.send("audio/set", "ON", retain=True)
    home.until(lambda: home.requested()["audio"] == "live")  # the first delivery is not marked as retained
    home.send("audio/set", "OFF")
    home.until(lambda: home.requested()["audio"] == "masked")
    home.mqtt._link.client.reconnect()  # the broker resends the retained command
    home.ha.received.clear()
    home.expect("availability", "online")
    home.send("video/set", "OFF")  # arrives after the retained command
    home.until(lambda: "mask video" in home.ha.received.get(f"{home.base}/notice", ""))
    assert home.requested()["audio"] == "masked"


def test_guest_button_masks_everything(home: Home) -> None:
    home.expect("availability", "online")
    home.send("guests/press", "PRESS")
    home.until(lambda: "done" in home.ha.received.get(f"{home.base}/notice", ""))
    assert home.stage.switch is not None
    assert all(s.reason == "masked by mqtt" for s in home.stage.switch.states().values())


@pytest.mark.parametrize("payload", ["", "on", "TOGGLE", "ON" * 5000])
def test_unknown_payloads_are_ignored(home: Home, payload: str) -> None:
    home.expect("availability", "online")
    home.send("audio/set", payload)
    home.until(lambda: home.mqtt.counters["bad_order"])
    assert home.requested()["audio"] == "masked"


def test_states_are_resent_after_broker_restart(home: Home, broker: Broker) -> None:
    home.expect("availability", "online")
    broker.stop()
    home.stage.until(lambda: home.worker.turn() and any("not reachable" in note for note in home.mqtt.notes))
    home.ha.received.clear()
    broker.start()
    home.ha.client.reconnect()
    home.ha.client.subscribe("edge_mer/#", 1)
    home.until(lambda: home.ha.received.get(f"{home.base}/audio/state") == "OFF", 15)


class HostileBroker:
    """Accepts every client and subscription, and publishes bytes that no broker would."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.recv(1000)
                connection.sendall(b"\x20\x02\0\0")
                self.connections.append(connection)

    def publish(self, topic: bytes, payload: bytes) -> None:
        body = len(topic).to_bytes(2, "big") + topic + payload
        self.connections[-1].sendall(bytes([0x30, len(body)]) + body)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for each in (self._listener, *self.connections):
            each.close()


@pytest.fixture
def hostile(stage: Stage) -> Iterator[tuple[HostileBroker, Home]]:
    broker = HostileBroker()
    home = Home(stage, broker.port, watched=False)
    home.stage.until(lambda: home.worker.turn() and home.mqtt._link.is_connected)
    yield broker, home
    home.worker.close()
    home._bus.close()
    broker.close()


def test_topic_that_is_no_text_is_ignored(hostile: tuple[HostileBroker, Home]) -> None:
    broker, home = hostile
    broker.publish(b"\xff\xfe/bad", b"OFF")
    home.stage.until(lambda: home.worker.turn() and home.mqtt.counters["bad_order"])
    assert not any("reachable" in note or "renewed" in note for note in home.mqtt.notes)
    broker.publish(home.mqtt.names.command("video").encode(), b"OFF")
    home.stage.until(lambda: home.worker.turn() and "masked by" in (home.reason("video") or ""))


def test_ended_network_thread_is_reported_and_replaced(
    hostile: tuple[HostileBroker, Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, home = hostile
    failing = home.mqtt._link.client
    monkeypatch.setattr(failing, "_handle_publish", lambda: 1 // 0)
    broker.publish(b"x", b"")
    home.stage.until(lambda: home.worker.turn() and home.mqtt.counters["thread_ended"])
    home.stage.until(
        lambda: home.worker.turn() and home.mqtt._link.is_connected and home.mqtt._link.client is not failing
    )
    assert "renewed: ZeroDivisionError" in home.mqtt.notes[0]
    broker.publish(home.mqtt.names.command("video").encode(), b"OFF")
    home.stage.until(lambda: home.worker.turn() and "masked by" in (home.reason("video") or ""))


def test_frozen_broker_does_not_delay_masks(home: Home, broker: Broker) -> None:
    def proven() -> bool:
        home.stage.publish("emotion", estimate(revision=0, final=False))
        home.worker.turn()
        return bool(answer.socket.poll(0))

    home.expect("availability", "online")
    assert broker._process is not None
    broker._process.send_signal(signal.SIGSTOP)
    answer = home.stage.request_client(home.stage.allow(), zmq.DEALER)
    try:
        for n in range(5):
            answer.send("mask", modalities=["audio"])
            home.stage.until(proven)
            receipt = json.loads(answer.socket.recv())
            assert receipt["ok"], f"mask {n}: {receipt['text']}"
    finally:
        broker._process.send_signal(signal.SIGCONT)
    home.send("video/set", "OFF")
    home.until(lambda: "done" in home.ha.received.get(f"{home.base}/notice", ""))


def test_last_will_publishes_offline(home: Home) -> None:
    home.expect("availability", "online")
    raw = home.mqtt._link.client.socket()
    assert raw is not None
    home.mqtt._link.client.loop_stop()
    raw.shutdown(socket.SHUT_RDWR)
    home.stage.until(lambda: home.ha.turn() or home.ha.received[f"{home.base}/availability"] == "offline")


def test_mask_clears_the_emotion(home: Home) -> None:
    def shown(value: str | None) -> bool:
        return json.loads(home.ha.received.get(f"{home.base}/estimate", '{"emotion": "-"}'))["emotion"] == value

    def published() -> bool:
        home.stage.publish("emotion", estimate(revision=0, final=False))
        return shown("happy")

    home.until(published)
    answer = home.stage.request_client(home.stage.allow(), zmq.DEALER)
    answer.send("mask", modalities=["audio"])
    home.until(lambda: answer.socket.poll(0))
    receipt = json.loads(answer.socket.recv())
    assert receipt["ok"], "the mask waited until this process deleted its data"
    home.until(lambda: shown(None))


def test_login_with_name_and_password(stage: Stage, place: Path) -> None:
    (place / "secret").write_text("good\n")
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(place / "users"), "hub", "good"], check=True)
    (place / "users").chmod(0o644)
    broker = Broker(place, "allow_anonymous false", f"password_file {place / 'users'}")
    try:
        home = Home(stage, broker.port, ("hub", "good"), username="hub", password_file=str(place / "secret"))
        home.expect("availability", "online")
        assert not any("anonymous" in note for note in home.mqtt.notes)
        home.close()
        refused = Home(stage, broker.port, ("hub", "good"), username="hub")
        refused.until(lambda: refused.mqtt.counters["refused"])
        refused.close()
    finally:
        broker.stop()


def test_the_access_list_in_the_readme_keeps_a_display_from_unmasking(stage: Stage, place: Path) -> None:
    readme = (Path(edge_mer.__file__).parent / "privacy/README.md").read_text()
    (place / "acl").write_text(next(block for block in readme.split("```") if "user edge_mer\n" in block))
    (place / "secret").write_text("good\n")
    for user in ("edge_mer", "homeassistant", "display"):
        create = () if (place / "users").exists() else ("-c",)
        subprocess.run(["mosquitto_passwd", "-b", *create, str(place / "users"), user, "good"], check=True)
    for name in ("users", "acl"):
        (place / name).chmod(0o644)
    broker = Broker(place, "allow_anonymous false", f"password_file {place / 'users'}", f"acl_file {place / 'acl'}")
    login = {"username": "edge_mer", "password_file": str(place / "secret")}
    home = Home(stage, broker.port, ("display", "good"), **login)
    try:
        home.pair("audio")
        home.expect("audio/state", "OFF")
        home.send("audio/set", "ON")
        stage.never(lambda: home.worker.turn() and (home.ha.turn() or home.requested()["audio"] == "live"))
        home.ha = HomeAssistant(broker.port, ("homeassistant", "good"))
        home.expect("audio/state", "OFF")
        home.send("audio/set", "ON")
        home.until(lambda: home.requested()["audio"] == "live")
    finally:
        home.close()
        broker.stop()


def ours(place: Path) -> dict[str, str]:
    return {"certificate": str(place / "ours.pem"), "key": str(place / "ours.key")}


def test_tls_accepts_only_a_broker_with_the_configured_ca(stage: Stage, place: Path) -> None:
    for name in ("ours", "other"):
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=127.0.0.1",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
                "-keyout",
                str(place / f"{name}.key"),
                "-out",
                str(place / f"{name}.pem"),
            ],
            check=True,
            capture_output=True,
        )
        (place / f"{name}.key").chmod(0o644)
    broker = Broker(
        place,
        "allow_anonymous true",
        f"certfile {place / 'ours.pem'}",
        f"keyfile {place / 'ours.key'}",
        f"listener {(plain := free_port())} 127.0.0.1",
    )
    address = f"mqtts://127.0.0.1:{broker.port}"
    try:
        home = Home(stage, plain, address=address, ca=str(place / "ours.pem"))
        home.expect("availability", "online")
        home.close()
        home = Home(stage, plain, address=address, ca=str(place / "other.pem"))
        stage.never(lambda: home.worker.turn() and not home.mqtt.notes, 1)
        home.close()
        client = WatchedClient("x", list[str]().append, "5")
        prepare(client, MqttConfig(address=address, ca=str(place / "ours.pem"), **ours(place)))
        with pytest.raises(ConfigError, match=r"mqtt\.certificate"):
            prepare(client, MqttConfig(address=address, certificate=str(place / "absent.pem")))
        with pytest.raises(ConfigError, match="mqtts"):
            prepare(client, MqttConfig(address="mqtt://localhost", **ours(place)))
    finally:
        broker.stop()


def test_states_are_unknown_without_switch(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.expect("audio/state", "OFF")
    assert home.stage.switch is not None
    home.stage.switch.close()
    home.stage.switch = None
    monkeypatch.setattr("edge_mer.gateway.mqtt.node.STALE_US", 0)
    home.expect("audio/state", "None")


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1883", "http://x", "mqtt://", "mqtt://a:b@host", "mqtt://h:x", "mqtt://h/p"]
)
def test_invalid_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"mqtt\.address"):
        broker_of(address)


@pytest.mark.parametrize(
    ("address", "username", "warned"),
    [
        ("mqtt://broker.local", "hub", True),
        ("mqtt://192.168.1.9", "hub", True),
        ("mqtt://192.168.1.9", None, False),
        ("mqtts://broker.local", "hub", False),
        ("mqtt://127.0.0.1", "hub", False),
        ("mqtt://localhost", "hub", False),
    ],
)
def test_unencrypted_password_gives_a_warning(address: str, username: str | None, warned: bool) -> None:
    section = Config.model_validate({"mqtt": {"address": address, "username": username}}).mqtt
    assert bool(plaintext_password(section)) == warned


def test_default_port_follows_the_scheme() -> None:
    assert broker_of("mqtt://h") == (False, "h", 1883)
    assert broker_of("mqtts://h") == (True, "h", 8883)
    assert broker_of("mqtt://[::1]:9") == (False, "::1", 9)


def test_an_event_is_sent_at_once_not_retained_and_the_button_calls_it_wrong(home: Home) -> None:
    topic = f"{home.base}/event"
    home.expect("availability", "online")
    change = EventChange("angry-av-7", "begin", "angry", 5, None, ("av",), 4.0, 3.0, 24.0, 0.1, None, True, 0, "m")
    home.until(lambda: home.stage.publish("event", change) or topic in home.ha.received)
    found = json.loads(home.ha.received[topic])
    assert (found["event_type"], found["id"], found["combinations"]) == ("angry_begin", "angry-av-7", ["av"])
    assert topic not in home.ha.retained
    home.send("event/wrong", "PRESS")
    home.expect("notice", "wrong: angry-av-7 is noted")
    assert corrections.read(home.stage.state).wrong == ("angry-av-7",)


def test_after_a_mask_there_is_no_event_to_call_wrong(home: Home) -> None:
    home.expect("availability", "online")
    home.mqtt._last_event = "angry-av-7"
    home.mqtt.forget(("audio",), 1)
    home.send("event/wrong", "PRESS")
    home.expect("notice", "wrong: there was no event since the last mask")
