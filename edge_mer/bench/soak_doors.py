"""``edge-mer soak doors``: hostile clients at every way in from the network, one after the other, on real processes.

It replays what a red team found: floods of timed masks (B1), subscriptions (B3), endless messages (B4), what no MQTT
broker sends (B6), half-open TLS (B7), stolen identities (B9). It passes only when the switch was never restarted, every
process is back at its memory after 10 s, and the owner's masks meanwhile took at most 200 ms (p99). What the red team
found in files (B2, B8) and in Wyoming's answers (B5) has no way in from the network; their tests replay it.
"""

from __future__ import annotations

import datetime
import ipaddress
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil
import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge_mer.bench.gateway import free_port
from edge_mer.bench.live import unmask
from edge_mer.bench.result import percentile
from edge_mer.bus import ZmqBus
from edge_mer.client import SwitchClient
from edge_mer.client.instance import Instance, temporary_place
from edge_mer.contract.errors import EdgeMerError
from edge_mer.demo.config import demo_config
from edge_mer.host.launcher import log_directory, tail
from edge_mer.privacy.keys.identity import new_identity
from edge_mer.privacy.keys.keyring import Keyring, PairedKey, Role
from edge_mer.privacy.keys.pairing import server_curve

WATCHED = ("switch", "door", "hub", "page", "mqtt")
MASK_MS, AFTER_S, GROWTH_MB = 200.0, 10.0, 50.0
LIVE_S, SAMPLE_S, START_S = 0.15, 0.05, 40.0
PAYLOAD = 100_000_000
NO_TEXT = b"\x30\x0b\x00\x06\xff\xfe/badOFF"  # an MQTT packet whose topic is no UTF-8


class HostileBroker:
    """Accepts the mqtt process, and sends topics that are no text and payloads of 100 MB while ``attack`` runs."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connection: socket.socket | None = None
        threading.Thread(target=self._accept, name="broker", daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), name="broker", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """Answers CONNECT and PINGREQ; everything else is read and dropped."""
        with suppress(OSError):
            while data := connection.recv(65_536):
                if data[:1] == b"\x10":
                    connection.sendall(b"\x20\x02\0\0")
                    self._connection = connection
                elif data[:2] == b"\xc0\0":
                    connection.sendall(b"\xd0\0")

    def attack(self, until: float) -> str:
        sent, large = 0, _publish(PAYLOAD)
        while time.monotonic() < until:
            sent += 1
            try:
                if self._connection is not None:
                    self._connection.sendall(large if sent % 10 == 0 else NO_TEXT)
            except OSError:
                self._connection = None
            time.sleep(SAMPLE_S)
        return str(sent)

    def close(self) -> None:
        self._listener.close()


class Watch:
    """Memory (MB) of the watched processes of a supervisor. ``worst``, ``latest``; ``lives``: their process ids."""

    def __init__(self, pid: int) -> None:
        self._supervisor = psutil.Process(pid)
        self._found: dict[str, psutil.Process] = {}
        self.reset()

    def reset(self) -> None:
        self.worst, self.latest = dict.fromkeys(WATCHED, 0.0), dict.fromkeys(WATCHED, 0.0)
        self.lives: dict[str, set[int]] = {name: set() for name in WATCHED}
        self.sample()

    def sample(self, seconds: float = 0) -> None:
        """Once, and again and again for ``seconds``."""
        until = time.monotonic() + seconds
        while True:
            if any(name not in self._found or not self._found[name].is_running() for name in WATCHED):
                self._find()
            for name, process in self._found.items():
                with suppress(psutil.Error):
                    self.latest[name] = process.memory_info().rss / 1e6
                    self.worst[name] = max(self.worst[name], self.latest[name])
                    self.lives[name].add(process.pid)
            if time.monotonic() >= until:
                return
            time.sleep(SAMPLE_S)

    def until_all_run(self) -> None:
        until = time.monotonic() + START_S
        while len(self._found) < len(WATCHED):
            if time.monotonic() > until:
                raise EdgeMerError(f"{', '.join(set(WATCHED) - set(self._found))} did not start")
            self.sample(1.0)

    def _find(self) -> None:
        for process in self._supervisor.children():
            with suppress(psutil.Error, IndexError):
                if (name := process.cmdline()[3]) in WATCHED:
                    self._found[name] = process


@dataclass(frozen=True)
class Result:
    """One attack: memory (MB) before, at worst and 10 s after it, restarts, and times of the owner's masks (ms)."""

    name: str
    sent: str
    before: dict[str, float]
    worst: dict[str, float]
    after: dict[str, float]
    restarts: dict[str, int]
    masks_ms: list[float]
    refused: list[str]

    def text(self) -> str:
        memory = ", ".join(f"{n} {self.before[n]:.0f} -> {self.worst[n]:.0f} -> {self.after[n]:.0f}" for n in WATCHED)
        restarts = ", ".join(f"{n} {count}" for n, count in self.restarts.items() if count) or "none"
        masks = f"p50 {percentile(self.masks_ms, 0.5):.0f} p99 {percentile(self.masks_ms, 0.99):.0f}"
        return (
            f"{self.name}: sent {self.sent}; MB {memory}; restarts: {restarts}; "
            f"{len(self.masks_ms)} masks {masks} ms, {len(self.refused)} not proven {sorted(set(self.refused))[:2]}"
        )

    @property
    def is_bounded(self) -> bool:
        back = all(self.after[n] <= self.before[n] + GROWTH_MB for n in WATCHED)
        return back and not self.restarts["switch"] and not self.refused


