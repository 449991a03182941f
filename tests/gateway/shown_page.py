"""The page with made-up messages in a real Chromium. Its process runs in a thread, without switch and sensors."""

from __future__ import annotations

import datetime
import math
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from edge_mer.bus import ReliablePublisher, ZmqBus
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import EMOTIONS, MODALITIES, Combination, Modality, modalities_of
from edge_mer.contract.messages import (
    Body,
    ClockReport,
    Estimate,
    Explain,
    HealthReport,
    Latency,
    People,
    Presence,
    Privacy,
    PrivacyState,
    Receipt,
    SensorState,
    WorkerHealth,
)
from edge_mer.contract.people import MaskedPeople, PersonInView
from edge_mer.contract.services import SERVICES
from edge_mer.gateway.outlet import OutletWorker
from edge_mer.gateway.page.http_auth import Token, link_of
from edge_mer.gateway.page.node import outlets
from edge_mer.history.fold import Hour, Tally
from edge_mer.history.store import history_store
from edge_mer.host.files import state_directory
from edge_mer.privacy.consent.consent_file import CONSENT_SCOPES
from edge_mer.privacy.consent_setup import agree
from edge_mer.privacy.keys.host_key import host_key
from tests.browser import Browser, chromium
from tests.devices import free_port
from tests.gateway.estimates import estimate
from tests.switch_bench import TODAY

HOP_US = SECOND // 2
TURN_US = 20_000
DEVICE: Mapping[str, str] = {"audio": "USB microphone", "video": "camera 0", "text": "pocketsphinx"}


class TimedState(PrivacyState, frozen=True):
    """A mask that ends by itself at ``until_us`` (wall time)."""

    until_us: int | None = None


