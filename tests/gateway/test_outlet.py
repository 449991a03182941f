"""Even a careless outlet cannot publish data from before a mask, and every outlet gets public topics only."""

from __future__ import annotations

import gc
import inspect
import tempfile
import textwrap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args
from weakref import ref

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Answer, Exited
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.messages import Estimate, Explain
from edge_mer.contract.services import SERVICES
from edge_mer.gateway.outlet import PUBLIC, NotPublic, Outlet, OutletBus, OutletWorker
from edge_mer.gateway.public_message import MessageTracker, PublicMessage, Revoked
from edge_mer.gateway.stale_after_mask import CONFIRMED_US
from tests.gateway.estimates import estimate, estimates
from tests.switch_bench import SwitchBench

Action = Literal["estimate", "explain", "late", "mask", "unmask", "wait"]


class Careless(Outlet):
    """Keeps every message and all its parts, republishes them at every turn, and deletes nothing."""

    name, topics = "careless", ("emotion", "explain", "privacy")

    def __init__(self, out: list[bytes]) -> None:
        self.out, self.kept = out, list[Any]()

    def publish(self, message: PublicMessage) -> None:
        body = message.body
        nested = [getattr(body, field) for field in body.__struct_fields__]
        self.kept += [lambda: message.json, lambda: message.body, body, message.json, memoryview(message.json)]
        self.kept += [held for held in nested if isinstance(held, dict | tuple | msgspec.Struct)]

    def forget(self, modalities: tuple[Modality, ...], mask_epoch: int) -> None:
        pass

    def after(self, now_us: int) -> None:
        for kept in self.kept:
            with suppress(Revoked):
                held = kept() if callable(kept) else kept
                self.out.append(bytes(held) if isinstance(held, bytearray | memoryview) else msgspec.json.encode(held))


class Scene:
    """A switch, a careless outlet, and a fusion whose messages contain the mask epoch of their creation."""

    def __init__(self, directory: Path) -> None:
        self.out: list[bytes] = []
        self.bench = SwitchBench(directory)
        self.worker = OutletWorker("careless", self.bench.bus(), lambda _: [Careless(self.out)])
        fusion = self.bench.bus("fusion-life")
        self._emotion, self._explain = (fusion.publisher(t, "fusion") for t in ("emotion", "explain"))
        self.bench.turn(self.worker)
        self.masked_us = -CONFIRMED_US
        self.before_mask = 0

    @property
    def epoch(self) -> int:
        assert self.bench.switch is not None
        return max(self.bench.switch.epochs().values())

    def publish(self, epoch: int, topic: str = "emotion") -> None:
        now = self.bench.clock.now_us()
        if topic == "emotion":
            self._emotion.send(estimate(model=mark(epoch), mask_epoch=epoch, revision=0), origin_us=now)
        else:
            explanation = Explain(
                combination="at",
                label="sad",
                contributions={"audio": 1000.5 + epoch},
                sentiment_contributions=None,
                mask_epoch=epoch,
            )
            self._explain.send(explanation, origin_us=now)

    def mask(self, *modalities: Modality) -> Answer:
        self.before_mask, self.masked_us = self.epoch, self.bench.clock.now_us()
        self.bench.ask("mask", *modalities)
        self.bench.turn(self.worker)
        (answer,) = self.bench.answers()
        return answer

    def turn(self) -> None:
        self.bench.turn(self.worker)


def mark(epoch: int) -> str:
    return f"<{epoch}>"


def contains(out: list[bytes], epoch: int) -> bool:
    """Whether the output contains any part of an estimate or explanation of this epoch."""
    return any(mark(epoch).encode() in line or b"%.1f" % (1000.5 + epoch) in line for line in out)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.mark.parametrize("topic", ["emotion", "explain"])