def soak_doors(seconds: float) -> bool:
    """``seconds``: of each attack."""
    with temporary_place() as name, ExitStack() as ending:
        place, ports = Path(name), {n: free_port() for n in ("publish", "requests", "door", "page")}
        broker = HostileBroker()
        ending.callback(broker.close)
        certificate, key = _certificate(place)
        address = {n: f"tcp://127.0.0.1:{port}" for n, port in ports.items()}
        address["page"] = f"https://127.0.0.1:{ports['page']}"
        config = demo_config(
            place,
            None,
            None,
            {
                "hub": {"publish": address["publish"], "requests": address["requests"]},
                "remote": {"listen": address["door"]},
                "page": {"address": address["page"], "certificate": str(certificate), "key": str(key)},
                "mqtt": {"address": f"mqtt://127.0.0.1:{broker.port}"},
            },
        )
        directory = place / "run"
        directory.mkdir(mode=0o700)
        instance = Instance(config, directory)
        ending.callback(instance.stop)
        bus = ZmqBus(directory)
        ending.callback(bus.close)
        unmask(bus)
        owner, state = SwitchClient.on_bus(bus), place / "privacy"

        def client(attack: str, at: str, role: Role = "reader") -> Callable[[float], str]:
            keys = (server_curve(state)[0].decode(), *_keys(place, state, f"{attack}-{at}", role))
            command = [sys.executable, "-m", "edge_mer.bench.hostile_clients", attack, str(seconds), address[at], *keys]
            return lambda until: subprocess.run(command, capture_output=True, text=True).stdout.strip()

        attacks = {
            "no attack": _quiet,
            "B1 timed masks at the hub": client("timed_masks", "requests"),
            "B1 timed masks at the door": client("timed_remote_masks", "door", "phone"),
            "B3 subscriptions": client("subscriptions", "publish"),
            "B4 endless message to the door": client("endless_message", "door", "phone"),
            "B4 endless message to the hub": client("endless_message", "requests"),
            "B4 endless subscription": client("endless_subscription", "publish"),
            "B6 no text and 100 MB over MQTT": broker.attack,
            "B7 half-open TLS": client("half_open", "page"),
            "B9 stolen identities": client("identities", "requests"),
        }
        watch = Watch(instance.process.pid)
        watch.until_all_run()
        results = []
        log = log_directory(config) / "supervisor.jsonl"
        for title, attack in attacks.items():
            known = len(tail(log))
            results.append(_replay(title, attack, seconds, owner, watch))
            typer.echo(results[-1].text())
            for line in tail(log)[known:]:
                typer.echo(f"  {msgspec.json.decode(line)['message']}")
    masks = [ms for result in results for ms in result.masks_ms]
    typer.echo(
        f"the owner's {len(masks)} masks: p50 {percentile(masks, 0.5):.0f} p99 {percentile(masks, 0.99):.0f} "
        f"max {max(masks):.0f} ms (at most {MASK_MS:.0f} at p99)"
    )
    return all(r.is_bounded for r in results) and percentile(masks, 0.99) <= MASK_MS


def _replay(title: str, attack: Callable[[float], str], seconds: float, owner: SwitchClient, watch: Watch) -> Result:
    watch.reset()
    before, masks_ms, refused, sent = dict(watch.latest), list[float](), list[str](), list[str]()
    until = time.monotonic() + seconds
    attacking = threading.Thread(target=lambda: sent.append(attack(until)), name=title)
    attacking.start()
    while attacking.is_alive():
        owner.unmask("video")
        watch.sample(LIVE_S)
        began = time.monotonic()
        answer = owner.mask("video")
        masks_ms.append(1000 * (time.monotonic() - began))
        if not answer.ok:
            refused.append(answer.text)
    attacking.join()
    watch.sample(AFTER_S)
    restarts = {name: len(pids) - 1 for name, pids in watch.lives.items()}
    return Result(title, sent[0], before, dict(watch.worst), dict(watch.latest), restarts, masks_ms, refused)


def _quiet(until: float) -> str:
    time.sleep(max(0.0, until - time.monotonic()))
    return "nothing"


def _publish(length: int) -> bytes:
    """An MQTT packet with a payload of ``length`` bytes, of a topic that no client subscribes to."""
    size, digits = length + 3, bytearray()
    while size:
        size, low = divmod(size, 128)
        digits.append(low | (0x80 if size else 0))
    return b"\x30" + bytes(digits) + b"\x00\x01x" + bytes(length)


def _keys(place: Path, state: Path, name: str, role: Role) -> tuple[str, str]:
    """The CURVE pair (Z85) of a client that this host allows; only a phone may sign grants."""
    (place / "away").mkdir(mode=0o700, exist_ok=True)
    identity = new_identity(place / "away", name)
    signing = identity.signing if role == "phone" else None
    Keyring(state).add(PairedKey(name, role, signing, identity.content.curve_public, "today"))
    public, secret = identity.curve
    return public.decode(), secret.decode()


def _certificate(place: Path) -> tuple[Path, Path]:
    """Certificate and key (PEM) of 127.0.0.1, signed by itself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "soak")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem, private = place / "page.pem", place / "page.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, private
