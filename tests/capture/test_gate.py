"""The gate fails closed: after any fault, the device is closed within one lease."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_mer.capture.gate import DeviceGate
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Close, Lease, Refused
from edge_mer.privacy.keys.lease import holder_name
from edge_mer.privacy.keys.signing import sign
from tests.switch_bench import BOOT_ID, SwitchBench, kinds, received

LEASE_US = 2 * SECOND


class GateTurns:
    """A gate whose owner closes its device at once."""

    def __init__(self, bench: SwitchBench, boot: str = "life") -> None:
        self.gate = DeviceGate(bench.bus(boot), "video", "camera", bench.directory, LEASE_US, BOOT_ID)

    def turn(self) -> None:
        self.gate.turn(None)
        if not self.gate.is_open:
            self.gate.confirm_closed(None, "measured")


@pytest.fixture
def bench(tmp_path: Path) -> SwitchBench:
    return SwitchBench(tmp_path)


@pytest.fixture
def owner(bench: SwitchBench) -> GateTurns:
    return GateTurns(bench)


def test_it_opens_with_a_lease_and_stays_open(bench: SwitchBench, owner: GateTurns) -> None:
    assert (owner.gate.is_open, owner.gate.state) == (False, "masked")
    bench.turn(owner)
    bench.run(10 * SECOND, owner, each=lambda: owner.gate.is_open or pytest.fail("closed while live"))
    assert (owner.gate.state, owner.gate.reason, owner.gate.mask_epoch) == ("live", None, 2)


def test_a_mask_closes_it_and_its_answer_completes_the_command(bench: SwitchBench, owner: GateTurns) -> None:
    bench.turn(owner)
    bench.ask("mask", "video")
    bench.turn(owner)
    assert (owner.gate.is_open, owner.gate.state, owner.gate.mask_epoch) == (False, "masked", 3)
    assert owner.gate.reason == "masked by local"
    assert bench.answers()[0].ok
    bench.ask("unmask", "video")
    bench.turn(owner)
    assert (owner.gate.state, owner.gate.mask_epoch) == ("live", 4)


def test_a_locked_modality_shows_as_hard(bench: SwitchBench, owner: GateTurns) -> None:
    bench.turn(owner)
    bench.ask("mask", "video", hard=True)
    bench.turn(owner)
    assert owner.gate.state == "hard"


def test_loss_of_the_switch_closes_it_within_one_lease(bench: SwitchBench, owner: GateTurns) -> None:
    bench.turn(owner)
    bench.kill_switch()
    bench.run(LEASE_US, owner)
    assert not owner.gate.is_open
    assert "switch does not answer" in (owner.gate.reason or "")
    bench.start_switch()
    bench.run(SECOND, owner)
    assert not owner.gate.is_open, "a restarted switch starts masked"
    bench.ask("unmask", "video")
    bench.run(SECOND, owner)
    assert owner.gate.is_open


def test_the_wait_ends_no_later_than_the_lease(bench: SwitchBench, owner: GateTurns) -> None:
    bench.turn(owner)
    bench.kill_switch()
    while owner.gate.is_open:
        left = owner.gate.turn(None)
        assert left > 0
        bench.clock.advance(left)
    assert bench.clock.now_us() - 1_000 * SECOND <= LEASE_US


def test_a_suspend_longer_than_the_lease_closes_it(bench: SwitchBench, owner: GateTurns) -> None:
    bench.turn(owner)
    bench.clock.suspend(LEASE_US)
    assert not owner.gate.is_open


def test_a_jump_of_the_wall_clock_has_no_effect(bench: SwitchBench, owner: GateTurns) -> None:
    bench.turn(owner)
    bench.clock.epoch_us -= 10**15
    assert owner.gate.is_open


class Impostor:
    """Sends messages to the gate from the switch's socket."""

    def __init__(self, bench: SwitchBench) -> None:
        bench.kill_switch()
        self.bench, self.server = bench, bench.bus().server("switch")

    def send(self, gate: DeviceGate, message: Lease | Refused | Close) -> None:
        gate.turn(None)
        peers = {peer for peer, _ in iter(self.server.receive, None)}
        for peer in peers:
            self.server.send(peer, message)
        gate.turn(None)

    def lease(self, key: Ed25519PrivateKey, holder: str, epoch: int = 9) -> Lease:
        now = self.bench.clock.boottime_us()
        return sign(
            key,
            Lease(
                modality="video",
                holder=holder,
                boot_id=BOOT_ID,
                mask_epoch=epoch,
                counter=now * 2,
                issued_us=now,
                expires_us=now + LEASE_US,
            ),
        )