class ShownPage:
    """Publishes on the bus what the page then shows."""

    def __init__(self, bus: ZmqBus, browser: Browser, config: Config) -> None:
        self.bus, self.browser, self.config = bus, browser, config
        self.link = link_of(config.page, Token(state_directory(config.privacy.state)))
        self._publishers: dict[str, Any] = {}

    def publish(self, topic: str, body: Body, origin_us: int | None = None) -> None:
        if topic not in self._publishers:
            is_reliable = SERVICES[topic].policy == "reliable"
            self._publishers[topic] = (
                ReliablePublisher(self.bus, topic, "test") if is_reliable else self.bus.publisher(topic, "test")
            )
            self.bus.settle()
        self._publishers[topic].send(body, origin_us=self.bus.clock.now_us() if origin_us is None else origin_us)

    def state(
        self,
        masked: Mapping[Modality, str] | None = None,
        until_us: int | None = None,
        people: MaskedPeople | None = None,
        **fields: Any,
    ) -> None:
        """Privacy, sensors, clock and processes as of now. ``masked``: modality and reason; ``people``: who is masked
        alone; ``fields``: of sensors."""
        masked = masked or {}
        now = self.bus.clock.now_us()
        states: dict[Modality, PrivacyState] = {
            m: TimedState(
                requested="masked",
                effective="masked",
                since_us=now,
                mask_epoch=1,
                last_seq=None,
                reason=masked[m],
                until_us=until_us,
            )
            if m in masked
            else PrivacyState("live", "live", now, 0, None, None)
            for m in MODALITIES
        }
        self.publish("privacy", Privacy(mask_epoch=1, modalities=states, people=people))
        for m in MODALITIES:
            given = {
                "modality": m,
                "gate": states[m].effective,
                "health": "ok",
                "reason": None,
                "device": DEVICE[m],
                "mask_epoch": 0,
                "rate_hz": 10.0,
                "dropped": 0,
            }
            self.publish(f"state/{m}", SensorState(**{**given, **fields.get(m, {})}))
        self.publish("clock", ClockReport(boot_id="b", offset_us=self.bus.clock.wall_us() - now, uncertainty_us=1))
        names = (
            "switch",
            "fusion",
            "perception.audio",
            "perception.video",
            "microphone",
            "camera",
            "transcript",
            "page",
        )
        workers = {n: WorkerHealth("running", 1, 0, 1, None, 0.03, 42_000_000, {}) for n in names}
        self.publish("health", HealthReport(workers=workers))

    def people(self, voice: str | None = "p2") -> None:
        """Three people, of whom the second speaks and the last is masked, and their estimates."""
        rows = (
            ("p1", "silent", "v", "sad", False),
            ("p2", "speaking", "atv", "happy", False),
            ("p3", "unknown", "none", None, True),
        )
        for person, _, combination, label, masked in rows:
            if not masked:
                fields = {"combination": combination, "label": label, "confidence": 0.7, "abstain": None}
                body = estimate(revision=0, final=False, **fields)
                focus = person == "p2"
                self.publish(
                    "emotion" if focus else "person", msgspec.structs.replace(body, person=person, focus=focus)
                )
        people = tuple(
            PersonInView(person, 0, (0.1, 0.1, 0.2, 0.2), speaking, combination, person == "p2", masked)  # type: ignore[arg-type]
            for person, speaking, combination, _, masked in rows
        )
        self.publish("people", People(people=people, voice=voice, biometric=True, mask_epoch=0))

    def receipt(
        self, modality: Modality, requester: str = "the web page", persons: tuple[str, ...] | UnsetType = UNSET
    ) -> None:
        now = self.bus.clock.now_us()
        self.publish(
            "receipt",
            Receipt(
                number=MODALITIES.index(modality) if persons is UNSET else len(MODALITIES),
                modality=modality,
                gate="masked",
                mask_epoch=1,
                requester=requester,
                requested_us=now - 60_000,
                closed_us=now - 21_000,
                purged_us=now - 12_000,
                wall_offset_us=self.bus.clock.wall_us() - now,
                boot_id="b",
                last_seq=1,
                purged=("fusion", "page"),
                handle_closed=True,
                checks=("no handle in /proc",),
                previous="",
                signature="",
                persons=persons,
            ),
        )

    def kept_days(self, days: int) -> None:
        """A history of so many days: evenings at home, a mask each afternoon."""
        today = datetime.date.today()
        hours = {}
        for ago in range(days):
            midnight = datetime.datetime.combine(today - datetime.timedelta(days=ago), datetime.time())
            for hour in (7, 8, 12, 13, 17, 18, 19, 20, 21):
                n = 24 * ago + hour
                weights = [3 + n % 4, 2 + 3 * (n % 3), n % 3, (n // 3) % 3, n % 2, 1, (n // 2) % 3]
                labels = {e: 2500_000 * w // sum(weights) for e, w in zip(EMOTIONS, weights, strict=True)}
                reasons = {"low confidence": 400_000, "out of distribution (audio)": 200_000}
                tallies = {
                    "atv": Tally(labels, reasons),
                    "none": Tally({}, {"no modality present": 500_000 if hour < 17 else 100_000}),
                }
                masked = {"audio": 1_800_000, "video": 1_800_000} if hour == 13 else {}
                total = sum(t.total_ms for t in tallies.values())
                hours[round(midnight.timestamp()) + 3600 * hour] = Hour(tallies, masked, total)
        history_store(self.config).add(hours, True)

    def explain(self, combination: Combination) -> None:
        """Sent until the open explanation shows it: it is requested only then."""
        shares: dict[Modality, float] = dict.fromkeys(MODALITIES, 0.0)
        shares |= {m: 0.21 - 0.06 * n for n, m in enumerate(modalities_of(combination))}
        body = Explain(
            combination=combination,
            label="happy",
            contributions=shares,
            sentiment_contributions={m: 3 * share for m, share in shares.items()},
            mask_epoch=1,
        )
        deadline = self.bus.clock.now_us() + 10 * SECOND
        while not self.browser.script("return document.querySelector('#why-table tbody tr')"):
            assert self.bus.clock.now_us() < deadline, "the explanation is not shown"
            self.publish("explain", body)

    def past(self, seconds: int, until_us: int | None = None, **scenes: tuple[int, int]) -> None:
        """Estimates of the last ``seconds``. ``scenes``: a combination, and the seconds ago between which it was."""
        now = until_us or self.bus.clock.now_us()
        hops = seconds * SECOND // HOP_US
        for n in range(hops + 1):
            ago = (hops - n) * HOP_US / SECOND
            combination = next((c for c, (first, last) in scenes.items() if last <= ago < first), "atv")
            self.publish("emotion", made_up(n, combination), now - round(ago * SECOND))
            if n % 60 == 0 or n == hops:
                shown = f"document.querySelector('#speed-total').innerText.startsWith('{60 + n % 40} ')"
                self.browser.until(f"estimate {n}", shown, 20)


def made_up(n: int, combination: Any) -> Estimate:
    """A quiet half minute after another: neutral, happy, sad, happy. Labelled where one emotion leads clearly."""
    used = modalities_of(combination)
    presence = {
        m: Presence("present" if m in used else "absent", None if m in used else "no data", 9) for m in MODALITIES
    }
    latency = Latency(capture=2, encode=11, wait=float(30 + n % 40), fuse=4, publish=1, total=float(60 + n % 40))
    if not used:
        return estimate(
            combination="none",
            label=None,
            abstain="no modality present",
            confidence=None,
            probabilities=None,
            sentiment=None,
            sentiment_reason="no modality present",
            presence=presence,
            revision=0,
            final=False,
            latency_ms=latency,
        )
    at = n / 30
    weights = [
        math.exp(2.4 * math.cos(at - centre) + 0.3 * math.sin(1.7 * at + 2 * k))
        for k, centre in enumerate((0.2, 2.0, 4.0, 5.3, 4.7, 3.2, 1.2))
    ]
    total = sum(weights)
    shares = {e: w / total for e, w in zip(EMOTIONS, weights, strict=True)}
    label, top = max(shares.items(), key=lambda item: item[1])
    ranked = sorted(EMOTIONS, key=lambda e: -shares[e])
    return estimate(
        combination=combination,
        label=label if top > 0.33 else None,
        abstain=None if top > 0.33 else "set too large (4 labels)",
        confidence=top,
        probabilities=shares,
        sentiment=None if combination == "av" else 3 * (shares["happy"] - shares["sad"] - shares["angry"]),
        sentiment_reason="no sentiment labels for this combination" if combination == "av" else None,
        presence=presence,
        revision=0,
        final=False,
        latency_ms=latency,
        prediction_set=tuple(ranked[: 2 if top > 0.33 else 4]),
        coverage=0.9,
    )


@contextmanager
def shown_page(**page: Any) -> Iterator[ShownPage]:
    """``page``: that section of the configuration."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="em", dir="/tmp")))
        (place / "run").mkdir(mode=0o700)
        host_key(agree(str(place / "state"), CONSENT_SCOPES, "Anna", TODAY))
        section = {"address": f"http://127.0.0.1:{free_port()}", **page}
        config = Config.model_validate({"privacy": {"state": str(place / "state")}, "page": section})
        stack.enter_context(_running(config, place / "run"))
        bus = ZmqBus(place / "run")
        stack.callback(bus.close)
        browser = stack.enter_context(chromium())
        yield ShownPage(bus, browser, config)


@contextmanager
def _running(config: Config, directory: Path) -> Iterator[None]:
    """The page's worker in a thread of its own, which owns its sockets."""
    ready, stop = threading.Event(), threading.Event()

    def run() -> None:
        bus = ZmqBus(directory)
        worker = OutletWorker("page", bus, lambda own: outlets(config, own))
        ready.set()
        while not stop.is_set():
            worker.turn()
            bus.wait(TURN_US)
        worker.close()
        bus.close()

    thread = threading.Thread(target=run, name="page")
    thread.start()
    try:
        assert ready.wait(20), "the page did not start"
        yield
    finally:
        stop.set()
        thread.join()
