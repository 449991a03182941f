"""A lease opens one device, for one process, for a short time, and nothing else does."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.control import Lease
from edge_mer.contract.errors import ConfigError, LeaseError
from edge_mer.host.files import state_directory
from edge_mer.privacy.keys.host_key import PRIVATE, host_key, public_key
from edge_mer.privacy.keys.lease import ExpiredLease, ForeignLease, ForgedLease, LeaseVerifier, ReplayedLease
from edge_mer.privacy.keys.signing import sign

KEY = Ed25519PrivateKey.generate()
NOW = FakeClock().boottime_us()


def lease(**changes: Any) -> Lease:
    good: dict[str, Any] = {
        "modality": "audio",
        "holder": "microphone/life",
        "boot_id": "boot",
        "mask_epoch": 5,
        "counter": 1,
        "issued_us": NOW,
        "expires_us": NOW + 2 * SECOND,
    }
    return Lease(**{**good, **changes})


def verifier(clock: FakeClock | None = None) -> LeaseVerifier:
    return LeaseVerifier(KEY.public_key(), "audio", "microphone/life", "boot", clock or FakeClock())


def test_a_signed_lease_is_accepted() -> None:
    verifier().accept(sign(KEY, lease()))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"boot_id": "another boot"}, ForeignLease),
        ({"holder": "microphone/earlier life"}, ForeignLease),
        ({"modality": "video"}, ForeignLease),
        ({"expires_us": NOW}, ExpiredLease),
        ({"issued_us": NOW + 1, "expires_us": NOW + 2}, ExpiredLease),
        ({"expires_us": NOW + 11 * SECOND}, ExpiredLease),
    ],
)
def test_a_signed_lease_for_another_place_or_time_is_refused(changes: dict[str, Any], error: type[LeaseError]) -> None:
    with pytest.raises(error, match=r"audio|video"):
        verifier().accept(sign(KEY, lease(**changes)))


def test_another_key_is_refused() -> None:
    with pytest.raises(ForgedLease):
        verifier().accept(sign(Ed25519PrivateKey.generate(), lease()))


def test_each_changed_bit_of_the_message_is_refused() -> None:
    signed = sign(KEY, lease())
    wire = msgspec.json.encode(signed)
    looked_at = 0
    for bit in range(8 * len(wire)):
        flipped = bytearray(wire)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            changed = msgspec.json.decode(flipped, type=Lease)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if changed == signed:
            continue  # it was in the word "kind", which a reader that expects a lease does not need
        looked_at += 1
        with pytest.raises(LeaseError):
            verifier().accept(changed)
    assert looked_at > 4 * 128, "at least four bits of each digit of the signature leave a message"


@pytest.mark.parametrize("signature", ["", "zz", "00" * 64, "ä", "00" * 63])
def test_a_malformed_signature_is_refused(signature: str) -> None:
    with pytest.raises(ForgedLease):
        verifier().accept(lease(signature=signature))


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12))
def test_counters_only_grow_whatever_is_replayed(counters: list[int]) -> None:
    gate = verifier()
    newest = -1
    for counter in counters:
        if counter > newest:
            gate.accept(sign(KEY, lease(counter=counter)))
            newest = counter
        else:
            with pytest.raises(ReplayedLease):
                gate.accept(sign(KEY, lease(counter=counter)))


def test_a_lease_held_back_from_before_a_mask_is_refused() -> None:
    gate = verifier()
    gate.require_epoch(6)
    with pytest.raises(ReplayedLease, match="epoch 5, now 6"):
        gate.accept(sign(KEY, lease()))


def test_a_refused_lease_changes_nothing() -> None:
    gate = verifier()
    with pytest.raises(ForeignLease):
        gate.accept(sign(KEY, lease(counter=9, holder="somebody")))
    gate.accept(sign(KEY, lease(counter=1)))


def test_the_host_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    directory = state_directory(str(tmp_path / "state"))
    assert public_key(directory) is None
    key = host_key(directory)
    assert host_key(directory).private_bytes_raw() == key.private_bytes_raw()
    assert stat.S_IMODE((directory / PRIVATE).stat().st_mode) == 0o600
    public = public_key(directory)
    assert public is not None
    assert public.public_bytes_raw() == key.public_key().public_bytes_raw()
    assert sorted(p.name for p in directory.iterdir()) == ["host.key", "host.pub"]


@pytest.mark.parametrize("content", [b"", b"not hex", b"00" * 31, b"\xff" * 64])
def test_a_damaged_key_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / PRIVATE
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"host\.key"):
        host_key(tmp_path)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    host_key(tmp_path)
    (tmp_path / PRIVATE).chmod(0o644)
    with pytest.raises(ConfigError, match="read by others"):
        host_key(tmp_path)


def test_an_open_state_directory_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        state_directory(str(tmp_path))