def test_no_data_from_before_a_mask_is_published_after_the_receipt(scene: Scene, topic: str) -> None:
    old = scene.epoch
    scene.publish(old, topic)
    scene.turn()
    assert contains(scene.out, old), "the outlet does publish, so this test can fail"
    answer = scene.mask("video")
    assert (answer.ok, bool(answer.receipts)) == (True, True), answer.text
    scene.out.clear()
    scene.publish(old, topic)  # was still in transit
    scene.publish(scene.epoch, topic)
    scene.turn()
    assert contains(scene.out, scene.epoch)
    assert not contains(scene.out, old)


def test_receipt_names_the_outlet(scene: Scene) -> None:
    assert scene.mask("video").ok
    assert scene.bench.switch is not None
    receipt = scene.bench.switch._gates["video"].receipt
    assert receipt is not None
    assert "careless" in receipt.purged


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(get_args(Action)), min_size=5, max_size=30), st.data())
def test_purged_data_is_never_published_in_any_order_of_events(actions: list[Action], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        scene = Scene(Path(directory))
        proven = 0  # nothing from before this epoch may be published
        for action in actions:
            modalities = data.draw(st.sets(st.sampled_from(MODALITIES), min_size=1)) if "mask" in action else set()
            if action in ("estimate", "explain"):
                scene.publish(scene.epoch, "emotion" if action == "estimate" else "explain")
            elif action == "late" and scene.bench.clock.now_us() < scene.masked_us + CONFIRMED_US:
                scene.publish(scene.before_mask)
            elif action == "mask":
                if (answer := scene.mask(*modalities)).ok:
                    # Not scene.epoch: an unmask raises it too, and a mask of what is masked already purges nothing.
                    proven = max(proven, *(answer.modalities[m].mask_epoch for m in modalities))
                    scene.out.clear()
            elif action == "unmask":
                scene.bench.ask("unmask", *modalities)
            elif action == "wait":
                scene.bench.clock.advance(SECOND // 2)
            scene.turn()
            scene.bench.answers()
            assert not [epoch for epoch in range(proven) if contains(scene.out, epoch)]


class Slow(Careless):
    def __init__(self, out: list[bytes], forgetting: Callable[[], object]) -> None:
        super().__init__(out)
        self._forgetting = forgetting

    def forget(self, modalities: tuple[Modality, ...], mask_epoch: int) -> None:
        self._forgetting()


def test_purge_is_not_acknowledged_before_forget_returns(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)
    meanwhile: list[Answer] = []

    def hang() -> None:
        bench.run(3 * SECOND)
        meanwhile.extend(bench.answers())

    worker = OutletWorker("slow", bench.bus(), lambda _: [Slow([], hang)])
    bench.turn(worker)
    bench.ask("mask", "audio")
    bench.turn(worker)
    assert not meanwhile[0].ok
    assert "slow did not confirm the purge" in meanwhile[0].text
    assert not meanwhile[0].receipts


def test_failed_forget_is_acknowledged_only_after_the_process_ended(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)

    def fail() -> None:
        raise OSError("the display is stuck")

    bus = bench.bus()
    worker = OutletWorker("stuck", bus, lambda _: [Slow([], fail)])
    bench.turn(worker)
    bench.ask("mask", "audio")
    with pytest.raises(OSError, match="stuck"):
        bench.turn(worker)
    bench.turn()
    assert bench.switch is not None
    assert bench.switch.complaints(frozenset(MODALITIES))[0].startswith("audio: stuck did not confirm the purge")
    bus.close()
    restarted = OutletWorker("stuck", bench.bus(), lambda _: [Careless([])])
    bench.turn(restarted)
    assert bench.answers() == [], "another process of that name does not show that the first one ended"
    bench.bus().client("switch").send(Exited(name="stuck", boot=bus.boot))
    bench.turn(restarted)
    (answer,) = bench.answers()
    assert answer.ok, answer.text


@given(st.sets(st.sampled_from(sorted(SERVICES)), min_size=1))
def test_outlet_may_request_public_topics_only(topics: set[str]) -> None:
    class Requests(Careless):
        topics: ClassVar[tuple[str, ...]] = ()

    Requests.topics = tuple(topics)
    secret, broker = topics - set(PUBLIC), MemoryBroker()
    if secret:
        with pytest.raises(NotPublic, match=min(secret)):
            OutletWorker("requests", MemoryBus(broker), lambda _: [Requests([])])
        assert not broker.inboxes
    else:
        OutletWorker("requests", MemoryBus(broker), lambda _: [Requests([])])


@pytest.mark.parametrize("topic", ["raw/audio", "raw/video", "raw/text", "feature/audio", "journal", "nothing"])
def test_private_topic_is_refused_by_name(topic: str) -> None:
    class Requester(Careless):
        name, topics = "requester", ("emotion", topic)

    with pytest.raises(NotPublic, match=f"Requester requests {topic}; an outlet may use"):
        OutletWorker("requester", MemoryBus(MemoryBroker()), lambda _: [Requester([])])


def test_outlet_bus_has_no_reader_or_publisher() -> None:
    given_to: list[OutletBus] = []

    def make(bus: OutletBus) -> list[Outlet]:
        given_to.append(bus)
        return [Careless([])]

    OutletWorker("requester", MemoryBus(MemoryBroker()), make)
    assert not {"reader", "publisher", "client", "server"} & set(dir(given_to[0]))


def test_outlet_may_mask(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)
    answers: list[Answer] = []

    class Lamp(Careless):
        def __init__(self, bus: OutletBus) -> None:
            super().__init__([])
            bus.switch("the lamp").command("mask", ("audio",), answers.append)

    worker = OutletWorker("lamp", bench.bus(), lambda own: [Lamp(own)])
    bench.turn(worker)
    assert answers[0].ok
    assert answers[0].modalities["audio"].reason == "masked by the lamp"


def tracked(body: Estimate) -> tuple[MessageTracker, PublicMessage]:
    bus = MemoryBus(MemoryBroker())
    reader = bus.reader("emotion")
    bus.publisher("emotion", "fusion").send(body, origin_us=0)
    tracker = MessageTracker()
    return tracker, tracker.track(reader.drain()[0])


@given(estimates())
def test_revoked_message_is_empty_in_every_reference(body: Estimate) -> None:
    tracker, message = tracked(body)
    kept, json, view = message.body, message.json, memoryview(message.json)[5:]
    presence = [*kept.presence.values()]
    tracker.revoke()
    assert message.revoked
    for part in ("body", "json", "envelope"):
        with pytest.raises(Revoked):
            getattr(message, part)
    assert not any(json)
    assert not any(bytes(view))
    assert {getattr(kept, field) for field in Estimate.__struct_fields__} == {None}
    assert {p.state for p in presence} <= {None}


def test_tracker_does_not_keep_messages_alive() -> None:
    _, message = tracked(estimate())
    reference = ref(message)
    del message
    gc.collect()
    assert reference() is None


def test_docstring_example_works(tmp_path: Path) -> None:
    example = (inspect.getdoc(Outlet) or "").partition("::\n\n")[2].partition("\n\n``")[0]
    names: dict[str, Any] = {"Outlet": Outlet, "Path": Path, "__name__": __name__}
    exec(
        "from __future__ import annotations\n" + textwrap.dedent(example).replace("/run/display", str(tmp_path)), names
    )
    (tmp_path / "state").mkdir()
    bench, shown = SwitchBench(tmp_path / "state"), tmp_path / "emotion.json"
    worker = OutletWorker("door_display", bench.bus(), lambda own: [names["DoorDisplay"](Config(), own)])
    bench.turn(worker)
    bench.bus("fusion-life").publisher("emotion", "fusion").send(estimate(label="sad"), origin_us=0)
    bench.turn(worker)
    assert msgspec.json.decode(shown.read_bytes())["label"] == "sad"
    bench.ask("mask", "audio")
    bench.turn(worker)
    assert not shown.exists()
