"""Access control of the page: host names, origins, tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_mer.config import Config, PageConfig
from edge_mer.contract.errors import ConfigError, PrivacyError
from edge_mer.gateway.page.http_auth import Token, foreign, link_of, misnamed, page_link, parse_address

LOCAL = parse_address(PageConfig(address="http://127.0.0.1:7653"))
LAN = parse_address(PageConfig(address="https://192.168.1.5:443", certificate="c", key="k", names=("edge.local",)))


@pytest.mark.parametrize("host", ["127.0.0.1:7653", "localhost:7653", "LOCALHOST:7653", "[::1]:7653"])
def test_known_host_names_are_accepted(host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    assert misnamed(headers, LOCAL) is foreign(headers, LOCAL) is None
    assert foreign({"Host": host}, LOCAL) is None, "curl and Prometheus send no origin"


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:7653", "127.0.0.1", "127.0.0.1:80", "localhost:7653.evil"]
)
def test_unknown_host_name_is_refused(host: str) -> None:
    assert misnamed({"Host": host}, LOCAL) is not None


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:7653"},
        {"Origin": "http://127.0.0.1:8000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_origin_is_refused(headers: dict[str, str]) -> None:
    assert foreign({"Host": "127.0.0.1:7653", **headers}, LOCAL) == "requests from other pages are refused"


def test_port_is_optional_in_host_header_for_the_default_port() -> None:
    for host in ("192.168.1.5", "192.168.1.5:443", "edge.local"):
        assert misnamed({"Host": host}, LAN) is None
    assert misnamed({"Host": "localhost"}, LAN) is not None


@pytest.mark.parametrize(
    "address",
    [
        "http://192.168.1.5:7653",
        "http://0.0.0.0:7653",
        "http://localhost:7653",
        "http://edge.local:7653",
        "https://192.168.1.5:7653",
        "ftp://127.0.0.1",
        "127.0.0.1:7653",
        "http://",
        "http://127.0.0.1:x",
        "http://127.0.0.1:7653/page",
        "http://a:b@127.0.0.1:7653",
        "http://127.0.0.1",
    ],
)
def test_plaintext_or_invalid_address_is_refused(address: str) -> None:
    if address == "http://127.0.0.1":
        assert parse_address(PageConfig(address=address)).port == 80
        return
    with pytest.raises(ConfigError, match=r"page\.address"):
        parse_address(PageConfig(address=address))


def test_page_name_with_port_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"page\.names"):
        parse_address(PageConfig(address="http://127.0.0.1:7653", names=("edge.local:80",)))


def test_token_is_created_once_private_and_renewable(tmp_path: Path) -> None:
    token = Token(tmp_path)
    first = token.read()
    assert len(first) >= 22
    assert Token(tmp_path).read() == first
    assert (tmp_path / "page.token").stat().st_mode & 0o077 == 0
    assert token.admits({"Authorization": f"Bearer {first}"}, "/events")
    token.renew()
    assert not token.admits({"Authorization": f"Bearer {first}"}, "/events")


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", "Bearer x", "Basic {}", "{}", "bearer {}", "Bearer {}\u00e9"]
)
def test_wrong_authorization_is_refused(tmp_path: Path, given: str) -> None:
    token = Token(tmp_path)
    assert not token.admits({"Authorization": given.format(token.read())}, "/events")
    assert not token.admits({}, "/events")


def test_readable_empty_or_missing_token_file_refuses_everyone(tmp_path: Path) -> None:
    token = Token(tmp_path)
    value = token.read()
    (tmp_path / "page.token").chmod(0o644)
    assert not token.admits({"Authorization": f"Bearer {value}"}, "/events")
    with pytest.raises(PrivacyError, match="--new-token"):
        token.read()
    (tmp_path / "page.token").chmod(0o600)
    (tmp_path / "page.token").write_text("")
    assert not token.admits({"Authorization": "Bearer "}, "/events")
    (tmp_path / "page.token").unlink()
    assert not token.admits({"Authorization": "Bearer "}, "/events")


def test_metrics_token_is_valid_for_metrics_only(tmp_path: Path) -> None:
    token = Token(tmp_path)
    given = {"Authorization": f"Bearer {token.for_metrics()}"}
    assert token.admits(given, "/metrics")
    for path in ("/events", "/mask", "/unmask", "/pair", "/metrics/"):
        assert not token.admits(given, path)
    token.renew()
    assert not token.admits(given, "/metrics")


def test_link_carries_the_token_in_the_fragment(tmp_path: Path) -> None:
    token = Token(tmp_path)
    assert link_of(PageConfig(address="http://127.0.0.1:7653"), token) == f"http://127.0.0.1:7653/#{token.read()}"


def test_undecodable_authorization_is_refused(tmp_path: Path) -> None:
    token = Token(tmp_path)
    assert not token.admits({"Authorization": "Bearer \udcff"}, "/")
    assert token.admits({"Authorization": f"Bearer {token.read()}"}, "/")


def test_page_link_has_the_token_only_on_request(tmp_path: Path) -> None:
    config = Config.model_validate({"page": {"address": "http://127.0.0.1:7653"}, "privacy": {"state": str(tmp_path)}})
    tmp_path.chmod(0o700)
    token = Token(tmp_path).read()
    assert token in (page_link(config, with_token=True) or "")
    assert token not in (page_link(config, with_token=False) or "")
    assert page_link(Config(), with_token=True) is None
