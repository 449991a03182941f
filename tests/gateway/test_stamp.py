"""What leaves the host names its room, and its time on the wall."""

from __future__ import annotations

import datetime
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.contract import wire
from edge_mer.contract.clock import SECOND, FakeClock, utc
from edge_mer.contract.domain import Modality
from edge_mer.contract.messages import ClockReport, Envelope
from edge_mer.contract.services import SERVICES
from edge_mer.gateway.outlet import Outlet, OutletWorker
from edge_mer.gateway.public_message import PublicMessage
from tests.gateway.estimates import estimate

OFFSET = 1_795_763_216_000_000


class Kept(Outlet):
    """Keeps the messages of topic ``emotion``."""

    name, topics = "kept", ("emotion",)

    def __init__(self) -> None:
        self.messages: list[PublicMessage] = []

    def publish(self, message: PublicMessage) -> None:
        self.messages.append(message)

    def forget(self, modalities: tuple[Modality, ...], mask_epoch: int) -> None:
        self.messages.clear()


class Host:
    """A fusion, a clock, and an outlet."""

    def __init__(self, room: str | None) -> None:
        broker, clock = MemoryBroker(), FakeClock()
        self.outlet = Kept()
        self.worker = OutletWorker("kept", MemoryBus(broker, clock), lambda _: [self.outlet], room)
        self._bus = MemoryBus(broker, clock)
        self._publishers: dict[str, Any] = {}

    def publish(self, topic: str, body: Any, origin_us: int) -> None:
        self._publishers.setdefault(topic, self._bus.publisher(topic, "test")).send(body, origin_us=origin_us)

    def emotion(self, origin_us: int) -> PublicMessage:
        self.publish("emotion", estimate(), origin_us)
        self.worker.turn()
        return self.outlet.messages[-1]


def test_messages_that_leave_the_host_name_its_room_and_their_time() -> None:
    host = Host("Kitchen")
    host.publish("clock", ClockReport(boot_id="b", offset_us=OFFSET, uncertainty_us=1), 0)
    message = host.emotion(5 * SECOND + 120)
    header = json.loads(message.json)
    assert (header["room"], header["time"]) == ("Kitchen", "2026-11-27T07:07:01.000120Z")
    assert (message.envelope.room, message.envelope.time) == (header["room"], header["time"])
    assert header["source"] == "test"
    frames = wire.encode("emotion", message.envelope, message.body)
    assert json.loads(frames[1]) == header
    row = SERVICES["emotion"]
    assert wire.decode("emotion", row.body, row.version, row.max_bytes, frames).envelope == message.envelope


def test_before_the_first_clock_no_time_is_invented() -> None:
    assert "time" not in json.loads(Host("Kitchen").emotion(SECOND).json)


def test_a_room_without_a_name_is_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "attic")
    assert Host(None).emotion(0).envelope.room == "attic"


def test_messages_on_the_host_itself_are_unchanged() -> None:
    envelope = Envelope(schema="s", source="fusion", boot="b", seq=0, origin_us=1, created_us=2)
    assert set(json.loads(msgspec.json.encode(envelope))).isdisjoint({"room", "time"})


@given(st.integers(0, 4_000_000_000 * SECOND))
def test_utc_is_rfc_3339_to_the_microsecond(wall_us: int) -> None:
    found = datetime.datetime.fromisoformat(utc(wall_us).replace("Z", "+00:00"))
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    assert (found - epoch) // datetime.timedelta(microseconds=1) == wall_us


def test_an_offset_beyond_the_calendar_yields_no_time() -> None:
    host = Host("x")
    host.publish("clock", ClockReport(boot_id="b", offset_us=1 << 62, uncertainty_us=1), 0)
    assert host.emotion(0).envelope.time is UNSET
