"""The part of an address that may be published or recorded: scheme, host and port. The rest may be secret."""

from __future__ import annotations

from urllib.parse import urlsplit


def public_address(url: str) -> str | None:
    """``rtsps://user:password@host:7441/STREAMKEY?token=1`` becomes ``rtsps://host:7441``.

    None where that is ambiguous: no address, or one whose password may contain a ``/`` or ``@``.
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return None
    rest = url.partition("://")[2].partition("/")[2]
    if not parts.scheme or not parts.hostname or "@" in rest or any(c.isspace() for c in url):
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}"
