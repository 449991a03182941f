"""Who may talk to the page: names, origins, tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_mer.config import Config, PageConfig
from edge_mer.contract.errors import ConfigError, PrivacyError
from edge_mer.gateway.page.http_auth import Token, foreign, link_of, misnamed, page_link, place_of

HERE = place_of(PageConfig(address="http://127.0.0.1:7653"))
HOUSE = place_of(PageConfig(address="https://192.168.1.5:443", certificate="c", key="k", names=("edge.local",)))


@pytest.mark.parametrize("host", ["127.0.0.1:7653", "localhost:7653", "LOCALHOST:7653", "[::1]:7653"])
def test_our_names_are_let_in(host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    assert misnamed(headers, HERE) is foreign(headers, HERE) is None
    assert foreign({"Host": host}, HERE) is None, "curl and Prometheus name no origin"


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:7653", "127.0.0.1", "127.0.0.1:80", "localhost:7653.evil"]
)
def test_a_foreign_name_pointed_at_us_is_turned_away(host: str) -> None:
    assert misnamed({"Host": host}, HERE) is not None


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
def test_another_page_is_turned_away(headers: dict[str, str]) -> None:
    assert foreign({"Host": "127.0.0.1:7653", **headers}, HERE) == "this comes from another page"


def test_names_of_the_house_need_no_port_where_it_is_the_usual_one() -> None:
    for host in ("192.168.1.5", "192.168.1.5:443", "edge.local"):
        assert misnamed({"Host": host}, HOUSE) is None
    assert misnamed({"Host": "localhost"}, HOUSE) is not None


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
def test_addresses_that_others_could_read_or_that_are_none(address: str) -> None:
    if address == "http://127.0.0.1":
        assert place_of(PageConfig(address=address)).port == 80
        return
    with pytest.raises(ConfigError, match=r"page\.address"):
        place_of(PageConfig(address=address))


def test_names_carry_no_port() -> None:
    with pytest.raises(ConfigError, match=r"page\.names"):
        place_of(PageConfig(address="http://127.0.0.1:7653", names=("edge.local:80",)))


def test_a_token_is_made_once_kept_private_and_renewed(tmp_path: Path) -> None:
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
def test_nothing_else_is_admitted(tmp_path: Path, given: str) -> None:
    token = Token(tmp_path)
    assert not token.admits({"Authorization": given.format(token.read())}, "/events")
    assert not token.admits({}, "/events")


def test_a_token_that_others_can_read_or_that_is_empty_admits_nobody(tmp_path: Path) -> None:
    token = Token(tmp_path)
    held = token.read()
    (tmp_path / "page.token").chmod(0o644)
    assert not token.admits({"Authorization": f"Bearer {held}"}, "/events")
    with pytest.raises(PrivacyError, match="--new-token"):
        token.read()
    (tmp_path / "page.token").chmod(0o600)
    (tmp_path / "page.token").write_text("")
    assert not token.admits({"Authorization": "Bearer "}, "/events")
    (tmp_path / "page.token").unlink()
    assert not token.admits({"Authorization": "Bearer "}, "/events")


def test_what_prometheus_gets_opens_the_metrics_alone(tmp_path: Path) -> None:
    token = Token(tmp_path)
    given = {"Authorization": f"Bearer {token.for_metrics()}"}
    assert token.admits(given, "/metrics")
    for path in ("/events", "/mask", "/unmask", "/pair", "/metrics/"):
        assert not token.admits(given, path)
    token.renew()
    assert not token.admits(given, "/metrics")


def test_the_link_carries_the_token_where_no_server_sees_it(tmp_path: Path) -> None:
    token = Token(tmp_path)
    assert link_of(PageConfig(address="http://127.0.0.1:7653"), token) == f"http://127.0.0.1:7653/#{token.read()}"


def test_an_authorization_that_is_no_text_is_turned_away(tmp_path: Path) -> None:
    token = Token(tmp_path)
    assert not token.admits({"Authorization": "Bearer \udcff"}, "/")
    assert token.admits({"Authorization": f"Bearer {token.read()}"}, "/")


def test_the_token_is_shown_only_where_it_is_asked_for(tmp_path: Path) -> None:
    config = Config.model_validate({"page": {"address": "http://127.0.0.1:7653"}, "privacy": {"state": str(tmp_path)}})
    tmp_path.chmod(0o700)
    token = Token(tmp_path).read()
    assert token in (page_link(config, with_token=True) or "")
    assert token not in (page_link(config, with_token=False) or "")
    assert page_link(Config(), with_token=True) is None
