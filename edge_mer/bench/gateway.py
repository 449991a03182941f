"""The gateway: estimates to 50 CURVE clients, cost of page viewers for fusion, and time of a mask over MQTT.

Real processes and sockets on loopback. The MQTT part needs mosquitto on this host and is skipped without it.
"""

from __future__ import annotations

import http.client
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import zmq

from edge_mer.bench.live import unmask
from edge_mer.bench.result import Figure, spread
from edge_mer.bus import ZmqBus
from edge_mer.client import SwitchClient
from edge_mer.client.instance import Instance, temporary_place
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import EMOTIONS, MODALITIES
from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.messages import Estimate, HealthReport, Presence
from edge_mer.demo.config import demo_config
from edge_mer.fusion.estimate import NO_LATENCY
from edge_mer.gateway.mqtt.discovery import OFF, ON, Names
from edge_mer.gateway.page.http_auth import BEARER, Token
from edge_mer.host.launcher import SystemLauncher
from edge_mer.privacy.keys.host_key import public_key
from edge_mer.privacy.keys.keyring import Keyring, PairedKey
from edge_mer.privacy.keys.pairing import server_curve

CLIENTS, CLIENTS_MS = 50, 5.0
ESTIMATES, WARM, SPACING_US = 200, 20, SECOND // 20
VIEWERS, VIEWERS_SHARE, VIEW_S = 10, 2.0, 20.0
MASKS, MASK_MS = 40, 250.0
PATIENCE_US = 20 * SECOND


def measure() -> list[Figure]:
    figures = clients() + viewers()
    if (mosquitto := shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")) is not None:
        figures += masks(mosquitto)
    return figures


# -- ZeroMQ ------------------------------------------------------------------------------------------------------


def clients() -> list[Figure]:
    """Time from the creation of an estimate to its arrival at each of 50 clients, each with its own key."""
    with temporary_place() as place, ExitStack() as stack:
        state, directory = Path(place) / "state", Path(place) / "run"
        for folder in (state, directory):
            folder.mkdir(mode=0o700)
        address = f"tcp://127.0.0.1:{free_port()}"
        config = Config.model_validate({"privacy": {"state": str(state)}, "hub": {"publish": address}})
        context = zmq.Context()
        stack.callback(context.destroy, linger=0)
        poller, sockets = zmq.Poller(), [_client(context, state, address, n) for n in range(CLIENTS)]
        for client in sockets:
            poller.register(client, zmq.POLLIN)
        bus = ZmqBus(directory)
        stack.callback(bus.close)
        hub = SystemLauncher(directory, config).start("hub", "edge_mer.gateway.public.node")
        stack.callback(hub.wait, 2)
        stack.callback(hub.terminate)
        publisher = bus.publisher("emotion", "bench")
        _wait_for_clients(bus, publisher, poller)
        took: list[float] = []
        for n in range(WARM + ESTIMATES):
            bus.wait(SPACING_US)
            sent = publisher.send(SAMPLE, origin_us=bus.clock.now_us()).envelope
            arrived = _arrivals(bus, poller, sent.seq)
            took += [(at - sent.created_us) / 1000 for at in arrived] if n >= WARM else []
    return spread(f"estimate to {CLIENTS} CURVE clients", took, "ms", CLIENTS_MS)


def _client(context: zmq.Context[zmq.Socket[bytes]], state: Path, address: str, number: int) -> zmq.Socket[bytes]:
    client = context.socket(zmq.SUB)
    public, secret = zmq.curve_keypair()
    Keyring(state).add(PairedKey(f"client{number}", "reader", None, public.decode(), "today"))
    client.curve_serverkey, client.curve_publickey, client.curve_secretkey = server_curve(state)[0], public, secret
    client.subscribe(b"emotion")
    client.connect(address)
    return client


def _wait_for_clients(bus: ZmqBus, publisher: Any, poller: zmq.Poller) -> None:
    connected: set[int] = set()
    deadline = bus.clock.now_us() + PATIENCE_US
    while len(connected) < CLIENTS:
        if bus.clock.now_us() > deadline:
            raise EdgeMerError(f"only {len(connected)} of {CLIENTS} clients received messages; run: edge-mer doctor")
        publisher.send(SAMPLE, origin_us=bus.clock.now_us())
        for client, _ in poller.poll(200):
            client.recv_multipart()
            connected.add(id(client))


def _arrivals(bus: ZmqBus, poller: zmq.Poller, seq: int) -> list[int]:
    """The time of arrival at each client."""
    found: list[int] = []
    while len(found) < CLIENTS and (ready := poller.poll(2000)):
        for client, _ in ready:
            header = client.recv_multipart()[1]
            now = bus.clock.now_us()
            if msgspec.json.decode(header)["seq"] == seq:
                found.append(now)
    return found


# -- the page ----------------------------------------------------------------------------------------------------


def viewers() -> list[Figure]:
    """CPU of the fusion process without viewers, and with ten viewers that also have the explanation open."""
    port = free_port()
    with _instance({"page": {"address": f"http://127.0.0.1:{port}"}}) as (bus, state):
        fusion = psutil.Process(_pid(bus, "fusion"))
        _wait_for_port(bus, port)
        baseline = _share(fusion)
        with ExitStack() as stack:
            token = Token(state).read()
            for _ in range(VIEWERS):
                for path in ("/events", "/events?why=1"):
                    stack.enter_context(_viewer(port, token, path))
            watched = _share(fusion)
    return [
        Figure("fusion process without viewers", round(baseline, 2), "% CPU"),
        Figure(f"fusion process with {VIEWERS} viewers, all with explanations", round(watched, 2), "% CPU"),
        Figure(f"added to fusion by {VIEWERS} viewers", round(max(0.0, watched - baseline), 2), "% CPU", VIEWERS_SHARE),
    ]


def _share(process: psutil.Process) -> float:
    """CPU use in per cent of one core, over the next VIEW_S seconds."""
    before, began = sum(process.cpu_times()[:2]), time.monotonic()
    time.sleep(VIEW_S)
    spent: float = sum(process.cpu_times()[:2]) - before
    return 100 * spent / (time.monotonic() - began)


@contextmanager
def _viewer(port: int, token: str, path: str) -> Iterator[None]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path, headers={"Authorization": BEARER + token})
    response = connection.getresponse()
    if response.status != 200:
        raise EdgeMerError(f"the page answers {response.status}: {response.read().decode()}")

    stream = connection.sock

    def read() -> None:
        while stream.recv(65536):
            pass

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stream.shutdown(socket.SHUT_RDWR)
        thread.join(2)
        connection.close()


