"""The page's server over real HTTP: what it hands out, to whom, and what it refuses; a switch behind it."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_mer.bus import ZmqBus
from edge_mer.clock import SystemClock, host_boot_id
from edge_mer.config import Config
from edge_mer.errors import ConfigError, MissingExtra
from edge_mer.hub import page as page_module
from edge_mer.hub import viewers, web_server
from edge_mer.hub.page import Page
from edge_mer.hub.visitor import HEADERS, Token
from edge_mer.privacy.identity import new_identity
from edge_mer.privacy.keyring import Keyring
from edge_mer.privacy.pairing import open_pairing
from edge_mer.processes import rows_for
from edge_mer.services import SERVICES
from tests.hub.estimates import estimate
from tests.hub.stage import Stage
from tests.hub.test_clients import free_port

SECRET = {t for t, s in SERVICES.items() if not s.public}


class Browser:
    """Speaks HTTP in a thread of its own, while the house takes turns."""

    def __init__(self, stage: Stage, **page: Any) -> None:
        self.stage, self.port = stage, free_port()
        section = {"address": f"http://127.0.0.1:{self.port}", **page}
        if "https" in section["address"]:
            section["address"] = f"https://127.0.0.1:{self.port}"
        config = Config.model_validate({"privacy": {"state": str(stage.state)}, "page": section})
        self.bus = ZmqBus(stage.world.directory)
        self.page = Page(config, self.bus)
        self.token = Token(stage.state).read()
        self.context: ssl.SSLContext | None = None
        self._pool = ThreadPoolExecutor(60)
        self._open: list[http.client.HTTPConnection] = []

    def until(self, done: Callable[[], Any], seconds: float = 8) -> Any:
        def turn() -> Any:
            self.page.turn()
            return done()

        return self.stage.until(turn, seconds)

    def connection(self) -> http.client.HTTPConnection:
        if self.context is not None:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=self.context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def start(self, method: str, path: str, body: Any = None, token: str | None = None,
              **headers: str) -> Future[tuple[int, dict[str, str], bytes]]:  # fmt: skip
        sent = {"Authorization": f"Bearer {self.token if token is None else token}"}
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}

        def ask() -> tuple[int, dict[str, str], bytes]:
            connection = self.connection()
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            found = response.status, dict(response.getheaders()), response.read()
            connection.close()
            return found

        return self._pool.submit(ask)

    def ask(self, method: str, path: str, body: Any = None, token: str | None = None,
            **headers: str) -> tuple[int, dict[str, str], bytes]:  # fmt: skip
        asked = self.start(method, path, body, token, **headers)
        self.until(asked.done)
        return asked.result()

    def order(self, path: str, body: Any) -> dict[str, Any]:
        status, _, data = self.ask("POST", path, body)
        assert status == 200, data
        found: dict[str, Any] = json.loads(data)
        return found

    def look(self, path: str = "/events") -> http.client.HTTPResponse:
        """Joins the stream and reads nothing of it yet."""
        connection = self.connection()
        self._open.append(connection)
        connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
        got = self._pool.submit(connection.getresponse)
        self.until(got.done)
        return got.result()

    def events(self, response: http.client.HTTPResponse, enough: Callable[[list[tuple[str, Any]]], bool],
               each: Callable[[], object] = lambda: None) -> list[tuple[str, Any]]:  # fmt: skip
        """Reads until it has ``enough``; ``each`` is done at every turn."""
        found: list[tuple[str, Any]] = []

        def read() -> None:
            while not enough(found):
                line = response.readline()
                if line.startswith(b"event: "):
                    found.append((line[7:-1].decode(), json.loads(response.readline()[6:])))

        reading = self._pool.submit(read)
        self.until(lambda: each() or reading.done())
        reading.result()
        return found

    def requested(self) -> dict[str, str]:
        assert self.stage.switch is not None
        return {m: s.requested for m, s in self.stage.switch.states().items()}

    def close(self) -> None:
        for connection in self._open:
            connection.close()
        self.page.close()
        self.bus.close()
        self._pool.shutdown(wait=False)


@pytest.fixture
def browser(stage: Stage) -> Iterator[Browser]:
    found = Browser(stage)
    yield found
    found.close()


def seen(topic: str) -> Callable[[list[tuple[str, Any]]], bool]:
    return lambda events: any(t == topic for t, _ in events)


# -- what is handed out ------------------------------------------------------------------------------------------


def test_the_page_and_its_parts_come_from_this_host_alone(browser: Browser) -> None:
    status, headers, body = browser.ask("GET", "/", token="")
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
        assert browser.ask("GET", f"/web/{name}", token="")[0] == 200


@pytest.mark.parametrize("path", ["/web/../page.py", "/web/%2e%2e/page.py", "/web/nothing.js", "/web//etc/passwd"])
def test_nothing_but_the_packaged_files(browser: Browser, path: str) -> None:
    assert browser.ask("GET", path)[0] in (401, 404)


def test_a_newcomer_gets_the_state_but_no_old_estimate(browser: Browser) -> None:
    first = browser.look()

    def say() -> None:
        browser.stage.say("emotion", estimate())
        browser.stage.say("state/video")

    browser.events(first, lambda e: seen("emotion")(e) and seen("state/video")(e) and seen("privacy")(e), say)
    browser.until(lambda: browser.page.viewers)
    got = browser.events(browser.look(), lambda e: len(e) >= 4 and seen("privacy")(e) and seen("state/video")(e))
    assert got[0][0] == "hello"
    assert "emotion" not in {t for t, _ in got}


def test_never_raw_never_features(browser: Browser) -> None:
    def say() -> None:
        for topic in set(SERVICES) - {"privacy", "receipt", "heartbeat"}:
            browser.stage.say(topic)

    got = browser.events(browser.look(), lambda e: len({t for t, _ in e}) >= 7, say)
    assert not {t for t, _ in got} & SECRET
    assert "explain" not in {t for t, _ in got}


def test_why_is_asked_only_while_somebody_looks(browser: Browser) -> None:
    def wanted() -> bool:
        browser.stage.say("emotion", estimate())
        return bool(browser.stage._publishers["explain"].wanted())

    browser.stage.say("explain")
    browser.look()
    assert not wanted()
    looking = browser.look("/events?why=1")
    browser.until(wanted)
    got = browser.events(looking, seen("explain"), lambda: browser.stage.say("explain"))
    assert {t for t, _ in got} == {"explain"}
    looking.close()
    browser._open[-1].close()

    def gone() -> bool:
        browser.stage.say("explain")
        return not browser.stage._publishers["explain"].wanted()

    browser.until(gone)


# -- who is let in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/events", "/metrics", "/nothing"])
def test_without_the_token_nothing(browser: Browser, path: str) -> None:
    for token in ("", "x", browser.token[:-1]):
        assert browser.ask("GET", path, token=token)[0] == 401
    assert browser.page.counters["requests_refused"] == 3


@pytest.mark.parametrize("path", ["/mask", "/unmask", "/pair"])
def test_without_the_token_no_order(browser: Browser, path: str) -> None:
    assert browser.ask("POST", path, {"modalities": ["audio"]}, token="")[0] == 401
    assert browser.ask("GET", f"{path}?token={browser.token}", token="")[0] == 401


def test_a_foreign_name_is_refused_even_with_the_token(browser: Browser) -> None:
    for path in ("/", "/events", "/metrics"):
        assert browser.ask("GET", path, Host=f"rebound.example:{browser.port}")[0] == 403


@pytest.mark.parametrize("header", [{"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}])
def test_an_order_of_another_page_is_refused_even_with_the_token(browser: Browser, header: dict[str, str]) -> None:
    assert browser.ask("POST", "/mask", {"modalities": ["audio"]}, **header)[0] == 403
    assert browser.ask("GET", "/events", **header)[0] == 403
    assert browser.ask("GET", "/", **header)[0] == 200, "it may link to us"


def test_a_form_cannot_give_orders(browser: Browser) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert browser.ask("POST", "/mask", {"modalities": ["audio"]}, Content_Type=kind)[0] == 400


def test_a_renewed_token_is_asked_for_at_once(browser: Browser) -> None:
    Token(browser.stage.state).renew()
    assert browser.ask("GET", "/metrics")[0] == 401
    assert browser.ask("GET", "/metrics", token=Token(browser.stage.state).read())[0] == 200


def test_who_looked_with_the_old_token_looks_no_more(browser: Browser) -> None:
    looking = browser.look()
    browser.events(looking, seen("privacy"))
    Token(browser.stage.state).renew()
    rest = browser._pool.submit(looking.read)
    browser.until(rest.done)  # the stream ends; reading does not wait for ever
    assert not browser.page.viewers


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"\xff", b"{}", b'{"modalities": []}', b'{"modalities": ["smell"]}', b"[" * 9000,
     b'{"modalities": ["audio"], "hard": true}', b'{"modalities": ["audio"], "for_s": -1}', b"x" * 100_000],
    ids=lambda b: repr(b[:30]),
)  # fmt: skip
def test_malformed_orders_do_nothing(browser: Browser, body: bytes) -> None:
    status, headers, _ = browser.ask("POST", "/mask", body)
    assert status in (400, 413)
    assert headers["Content-Security-Policy"]
    assert browser.ask("GET", "/")[0] == 200


# -- orders ------------------------------------------------------------------------------------------------------


def test_a_mask_is_answered_with_its_receipt(browser: Browser) -> None:
    browser.order("/mask", {"modalities": ["audio"]})  # by its end the switch knows this process
    answer = browser.order("/mask", {"modalities": ["video"]})
    assert answer["ok"]
    assert answer["receipts"]
    assert browser.stage.switch is not None
    assert browser.stage.switch.states()["video"].reason == "masked by the web page"
    got = browser.events(
        browser.look(), lambda e: any(t == "receipt" and r["number"] in answer["receipts"] for t, r in e)
    )
    assert "page" in got[-1][1]["purged"], "the mask waited for this process to forget"


def pairing(browser: Browser, code: str, identity: Any) -> dict[str, str]:
    host = browser.stage.switch.host  # type: ignore[union-attr]
    words = "\n".join((host, "page", identity.signing, "")).encode()
    return {"signing": identity.signing, "proof": hmac.new(code.encode(), words, hashlib.sha256).hexdigest()}


def granted(browser: Browser, identity: Any, *modalities: Any) -> dict[str, Any]:
    switch = browser.stage.switch
    assert switch is not None
    made = identity.grant(switch.host, modalities, max(switch.epochs().values()), SystemClock().wall_us())
    return {"modalities": modalities, "grant": msgspec.to_builtins(made)}


def test_only_a_browser_with_a_paired_key_unmasks_and_each_grant_once(browser: Browser) -> None:
    state = browser.stage.state
    identity = new_identity(browser.stage.clients, "browser")
    assert "needs a grant" in browser.order("/unmask", {"modalities": ["audio"]})["text"]
    assert "not paired" in browser.order("/unmask", granted(browser, identity, "audio"))["text"]
    code = open_pairing(state, "browser", "phone", SystemClock(), host_boot_id()).code
    assert "not the code" in browser.order("/pair", pairing(browser, "0" + code[1:] + "x", identity))["text"]
    assert browser.order("/pair", pairing(browser, code, identity))["ok"]
    assert not browser.order("/pair", pairing(browser, code, identity))["ok"], "a code works once"
    made = granted(browser, identity, "audio")
    assert browser.order("/unmask", made)["ok"]
    assert browser.requested()["audio"] == "live"
    browser.order("/mask", {"modalities": ["audio"]})
    assert "used already" in browser.order("/unmask", made)["text"]
    Keyring(state).revoke("browser")
    assert "not paired" in browser.order("/unmask", granted(browser, identity, "audio"))["text"]
    assert browser.requested()["audio"] == "masked"


def test_three_wrong_codes_end_a_pairing(browser: Browser) -> None:
    code = open_pairing(browser.stage.state, "browser", "phone", SystemClock(), host_boot_id()).code
    identity = new_identity(browser.stage.clients, "browser")
    for _ in range(3):
        assert not browser.order("/pair", pairing(browser, "wrong", identity))["ok"]
    assert not browser.order("/pair", pairing(browser, code, identity))["ok"]
    assert {k.name for k in Keyring(browser.stage.state).paired()} == {"console"}


def test_pairing_when_nobody_opened_one(browser: Browser) -> None:
    identity = new_identity(browser.stage.clients, "browser")
    assert "no pairing is open" in browser.order("/pair", pairing(browser, "", identity))["text"]


def test_a_switch_that_is_gone_is_said(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "PATIENCE_US", 100_000)
    assert browser.stage.switch is not None
    browser.stage.switch.close()
    browser.stage.switch = None
    assert "does not answer" in browser.order("/mask", {"modalities": ["audio"]})["text"]


# -- load --------------------------------------------------------------------------------------------------------


def test_one_that_never_reads_costs_a_bounded_queue_and_nobody_else_anything(browser: Browser) -> None:
    browser.look()  # and never reads
    reads = browser.look()
    big = estimate(model="x" * 20_000)
    got = browser.events(reads, lambda e: sum(t == "emotion" for t, _ in e) >= 600,
                         lambda: browser.stage.say("emotion", big))  # fmt: skip
    stuck = next(v for v in browser.page.viewers._all if v.lost or len(v._queue) > 50)
    assert len(stuck._queue) <= viewers.QUEUED
    seqs = [m["seq"] for t, m in got if t == "emotion"]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), "who reads loses nothing"


def test_a_mask_drops_what_waits_for_slow_viewers(browser: Browser) -> None:
    browser.order("/mask", {"modalities": ["audio"]})  # by its end the switch knows this process
    viewer = browser.page.viewers.join(why=False)
    assert viewer is not None
    for topic in ("emotion", "privacy", "emotion"):
        viewer.put(topic, topic.encode())
    browser.order("/mask", {"modalities": ["video"]})
    assert "emotion" not in {t for t, _ in viewer._queue}
    assert "privacy" in {t for t, _ in viewer._queue}
    browser.page.viewers.leave(viewer)


def test_a_mask_cuts_off_one_whose_estimates_wait_in_a_buffer(browser: Browser) -> None:
    browser.order("/mask", {"modalities": ["audio"]})
    browser.look()  # and never reads
    stuck = next(iter(browser.page.viewers._all))
    assert stuck._transport is not None
    big = estimate(model="x" * 30_000)
    browser.until(lambda: browser.stage.say("emotion", big) or stuck._transport.get_write_buffer_size())
    browser.order("/mask", {"modalities": ["video"]})
    browser.until(lambda: not browser.page.viewers)


def test_a_flood_of_grants_is_refused_but_masks_are_taken(browser: Browser) -> None:
    asked = [browser.start("POST", "/unmask", {"modalities": ["audio"]}) for _ in range(40)]
    browser.until(lambda: all(a.done() for a in asked))
    assert sum(b"grants a second" in a.result()[2] for a in asked) >= 10
    assert browser.order("/mask", {"modalities": ["audio"]})["ok"]


def test_more_viewers_than_fit_are_told(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers, "MOST", 1)
    browser.look()
    assert browser.ask("GET", "/events")[0] == 503


def test_connections_that_say_nothing_are_bounded(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "MOST_CONNECTIONS", 3)
    idle: list[socket.socket] = []

    def refused() -> int:
        idle.append(socket.create_connection(("127.0.0.1", browser.port)))
        return browser.page.counters["requests_refused"]

    browser.until(refused)
    assert len(idle) <= 3 + 10, "those that came in one turn may be a few more"
    for connection in idle:
        connection.close()
    browser.until(lambda: browser.ask("GET", "/")[0] == 200)


def test_an_order_gets_through_a_crowd(browser: Browser) -> None:
    crowd = [browser.start("GET", "/metrics", token="wrong") for _ in range(50)]
    assert browser.order("/mask", {"modalities": ["audio"]})["ok"]
    browser.until(lambda: all(c.done() for c in crowd))


# -- addresses ---------------------------------------------------------------------------------------------------


def test_over_tls_with_the_certificate_that_is_configured(stage: Stage, tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(tmp_path / "key.pem"),
         "-out", str(tmp_path / "page.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    browser = Browser(stage, address="https", certificate=str(tmp_path / "page.pem"), key=str(tmp_path / "key.pem"))
    browser.context = ssl.create_default_context(cafile=str(tmp_path / "page.pem"))
    try:
        assert browser.order("/mask", {"modalities": ["audio"]})["ok"]
    finally:
        browser.close()
    with pytest.raises(ConfigError, match=r"page\.certificate"):
        Browser(stage, address="https", certificate=str(tmp_path / "none.pem"), key=str(tmp_path / "key.pem"))


def test_an_address_in_use_is_named(browser: Browser) -> None:
    config = Config.model_validate({"privacy": {"state": str(browser.stage.state)},
                                    "page": {"address": f"http://127.0.0.1:{browser.port}"}})  # fmt: skip
    with pytest.raises(ConfigError, match=r"page\.address"):
        Page(config, browser.bus)


def test_off_by_default() -> None:
    assert "page" not in {row.name for row in rows_for(Config())}
    assert "page" in {row.name for row in rows_for(Config.model_validate({"page": {"address": "http://127.0.0.1:1"}}))}


def test_without_aiohttp_one_clear_line(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(MissingExtra, match=r"edge-mer\[hub\]"):
        Browser(stage)


# -- Prometheus --------------------------------------------------------------------------------------------------


def test_prometheus_reads_it_with_the_token(browser: Browser) -> None:
    def scraped() -> dict[str, Any]:
        browser.stage.say("emotion", estimate(revision=0, final=False))
        status, headers, body = browser.ask("GET", "/metrics")
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain")
        found = {s.name: s.value for f in text_string_to_metric_families(body.decode()) for s in f.samples}
        return found if found.get("edge_mer_estimates_total", 0) >= 1 and "edge_mer_masked" in found else {}

    found = browser.until(scraped)
    assert found["edge_mer_masked"] == 1