def test_a_forged_lease_opens_nothing_and_is_counted(bench: SwitchBench, owner: GateTurns) -> None:
    impostor = Impostor(bench)
    impostor.send(owner.gate, impostor.lease(Ed25519PrivateKey.generate(), holder_name("camera", "life")))
    assert not owner.gate.is_open
    assert owner.gate.refused_leases == 1
    assert "not signed by this host's key" in (owner.gate.reason or "")


def test_forged_leases_do_not_keep_it_open(bench: SwitchBench, owner: GateTurns) -> None:
    bench.turn(owner)
    impostor = Impostor(bench)
    forger = Ed25519PrivateKey.generate()
    for _ in range(5):
        bench.clock.advance(LEASE_US // 4)
        impostor.send(owner.gate, impostor.lease(forger, holder_name("camera", "life")))
    assert not owner.gate.is_open


def test_without_the_hosts_public_key_it_stays_closed(bench: SwitchBench, owner: GateTurns) -> None:
    (bench.directory / "host.pub").unlink()
    bench.turn(owner)
    assert not owner.gate.is_open
    assert "privacy.state" in (owner.gate.reason or "")


def test_a_damaged_public_key_keeps_it_closed(bench: SwitchBench, owner: GateTurns) -> None:
    (bench.directory / "host.pub").write_bytes(b"\xff\x00")
    bench.turn(owner)
    assert not owner.gate.is_open


def test_an_order_from_before_the_current_lease_is_ignored(bench: SwitchBench, owner: GateTurns) -> None:
    bench.turn(owner)
    bench.ask("mask", "video")
    bench.turn(owner)
    bench.ask("unmask", "video")
    bench.turn(owner)
    impostor = Impostor(bench)
    impostor.send(owner.gate, Close(modality="video", gate="masked", mask_epoch=2, reason="replayed"))
    assert owner.gate.is_open


def test_a_close_of_another_modality_is_ignored(bench: SwitchBench, owner: GateTurns) -> None:
    bench.turn(owner)
    impostor = Impostor(bench)
    impostor.send(owner.gate, Close(modality="audio", gate="masked", mask_epoch=50, reason="not this one"))
    assert owner.gate.is_open


def test_closing_is_confirmed_once_per_order(bench: SwitchBench, owner: GateTurns) -> None:
    bench.turn(owner)
    bench.kill_switch()
    server = bench.bus().server("switch")
    owner.gate.turn(None)
    bench.clock.advance(SECOND)
    owner.gate.turn(None)
    (peer, *_) = (peer for peer, _ in iter(server.receive, None))
    order = Close(modality="video", gate="masked", mask_epoch=7, reason="asked")
    for _ in range(2):
        server.send(peer, order)
        owner.turn()
        owner.turn()
        assert [k for k in kinds(m for _, m in iter(server.receive, None)) if k == "Closed"] == ["Closed"]


def test_two_gates_of_one_process_are_independent(bench: SwitchBench) -> None:
    bus = bench.bus("life")
    video = DeviceGate(bus, "video", "file", bench.directory, LEASE_US, BOOT_ID)
    audio = DeviceGate(bus, "audio", "file", bench.directory, LEASE_US, BOOT_ID)
    for _ in range(3):
        video.turn(None), audio.turn(None), bench.turn()
    bench.ask("mask", "audio")
    bench.turn()
    video.turn(None), audio.turn(None)
    assert (video.state, audio.state) == ("live", "masked")
    assert received(bench.person) == []
