"""A network camera: what is wrong with an address is named, still pictures are fetched, stalls end by its own rate."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import cv2
import numpy as np
import pytest

from edge_mer.capture.camera import NetworkCamera, camera
from edge_mer.capture.device import Captured
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, SystemClock
from tests.capture.network_pages import Pages, web_pages
from tests.devices import frame_number, free_port

PATIENCE_US = 60 * SECOND


@pytest.fixture
def pages() -> Iterator[Pages]:
    with web_pages() as server:
        yield server


class Running:
    """A camera that is open, and the blocks it gave."""

    def __init__(self, url: str, **video: Any) -> None:
        self.clock = SystemClock()
        found = camera(Config.model_validate({"video": {"device": url, **video}}), self.clock)
        assert isinstance(found, NetworkCamera)
        self.camera, self.blocks = found, list[Captured]()
        self.reasons: list[str] = []
        self.camera.open()

    def until(self, condition: Callable[[], object]) -> None:
        deadline = self.clock.now_us() + PATIENCE_US
        while not condition():
            assert self.clock.now_us() < deadline, f"not met: {self.reasons}, {len(self.blocks)} blocks"
            select.select(self.camera.wake, [], [], 0.1)
            self.blocks += self.camera.read()
            if self.camera.fault is not None:
                self.reasons.append(self.camera.fault.reason)

    def until_blocks(self, count: int) -> list[Captured]:
        self.until(lambda: len(self.blocks) >= count)
        return self.blocks

    def until_reason(self) -> str:
        self.until(lambda: self.reasons)
        return self.reasons[0]


@contextmanager
def running(url: str, **video: Any) -> Iterator[Running]:
    found = Running(url, **video)
    try:
        yield found
    finally:
        found.camera.abort()
        assert found.camera.join(10)
        assert found.camera.release().complete


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("auth", "(401)"),
        ("missing", "(404)"),
        ("busy", "(5xx)"),
        ("html", "a web page instead of video"),
        ("again", "redirects for ever"),
    ],
)
def test_what_is_wrong_with_an_address_is_named(pages: Pages, path: str, reason: str) -> None:
    with running(pages.url(path)) as found:
        assert reason in found.until_reason()
        assert "cannot be opened" in found.reasons[0]
        assert path not in found.reasons[0], "a path may be a secret"


def test_a_refused_connection_is_named() -> None:
    with running(f"http://127.0.0.1:{free_port()}/video") as found:
        assert "refuses the connection" in found.until_reason()


@pytest.mark.parametrize("part", ["Content-Type: image/jpg", "X-Camera: 1"])
def test_parts_that_do_not_say_image_jpeg_are_read_all_the_same(pages: Pages, part: str) -> None:
    with running(pages.url("stream?" + urlencode({"part": part}))) as found:
        blocks = found.until_blocks(5)
    images = [cv2.imdecode(b.payload[0], cv2.IMREAD_COLOR) for b in blocks]
    numbers = [frame_number(np.asarray(i, np.uint8)) for i in images]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("path", ["snapshot", "unmeasured"])
def test_a_still_picture_is_fetched_again_and_again_and_is_no_lost_camera(pages: Pages, path: str) -> None:
    """``unmeasured``: without a Content-Length."""
    with running(pages.url(path)) as found:
        blocks = found.until_blocks(5)
        assert not found.reasons
    images = [cv2.imdecode(b.payload[0], cv2.IMREAD_COLOR) for b in blocks]
    numbers = [frame_number(np.asarray(i, np.uint8)) for i in images]
    assert numbers == sorted(set(numbers))
    gaps = np.diff([b.arrived_us for b in blocks])
    assert gaps.min() >= 0.15 * SECOND, "a camera is not asked more often than it is used"
    assert not any(b.frozen for b in blocks)


def test_a_still_picture_that_never_changes_is_frozen(pages: Pages) -> None:
    with running(pages.url("still")) as found:
        found.until(lambda: any(b.frozen for b in found.blocks))
        assert not found.reasons
        assert found.blocks[-1].arrived_us - found.blocks[0].arrived_us >= 5 * SECOND


def test_a_slow_camera_is_not_connected_again(pages: Pages) -> None:
    """One picture in 2.5 s: longer than the read limit of a fast camera."""
    with running(pages.url("stream?pause=2.5")) as found:
        found.until_blocks(5)
        assert not found.reasons
    assert pages.hits() == 1


def test_a_stalled_stream_is_connected_again_after_a_few_of_its_own_intervals(pages: Pages) -> None:
    with running(pages.url("stream?stall=60")) as found:
        found.until(lambda: found.reasons)
        assert "does not answer" in found.reasons[0] or "broke off" in found.reasons[0]
        stalled = found.clock.now_us() - found.blocks[-1].arrived_us
        assert stalled < 5 * SECOND
        found.until_blocks(len(found.blocks) + 3)
    assert pages.hits() == 2


def test_the_picture_is_turned_as_configured(pages: Pages) -> None:
    with running(pages.url("stream"), rotate=90) as found:
        block = found.until_blocks(1)[0]
    assert (block.body.width, block.body.height) == (240, 320)  # type: ignore[union-attr]
    image = np.asarray(cv2.imdecode(block.payload[0], cv2.IMREAD_COLOR), np.uint8)
    assert frame_number(np.ascontiguousarray(np.rot90(image))) > 0, "the top went to the right"
