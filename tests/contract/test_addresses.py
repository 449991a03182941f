"""Secrets in an address are neither published nor recorded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.contract.addresses import public_address

SECRET = st.text(st.characters(codec="ascii", exclude_characters="\t\r\n"), min_size=1, max_size=12).map("S3CRET".join)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://user:pass@cam:554/live?token=1", "rtsp://cam:554"),
        ("rtsps://host:7441/STREAMKEY", "rtsps://host:7441"),
        ("http://[::1]:80/x", "http://[::1]:80"),
        ("rtsp://u:a@b@host/x", "rtsp://host"),
        ("rtsp://u:a/b@host", None),
        ("rtsp://u:1/2@host", None),
        ("rtsp://host:port/x", None),
        ("mqtt://broker.local:1883", "mqtt://broker.local:1883"),
    ],
)
def test_only_scheme_host_and_port_are_left(url: str, shown: str | None) -> None:
    assert public_address(url) == shown


@given(password=SECRET, path=SECRET, query=SECRET)
def test_no_password_path_or_query_is_shown(password: str, path: str, query: str) -> None:
    shown = public_address(f"rtsp://user:{password}S3CRET@camera.local:554/S3CRET{path}?S3CRET{query}")
    assert shown is None or "S3CRET" not in shown
