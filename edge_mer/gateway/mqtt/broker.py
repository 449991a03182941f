"""The broker as the section ``mqtt`` names it: address, certificates, login."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edge_mer.config import MqttConfig
from edge_mer.contract.errors import ConfigError
from edge_mer.gateway.curve_listener import is_loopback

if TYPE_CHECKING:
    from paho.mqtt.client import Client


def prepare(client: Client, section: MqttConfig) -> None:
    """Set TLS and login before the first connection. Raises ConfigError for files that cannot be used."""
    secure, _, _ = broker_of(section.address or "")
    if section.certificate is not None and not secure:
        raise ConfigError("mqtt.certificate needs a broker at mqtts://")
    if secure:
        try:
            client.tls_set(ca_certs=section.ca, certfile=section.certificate, keyfile=section.key)
        except (OSError, ValueError, ssl.SSLError) as error:
            raise ConfigError(f"mqtt.ca, mqtt.certificate or mqtt.key cannot be used: {error}") from error
    if section.username is not None:
        client.username_pw_set(section.username, _password(section.password_file))


def broker_of(address: str) -> tuple[bool, str, int]:
    """Use of TLS, host and port of ``mqtt[s]://HOST[:PORT]``. Raises ConfigError for other addresses."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"mqtt.address = {address!r}: {error}") from error
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/") or parts.username:
        raise ConfigError(
            f"mqtt.address = {address!r}: use mqtt://HOST:1883 or mqtts://HOST:8883; a name and a "
            "password go into mqtt.username and mqtt.password_file"
        )
    secure = parts.scheme == "mqtts"
    return secure, parts.hostname, port or (8883 if secure else 1883)


def plaintext_password(section: MqttConfig) -> tuple[str, ...]:
    """A warning when the password is sent over the network unencrypted."""
    secure, host, _ = broker_of(section.address or "")
    if secure or section.username is None or is_loopback(host) or host == "localhost":
        return ()
    return (f"the password goes to {host} unencrypted; use mqtts://",)


def _password(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text().partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"mqtt.password_file = {path!r}: {error}") from error