# -- MQTT --------------------------------------------------------------------------------------------------------


def masks(mosquitto: str) -> list[Figure]:
    """Time from publishing OFF to the switch state OFF, which confirms that the device is closed."""
    from paho.mqtt import client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    port = free_port()
    with ExitStack() as stack:
        place = Path(stack.enter_context(temporary_place()))
        (place / "broker.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        place.chmod(0o755)  # mosquitto drops its privileges
        broker = subprocess.Popen([mosquitto, "-c", str(place / "broker.conf")], stderr=subprocess.DEVNULL)
        stack.callback(broker.wait)
        stack.callback(broker.kill)
        bus, state = stack.enter_context(_instance({"mqtt": {"address": f"mqtt://127.0.0.1:{port}"}}))
        _wait_for_port(bus, port)
        key = public_key(state)
        assert key is not None
        names = Names(key.public_bytes_raw().hex()[:8], "homeassistant")
        states: dict[str, str] = {}
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.on_message = lambda c, u, message: states.update({message.topic: message.payload.decode()})
        client.connect("127.0.0.1", port)
        stack.callback(client.disconnect)
        client.subscribe([(names.state(m), 1) for m in MODALITIES])
        switch = SwitchClient.on_bus(bus)
        took: list[float] = []
        for n in range(MASKS):
            modality = MODALITIES[n % 3]
            _until_state(client, states, names.state(modality), ON)
            began = time.monotonic()
            client.publish(names.command(modality), OFF, qos=1)
            _until_state(client, states, names.state(modality), OFF)
            took.append(1000 * (time.monotonic() - began))
            switch.unmask(modality)
    return spread("MQTT mask command to confirmed state", took, "ms", MASK_MS)


def _until_state(client: Any, states: dict[str, str], topic: str, value: str) -> None:
    deadline = time.monotonic() + PATIENCE_US / SECOND
    while states.get(topic) != value:
        if time.monotonic() > deadline:
            raise EdgeMerError(f"{topic} did not become {value}; it is {states.get(topic)}")
        client.loop(0.005)


# -- shared helpers ----------------------------------------------------------------------------------------------

SAMPLE = Estimate(
    combination="atv",
    probabilities={e: 1 / len(EMOTIONS) for e in EMOTIONS},
    label="neutral",
    abstain=None,
    confidence=0.5,
    calibrated=True,
    sentiment=0.25,
    sentiment_reason=None,
    presence={m: Presence("present", None, 30) for m in MODALITIES},
    revision=0,
    final=False,
    biometric=True,
    mask_epoch=1,
    model=secrets.token_hex(8),
    runtime="onnxruntime",
    latency_ms=NO_LATENCY,
)


@contextmanager
def _instance(sections: dict[str, dict[str, Any]]) -> Iterator[tuple[ZmqBus, Path]]:
    """The demo session with everything unmasked; yields a bus and the directory of its keys."""
    with temporary_place() as place, ExitStack() as stack:
        directory = Path(place) / "run"
        directory.mkdir(mode=0o700)
        stack.callback(Instance(demo_config(Path(place), None, None, sections), directory).stop)
        bus = ZmqBus(directory)
        stack.callback(bus.close)
        unmask(bus)
        yield bus, Path(place) / "privacy"


def _pid(bus: ZmqBus, name: str) -> int:
    reader, deadline = bus.reader("health"), bus.clock.now_us() + PATIENCE_US
    while bus.clock.now_us() < deadline:
        bus.wait(SECOND // 10)
        for message in reader.drain():
            body = message.body
            if isinstance(body, HealthReport) and (pid := body.workers[name].pid) is not None:
                reader.close()
                return pid
    raise EdgeMerError(f"no health report names the process {name}")


def _wait_for_port(bus: ZmqBus, port: int) -> None:
    deadline = bus.clock.now_us() + PATIENCE_US
    while bus.clock.now_us() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        bus.wait(SECOND // 10)
    raise EdgeMerError(f"nothing listens on 127.0.0.1:{port}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
