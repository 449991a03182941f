"""The page's HTTP server: served files, access control, and refused requests."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_mer.config import Config
from edge_mer.contract.errors import ConfigError, MissingExtra
from edge_mer.gateway.outlet import OutletBus
from edge_mer.gateway.page import web_server
from edge_mer.gateway.page.http_auth import HEADERS, Token
from edge_mer.gateway.page.node import outlets
from tests.gateway.caller import Caller, has_topic
from tests.gateway.stage import Stage


def test_page_loads_resources_from_this_host_only(caller: Caller) -> None:
    status, headers, body = caller.request("GET", "/", token="")
    assert status == 200
    assert {k: headers[k] for k in HEADERS} == HEADERS
    for policy in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"):
        assert policy in headers["Content-Security-Policy"]
    text = body.decode()
    assert "http:" not in text.replace("http://www.w3.org", "")
    assert "//" not in text.replace("</", "")
    assert "style=" not in text
    assert "onclick" not in text
    for name in ("main.js", "page.css", "icon.svg"):
        assert caller.request("GET", f"/web/{name}", token="")[0] == 200


@pytest.mark.parametrize("path", ["/web/../page.py", "/web/%2e%2e/page.py", "/web/nothing.js", "/web//etc/passwd"])
def test_only_packaged_files_are_served(caller: Caller, path: str) -> None:
    assert caller.request("GET", path)[0] in (401, 404)


@pytest.mark.parametrize("path", ["/events", "/metrics", "/history", "/history.csv", "/nothing"])
def test_streams_need_the_token(caller: Caller, path: str) -> None:
    for token in ("", "x", caller.token[:-1]):
        assert caller.request("GET", path, token=token)[0] == 401
    assert caller.page.counters["requests_refused"] == 3


@pytest.mark.parametrize("path", ["/mask", "/unmask", "/pair", "/history/erase", "/event/wrong"])
def test_commands_need_the_token(caller: Caller, path: str) -> None:
    assert caller.request("POST", path, {"modalities": ["audio"]}, token="")[0] == 401
    assert caller.request("GET", f"{path}?token={caller.token}", token="")[0] == 401


def test_unknown_host_name_is_refused_even_with_the_token(caller: Caller) -> None:
    for path in ("/", "/events", "/metrics"):
        assert caller.request("GET", path, Host=f"rebound.example:{caller.port}")[0] == 403


@pytest.mark.parametrize("header", [{"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}])
def test_request_from_other_origin_is_refused_even_with_the_token(caller: Caller, header: dict[str, str]) -> None:
    assert caller.request("POST", "/mask", {"modalities": ["audio"]}, **header)[0] == 403
    assert caller.request("GET", "/events", **header)[0] == 403
    assert caller.request("GET", "/", **header)[0] == 200, "other pages may link to ours"


def test_form_content_types_are_refused(caller: Caller) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert caller.request("POST", "/mask", {"modalities": ["audio"]}, Content_Type=kind)[0] == 400


def test_renewed_token_is_required_at_once(caller: Caller) -> None:
    Token(caller.stage.state).renew()
    assert caller.request("GET", "/metrics")[0] == 401
    assert caller.request("GET", "/metrics", token=Token(caller.stage.state).read())[0] == 200


def test_renewed_token_closes_open_streams(caller: Caller) -> None:
    stream = caller.open_stream()
    caller.events(stream, has_topic("privacy"))
    Token(caller.stage.state).renew()
    rest = caller._pool.submit(stream.read)
    caller.until(rest.done)  # the stream ends, so read returns
    assert not caller.outlet.viewers


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"{}",
        b'{"modalities": []}',
        b'{"modalities": ["smell"]}',
        b"[" * 9000,
        b'{"modalities": ["audio"], "hard": true}',
        b'{"modalities": ["audio"], "for_s": -1}',
        b"x" * 100_000,
    ],
    ids=lambda b: repr(b[:30]),
)
def test_malformed_command_is_refused(caller: Caller, body: bytes) -> None:
    status, headers, _ = caller.request("POST", "/mask", body)
    assert status in (400, 413)
    assert headers["Content-Security-Policy"]
    assert caller.request("GET", "/")[0] == 200


def test_idle_connections_are_limited(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "MOST_CONNECTIONS", 3)
    caller = Caller(stage)
    idle = _idle(caller, lambda: caller.page.counters["requests_refused"])
    assert len(idle) == 3 + 1
    for connection in idle:
        connection.close()
    caller.until(lambda: caller.request("GET", "/")[0] == 200)
    caller.close()


def test_connection_counts_before_its_tls_handshake(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(web_server, "MOST_CONNECTIONS", 3)
    caller = _https(stage, tmp_path)
    idle = _idle(caller, lambda: caller.page.counters["requests_refused"])
    assert len(idle) == 3 + 1
    for connection in idle:
        connection.close()
    caller.until(lambda: caller.post("/mask", {"modalities": ["audio"]})["ok"])
    caller.close()


def test_tls_handshake_that_never_ends_frees_its_place(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(web_server, "MOST_CONNECTIONS", 1)
    monkeypatch.setattr(web_server, "HANDSHAKE_S", 0.3)
    caller = _https(stage, tmp_path)
    with socket.create_connection(("127.0.0.1", caller.port)) as silent:
        ended = caller._pool.submit(silent.recv, 1)
        caller.until(ended.done)
        assert caller.post("/mask", {"modalities": ["audio"]})["ok"]
    caller.close()


def _idle(caller: Caller, enough: Callable[[], object]) -> list[socket.socket]:
    """Connections that send nothing, opened one after the other until ``enough``."""
    idle: list[socket.socket] = []

    def accepted() -> bool:
        return bool(enough()) or sum(len(s._accepted) for s in caller.outlet.server._sockets) == len(idle)

    while not enough():
        idle.append(socket.create_connection(("127.0.0.1", caller.port)))
        caller.until(accepted)
    return idle


def test_mask_is_answered_during_many_requests(caller: Caller) -> None:
    others = [caller.start("GET", "/metrics", token="wrong") for _ in range(50)]
    assert caller.post("/mask", {"modalities": ["audio"]})["ok"]
    caller.until(lambda: all(c.done() for c in others))


def _https(stage: Stage, tmp_path: Path) -> Caller:
    """A page with a certificate of its own, which the caller trusts."""
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            str(tmp_path / "key.pem"),
            "-out",
            str(tmp_path / "page.pem"),
        ],
        check=True,
        capture_output=True,
    )
    caller = Caller(stage, address="https", certificate=str(tmp_path / "page.pem"), key=str(tmp_path / "key.pem"))
    caller.context = ssl.create_default_context(cafile=str(tmp_path / "page.pem"))
    return caller


def test_tls_uses_the_configured_certificate(stage: Stage, tmp_path: Path) -> None:
    caller = _https(stage, tmp_path)
    try:
        assert caller.post("/mask", {"modalities": ["audio"]})["ok"]
    finally:
        caller.close()
    with pytest.raises(ConfigError, match=r"page\.certificate"):
        Caller(stage, address="https", certificate=str(tmp_path / "none.pem"), key=str(tmp_path / "key.pem"))


def test_address_in_use_is_named(caller: Caller) -> None:
    config = Config.model_validate(
        {"privacy": {"state": str(caller.stage.state)}, "page": {"address": f"http://127.0.0.1:{caller.port}"}}
    )
    with pytest.raises(ConfigError, match=r"page\.address"):
        outlets(config, OutletBus(caller.bus))


def test_missing_aiohttp_names_the_extra(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(MissingExtra, match=r"edge-mer\[hub\]"):
        Caller(stage)
