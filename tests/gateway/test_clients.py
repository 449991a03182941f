"""The example clients of the gateway's README, unchanged, in their own processes, with a hub over TCP."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from edge_mer.privacy.keys.keyring import Keyring, PairedKey
from edge_mer.privacy.keys.pairing import server_curve
from tests.devices import free_port
from tests.documents import ROOT, marked_block
from tests.gateway.estimates import estimate
from tests.gateway.stage import Stage

README = "edge_mer/gateway/README.md"
NODE_MODULES = ROOT / ".node" / "node_modules"


def test_hub_process_serves_subscribers_and_stops(staged: Callable[..., Stage]) -> None:
    from edge_mer.config import Config
    from edge_mer.host.launcher import SystemLauncher
    from edge_mer.host.processes import rows_for

    stage, address = staged(), f"tcp://127.0.0.1:{free_port()}"
    sections = {"privacy": {"state": str(stage.state)}, "hub": {"publish": address}}
    config = Config.model_validate(sections)
    row = next(r for r in rows_for(config) if r.name == "hub")
    subscriber = stage.subscriber(stage.allow(), "privacy")
    stage.stop_hub()
    process = SystemLauncher(stage.test_bus.directory, config).start(row.name, row.entry)
    try:
        subscriber.socket.connect(address)
        stage.until(subscriber.topics, 20)
    finally:
        process.terminate()
        assert process.wait(30) == 0


def readme_example(mark: str, language: str, address: str) -> str:
    """The example below ``<!-- mark -->`` with our address: at most ten lines, without our package."""
    code = marked_block(README, mark, language).replace("tcp://192.168.1.5:7651", address)
    assert address in code
    assert len([line for line in code.splitlines() if line]) <= 10
    assert "edge_mer" not in code
    return code


def python_client(place: Path, address: str) -> list[str]:
    return [sys.executable, "-c", readme_example("client", "python", address)]


def javascript_client(place: Path, address: str) -> list[str]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    if not (NODE_MODULES / "zeromq").is_dir():
        pytest.skip("zeromq is not installed; run: npm install --prefix .node zeromq@6")
    (place / "node_modules").symlink_to(NODE_MODULES)
    (place / "client.mjs").write_text(readme_example("client-js", "js", address))
    return [node, "client.mjs"]


@pytest.mark.parametrize("client", [python_client, javascript_client])
def test_readme_client_prints_labels(
    staged: Callable[..., Stage], tmp_path: Path, client: Callable[[Path, str], list[str]]
) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    stage, command = staged(publish=address), client(tmp_path, address)
    public, secret = zmq.curve_keypair()
    Keyring(stage.state).add(PairedKey("lamp", "reader", None, public.decode(), "today"))
    (tmp_path / "hub.keys").write_bytes(b"\n".join([server_curve(stage.state)[0], public, secret]))
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        poller = zmq.Poller()
        poller.register(running.stdout, zmq.POLLIN)

        def printed() -> bool:
            stage.publish("emotion", estimate(label="surprise", revision=0, final=False))
            return bool(poller.poll(0))

        stage.until(printed, 20)
        assert running.stdout.readline() == "surprise\n"
        running.kill()


def test_concurrent_start_of_switch_and_hub_yields_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_mer.privacy.keys import pairing

    other = zmq.curve_keypair()

    def keypair_after_other_process() -> tuple[bytes, bytes]:
        (tmp_path / pairing.CURVE_FILE).write_bytes(b"\n".join(other))
        (tmp_path / pairing.CURVE_FILE).chmod(0o600)
        return real()

    real = zmq.curve_keypair
    monkeypatch.setattr(pairing.zmq, "curve_keypair", keypair_after_other_process)
    assert server_curve(tmp_path) == other
