"""Pairing by a one-time code: short-lived, few tries, never sent itself.

``edge-mer keys pair NAME`` leaves an open pairing in the privacy state directory and shows a link. Who holds the link
connects to the switch, and proves with an HMAC under the code that the public keys it brings are its own.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Literal

import msgspec
import zmq
from msgspec import Struct

from edge_mer.contract.clock import SECOND, Clock
from edge_mer.contract.control import Pair
from edge_mer.contract.errors import PrivacyError
from edge_mer.host.files import create_once, write_atomic
from edge_mer.privacy.keys.keyring import Keyring, PairedKey

FILE, CURVE_FILE = "pairing.json", "server.curve"
VALID_US = 5 * 60 * SECOND
TRIES = 3
SCHEME = "edge-mer:"


class Open(Struct, frozen=True):
    """A pairing that waits for its phone or hub; ``until_us`` is CLOCK_BOOTTIME of the boot ``boot_id``."""

    name: str
    role: Literal["phone", "hub"]
    code: str
    until_us: int
    boot_id: str
    tries: int = TRIES


class Link(Struct, frozen=True):
    """What the phone or hub must know: where the switch listens, whom it may trust there, and the code."""

    address: str
    host: str
    curve: str
    code: str

    def text(self) -> str:
        return f"{SCHEME}{self.address}|{self.host}|{self.curve}|{self.code}"


def read_link(text: str) -> Link:
    """Raises PrivacyError when it is no pairing link."""
    parts = text.removeprefix(SCHEME).split("|")
    if not text.startswith(SCHEME) or len(parts) != 4 or not all(parts):
        raise PrivacyError("this is no pairing link; edge-mer keys pair NAME on the host shows one")
    return Link(*parts)


def server_curve(directory: Path) -> tuple[bytes, bytes]:
    """Public and secret CURVE key of this host (Z85), made on first use, mode 0600."""
    path = directory / CURVE_FILE
    if not path.exists():
        create_once(path, b"\n".join(zmq.curve_keypair()))
    if path.stat().st_mode & 0o077:
        raise PrivacyError(f"{path} may be read by others; erase it and pair again")
    public, _, secret = path.read_bytes().partition(b"\n")
    try:
        if zmq.curve_public(secret) != public:
            raise ValueError("its halves do not belong together")
    except (ValueError, zmq.ZMQError) as error:
        raise PrivacyError(f"{path} is damaged ({error}); erase it and pair again") from error
    return public, secret


def link_to(directory: Path, address: str, host: str, code: str) -> Link:
    """The link to the host whose privacy state is in ``directory``."""
    return Link(address, host, server_curve(directory)[0].decode(), code)


def proof(code: str, server: str, name: str, signing: str, curve: str) -> str:
    """HMAC-SHA256 under the code over server key and what is brought, hex."""
    return hmac.new(code.encode(), "\n".join((server, name, signing, curve)).encode(), hashlib.sha256).hexdigest()


def open_pairing(directory: Path, name: str, role: Literal["phone", "hub"], clock: Clock, boot_id: str) -> Open:
    """Replaces an earlier one that was not used."""
    code = secrets.token_hex(5)
    opened = Open(name, role, code, clock.boottime_us() + VALID_US, boot_id)
    write_atomic(directory / FILE, msgspec.json.encode(opened))
    return opened


class Pairing:
    """The host's side. ``server`` is its own CURVE public key (Z85)."""

    def __init__(self, directory: Path, keyring: Keyring, server: str, clock: Clock, boot_id: str) -> None:
        self._path = directory / FILE
        self._keyring, self._server, self._clock, self._boot_id = keyring, server, clock, boot_id

    def current(self) -> Open | None:
        """The pairing that is open now."""
        try:
            opened = msgspec.json.decode(self._path.read_bytes(), type=Open)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        fresh = opened.boot_id == self._boot_id and self._clock.boottime_us() < opened.until_us
        return opened if fresh and opened.tries > 0 else None

    def complete(self, message: Pair, sender: str) -> PairedKey:
        """Pair the keys that a message brought. Raises PrivacyError; a wrong code costs a try, and three end it."""
        opened = self.current()
        if opened is None:
            raise PrivacyError("no pairing is open; start one on the host: edge-mer keys pair NAME")
        expected = proof(opened.code, self._server, message.name, message.signing, message.curve)
        if message.curve != sender or not hmac.compare_digest(expected.encode(), message.proof.encode()):
            left = msgspec.structs.replace(opened, tries=opened.tries - 1)
            write_atomic(self._path, msgspec.json.encode(left))
            raise PrivacyError(f"this is not the code; {left.tries} tries are left")
        self._path.unlink(missing_ok=True)
        today = datetime.date.fromtimestamp(self._clock.wall_us() / SECOND).isoformat()
        key = PairedKey(opened.name, opened.role, message.signing, message.curve or None, today)
        self._keyring.add(key)
        return key
