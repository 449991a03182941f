"""Promise 7: connections to configured addresses only. The whole application runs in a network namespace without a
route, under strace, which records every attempted connection of every process."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = [pytest.mark.end_to_end]
BROKER = ("10.9.8.7", 1883)
CALLS = "connect,sendto,sendmsg,sendmmsg"
# connect(7, {sa_family=AF_INET, sin_port=htons(1883), sin_addr=inet_addr("10.9.8.7")}, 16)
TARGET = re.compile(r"sin6?_port=htons\((\d+)\).*?(?:inet_addr\(\"([^\"]+)\"\)|inet_pton\(AF_INET6, \"([^\"]+)\")")


def targets(trace: str) -> set[tuple[str, int]]:
    """Address and port of every attempted connection or datagram to other hosts."""
    found = {(m[2] or m[3], int(m[1])) for m in TARGET.finditer(trace)}
    return {(host, port) for host, port in found if not ipaddress.ip_address(host).is_loopback}


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="em", dir="/tmp") as name:
        yield Path(name)


def run_without_route(place: Path, *command: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Runs ``command`` in a namespace with loopback only; returns it with the trace of its connections."""
    unshare = ["unshare", "--net", *(() if os.geteuid() == 0 else ("--map-root-user",))]
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: apt install strace")
    if subprocess.run([*unshare, "ip", "link", "set", "lo", "up"], capture_output=True).returncode:
        pytest.skip("a new network namespace is not permitted (CI permits it)")
    trace = place / "trace"
    script = f'ip link set lo up && exec strace -f --seccomp-bpf -qq -s 64 -e trace={CALLS} -o {trace} "$@"'
    ran = subprocess.run(
        [*unshare, "sh", "-c", script, "sh", *command],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "XDG_CONFIG_HOME": str(place), "XDG_STATE_HOME": str(place)},
    )
    return ran, trace.read_text()


def test_trace_records_attempted_connections(place: Path) -> None:
    code = (
        "import socket\n"
        "for family, kind, host in ((2, 1, '192.0.2.1'), (10, 1, '2001:db8::1'), (2, 2, '192.0.2.2')):\n"
        "    s = socket.socket(family, kind)\n"
        "    try: s.sendto(b'x', (host, 53)) if kind == 2 else s.connect((host, 443))\n"
        "    except OSError: pass\n"
    )
    _, trace = run_without_route(place, sys.executable, "-c", code)
    assert targets(trace) == {("192.0.2.1", 443), ("2001:db8::1", 443), ("192.0.2.2", 53)}


def test_application_connects_to_configured_addresses_only(place: Path) -> None:
    """With hub, page and MQTT configured, and with defaults; all combinations occur, and processes are killed."""
    settings = {
        "hub.publish": "tcp://127.0.0.1:7651",
        "hub.requests": "tcp://127.0.0.1:7652",
        "page.address": "http://127.0.0.1:7653",
        "remote.listen": "tcp://127.0.0.1:7650",
        "mqtt.address": f"mqtt://{BROKER[0]}:{BROKER[1]}",
    }
    options = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]

    def demo(options: list[str]) -> set[tuple[str, int]]:
        own = place / str(len(options))
        own.mkdir()
        ran, trace = run_without_route(own, sys.executable, "-m", "edge_mer.cli.main", "demo", "--json", *options)
        # 1: a scene was not seen in time, as on a busy machine; what was seen is the concern of the demo's own tests.
        assert ran.returncode in (0, 1), ran.stderr[-2000:]
        assert ran.stdout.count("\n") > 20
        return targets(trace)

    with ThreadPoolExecutor() as both:
        assert list(both.map(demo, (options, []))) == [{BROKER}, set()]
