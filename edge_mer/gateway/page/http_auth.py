"""Access control of the page: pure checks of a request's headers, and the viewing token.

No cookie is used, so another page cannot make a browser send authorised requests (CSRF). The Host header must be one of
our names, so a foreign name that resolves to this address is refused (DNS rebinding).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from edge_mer.config import Config, PageConfig
from edge_mer.contract.errors import ConfigError, PrivacyError
from edge_mer.gateway.curve_listener import is_loopback
from edge_mer.host.files import create_once, state_directory, write_atomic

TOKEN_FILE = "page.token"
TOKEN_BYTES = 16
BEARER = "Bearer "
METRICS = "/metrics"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
DEFAULT_PORT = {"http": 80, "https": 443}
NAME = re.compile(r"[\w.-]+|\[[0-9a-fA-F:.]+\]")

# All resources come from this host, nothing is inline, and framing is forbidden.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
    "Server": "edge_mer",
}


@dataclass(frozen=True, slots=True)
class PageAddress:
    """Address of the page. ``hosts``: accepted Host headers."""

    scheme: str
    host: str
    port: int
    hosts: frozenset[str]

    @property
    def url(self) -> str:
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/"


def parse_address(page: PageConfig) -> PageAddress:
    """Raises ConfigError for an invalid address, and for plaintext that other hosts could read."""
    wrong = f"page.address = {page.address!r}"
    try:
        parts = urlsplit(page.address or "")
        port = parts.port or DEFAULT_PORT.get(parts.scheme, 0)
    except ValueError as error:
        raise ConfigError(f"{wrong}: {error}") from error
    host = parts.hostname
    if host is None or parts.scheme not in DEFAULT_PORT or parts.path not in ("", "/") or parts.username or parts.query:
        raise ConfigError(f"{wrong}: use http://127.0.0.1:7653, or https://ADDRESS:7653 for access by other devices")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigError(
            f"{wrong}: other hosts could read the traffic; use https with page.certificate and page.key, or http://127.0.0.1:PORT"
        )
    if parts.scheme == "https" and not (page.certificate and page.key):
        raise ConfigError(f"{wrong}: https needs page.certificate and page.key (PEM files)")
    shown = f"[{host}]" if ":" in host else host
    names = {shown, *(LOOPBACK if is_loopback(host) or host in ("0.0.0.0", "::") else ()), *page.names}
    if bad := [n for n in names if not NAME.fullmatch(n)]:
        raise ConfigError(f"page.names: {bad[0]!r} is not a host name; leave out the port")
    portless = names if port == DEFAULT_PORT[parts.scheme] else set[str]()
    hosts = {f"{name}:{port}" for name in names} | portless
    return PageAddress(parts.scheme, host, port, frozenset(h.lower() for h in hosts))


def misnamed(headers: Mapping[str, str], address: PageAddress) -> str | None:
    """Error for a request with a Host header that is not ours, else None."""
    return None if headers.get("Host", "").lower() in address.hosts else "unknown host name; add it to page.names"


def foreign(headers: Mapping[str, str], address: PageAddress) -> str | None:
    """Error for a request from another page, else None."""
    origin = headers.get("Origin")
    if origin is not None and origin.lower() not in {f"{address.scheme}://{h}" for h in address.hosts}:
        return "requests from other pages are refused"
    if headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return "requests from other pages are refused"
    return None


class Token:
    """The viewing token: its holder may view and mask. It is read from its file at every use."""

    def __init__(self, directory: Path, file: str = TOKEN_FILE) -> None:
        self._path = directory / file
        if not self._path.exists():
            create_once(self._path, fresh())

    def read(self) -> str:
        """Raises PrivacyError when the file is missing, or when other users may read it."""
        try:
            if self._path.stat().st_mode & 0o077:
                raise PrivacyError(f"{self._path} is readable by others; make a new one: edge-mer page --new-token")
            return self._path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise PrivacyError(f"{self._path}: {error}; make a new one: edge-mer page --new-token") from error

    def renew(self) -> None:
        """Replace the token; viewers must open the new link."""
        write_atomic(self._path, fresh())

    def for_metrics(self) -> str:
        """The token for Prometheus: valid for /metrics only. Raises PrivacyError as ``read``."""
        return hmac.new(self.read().encode(), METRICS.encode(), hashlib.sha256).hexdigest()

    def admits(self, headers: Mapping[str, str], path: str) -> bool:
        try:
            known = [self.read(), *([self.for_metrics()] if path == METRICS else ())]
        except PrivacyError:
            return False
        given = headers.get("Authorization", "").encode(errors="surrogateescape")
        return bool(known[0]) and any(hmac.compare_digest(given, (BEARER + k).encode()) for k in known)


def fresh() -> bytes:
    return secrets.token_urlsafe(TOKEN_BYTES).encode()


def link_of(page: PageConfig, token: Token) -> str:
    """The link of the page. Browsers never send the part after the #, which holds the token."""
    return f"{parse_address(page).url}#{token.read()}"


def page_link(config: Config, with_token: bool) -> str | None:
    """The link of the configured page, or None without a page. Without ``with_token`` it is safe to log."""
    if config.page.address is None:
        return None
    if not with_token:
        return f"{parse_address(config.page).url} (with its token: edge-mer page)"
    return link_of(config.page, Token(state_directory(config.privacy.state)))
