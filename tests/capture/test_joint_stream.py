"""One connection for picture and sound of a camera: each track is masked on its own, and what is masked is not asked
for again."""

from __future__ import annotations

import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mer.bus import ZmqBus
from edge_mer.capture.device import Captured
from edge_mer.capture.gated_source import POLL_US, RELEASE_US
from edge_mer.capture.joint_stream import Connection, build
from edge_mer.capture.open_handles import network_connections
from edge_mer.config import Config, in_one_stream
from edge_mer.contract.clock import SECOND, SystemClock
from edge_mer.contract.domain import Modality
from edge_mer.host.processes import rows_for
from tests.capture.process import capture_process
from tests.devices import child, free_port, rtsp_room

PATIENCE_US = 60 * SECOND
RELEASE_S = 5 * RELEASE_US / SECOND  # five times the limit: this machine may be busy
URL = "rtsp://10.0.0.2/a"


class Room:
    """Both tracks as their gates see them, and what they gave."""

    def __init__(self, url: str, directory: Path) -> None:
        directory.chmod(0o700)
        self.clock = SystemClock()
        sections = {"audio": {"source": "url"}, "video": {"device": url}, "privacy": {"state": str(directory / "s")}}
        self._bus = ZmqBus(directory)
        worker = build(Config.model_validate(sections), self._bus)
        self.tracks = {s.modality: s.device for s in worker.sources}
        self.blocks: dict[Modality, list[Captured]] = {m: [] for m in self.tracks}

    def until(self, condition: Callable[[], object]) -> None:
        deadline = self.clock.now_us() + PATIENCE_US
        while not condition():
            assert self.clock.now_us() < deadline, f"not met: {[t.fault for t in self.tracks.values()]}"
            select.select([fd for t in self.tracks.values() for fd in t.wake], [], [], 0.05)
            for modality, track in self.tracks.items():
                self.blocks[modality] += track.read()

    def until_more(self, *modalities: Modality, count: int = 10) -> None:
        before = {m: len(self.blocks[m]) for m in modalities}
        self.until(lambda: all(len(self.blocks[m]) >= before[m] + count for m in modalities))

    def mask(self, modality: Modality) -> float:
        """As a worker does: it interrupts again until the track is closed. Returns the seconds that this took."""
        track, began = self.tracks[modality], self.clock.now_us()
        while not track.closed and self.clock.now_us() < began + SECOND:
            track.abort()
            track.join(POLL_US / SECOND)
        took = (self.clock.now_us() - began) / SECOND
        assert track.release().complete
        return took

    def close(self) -> None:
        for track in self.tracks.values():
            track.abort()
        for track in self.tracks.values():
            assert track.join(10)
        assert network_connections() == []
        self._bus.close()


@contextmanager
def room(url: str, directory: Path) -> Iterator[Room]:
    found = Room(url, directory)
    try:
        yield found
    finally:
        found.close()


def test_each_track_is_masked_on_its_own_and_not_requested_again(tmp_path: Path) -> None:
    with rtsp_room() as (url, requested), room(url, tmp_path) as both:
        both.tracks["video"].open()
        both.until_more("video")
        assert requested == ["stream=0"]
        both.tracks["audio"].open()
        both.until_more("audio", "video")
        assert sorted(requested[1:]) == ["stream=0", "stream=1"]
        assert len(network_connections()) == 1

        del requested[:]
        both.mask("audio")
        heard = len(both.blocks["audio"])
        both.until_more("video", count=20)
        assert requested == ["stream=0"]
        assert len(both.blocks["audio"]) == heard
        assert both.tracks["audio"].release().complete  # although the picture has a connection

        both.tracks["audio"].open()
        both.until_more("audio", "video")
        assert both.blocks["audio"][heard].body.sample_index == 0  # type: ignore[union-attr]
        del requested[:]
        both.mask("video")
        seen = len(both.blocks["video"])
        both.until_more("audio", count=40)
        assert requested == ["stream=1"]
        assert len(both.blocks["video"]) == seen
        both.mask("audio")
        assert network_connections() == []


def test_a_track_masked_just_before_its_connection_is_opened_closes_as_fast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening takes longer than the limit of a close, and at first there is no socket that could be interrupted."""
    opens, masked = threading.Event(), threading.Event()
    connected = Connection._connected

    def held(self: Connection, requested: Iterable[Modality]) -> Any:
        opens.set()
        assert masked.wait(10)
        return connected(self, requested)

    with rtsp_room() as (url, _), room(url, tmp_path) as both:
        monkeypatch.setattr(Connection, "_connected", held)
        both.tracks["video"].open()
        assert opens.wait(10)
        both.tracks["video"].abort()
        masked.set()
        assert both.mask("video") < RELEASE_S


def test_a_mask_that_is_repeated_leaves_the_other_track_connected(tmp_path: Path) -> None:
    with rtsp_room() as (url, requested), room(url, tmp_path) as both:
        for track in both.tracks.values():
            track.open()
        both.until_more("audio", "video")
        del requested[:]
        both.mask("audio")
        for _ in range(20):
            both.tracks["audio"].abort()
        both.until_more("video")
        assert requested == ["stream=0"]


def off_grid(blocks: list[Captured]) -> float:
    """Median distance of a step from the time stamps' grid, in fifteenths of a second; pictures may be lost."""
    steps = np.diff([b.origin_us for b in blocks]) * 15 / SECOND
    return float(np.median(np.abs(steps - np.rint(steps))))


def test_picture_and_sound_have_one_t0(tmp_path: Path) -> None:
    """The server makes both at the same moment; x264 and Opus deliver with delays of their own."""
    with rtsp_room() as (url, _), room(url, tmp_path) as both:
        for track in both.tracks.values():
            track.open()
        both.until_more("audio", "video", count=30)
    for blocks in both.blocks.values():
        origins = [b.origin_us for b in blocks]
        assert origins == sorted(set(origins))
        assert all(b.origin_us <= b.arrived_us for b in blocks)
    assert off_grid(both.blocks["video"]) < 0.1  # arrival would give them the jitter of the encoder and the loop


def test_a_camera_without_sound_shows_its_picture_and_says_so(tmp_path: Path) -> None:
    with rtsp_room() as (url, _), room(url.replace("/both", "/camera"), tmp_path) as both:
        for track in both.tracks.values():
            track.open()
        both.until_more("video")
        fault = both.tracks["audio"].fault
        assert fault is not None
        assert "has no sound" in fault.reason


def test_a_camera_that_refuses_is_absent_for_both_without_its_password(tmp_path: Path) -> None:
    with room(f"rtsp://anna:secret@127.0.0.1:{free_port()}/x", tmp_path) as both:
        for track in both.tracks.values():
            track.open()
        both.until(lambda: all(t.fault for t in both.tracks.values()))
        for track in both.tracks.values():
            assert track.fault is not None
            assert "refuses the connection" in track.fault.reason
            assert "secret" not in f"{track.fault.reason} {track.name}"


def clip(path: Path, seconds: int) -> None:
    """A Matroska file that a web server sends as fast as it is read: 15 pictures a second, and a tone."""
    import av

    with av.open(str(path), "w") as out:
        picture, sound = out.add_stream("mpeg4", rate=15), out.add_stream("aac", rate=16_000)
        picture.width, picture.height, picture.pix_fmt = 160, 120, "yuv420p"  # type: ignore[union-attr]
        sound.layout = "mono"  # type: ignore[union-attr]
        wave = (8_000 * np.sin(np.arange(16_000 * seconds) * 0.17)).astype(np.int16)
        for number in range(15 * seconds):
            image = np.full((120, 160, 3), number % 200, np.uint8)
            out.mux(picture.encode(av.VideoFrame.from_ndarray(image)))  # type: ignore[union-attr]
            piece = wave[number * 16_000 // 15 : (number + 1) * 16_000 // 15]
            frame = av.AudioFrame.from_ndarray(piece[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, number * 16_000 // 15
            out.mux(sound.encode(frame))  # type: ignore[union-attr]
        out.mux(picture.encode(None))  # type: ignore[union-attr]
        out.mux(sound.encode(None))  # type: ignore[union-attr]


def test_a_file_behind_http_plays_both_tracks_in_real_time(tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    clip(served / "clip.mkv", 4)
    command = (sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(served))
    with child(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:  # its sockets are not ours
        assert server.stdout is not None
        port = server.stdout.readline().split()[5].decode()
        play_both(f"http://127.0.0.1:{port}/clip.mkv", tmp_path)


def play_both(url: str, directory: Path) -> None:
    with room(url, directory) as both:
        began = both.clock.now_us()
        for track in both.tracks.values():
            track.open()
        both.until(lambda: len(both.blocks["video"]) >= 15 and len(both.blocks["audio"]) >= 60)
        assert both.clock.now_us() - began >= SECOND
    assert off_grid(both.blocks["video"][:15]) < 0.1
    assert all(b.origin_us <= b.arrived_us for b in both.blocks["video"])


@pytest.mark.end_to_end
def test_the_process_stream_closes_one_track_under_the_switch_while_the_other_goes_on(tmp_path: Path) -> None:
    with rtsp_room() as (url, requested):
        sections: dict[str, Any] = {"audio": {"source": "url"}, "video": {"device": url}}
        module = "edge_mer.capture.joint_stream"
        with capture_process(tmp_path, "stream", "audio", module=module, **sections) as capture:
            capture.until_frames(40)
            assert requested == ["stream=1"]  # the picture's gate has no lease here
            assert capture.network_handles() == 1
            answer, took = capture.command("mask")
            assert answer.ok
            assert took < SECOND
            assert capture.network_handles() == 0


@pytest.mark.parametrize(
    ("audio", "video", "joint"),
    [
        ({"source": "url"}, {"device": URL}, True),
        ({"source": "url", "url": URL}, {"device": URL}, True),
        ({"source": "url", "url": "rtsp://10.0.0.3/b"}, {"device": URL}, False),
        ({"source": "url", "url": URL}, {"source": "off", "device": URL}, False),
        ({"source": "microphone"}, {"device": URL}, False),
        ({"source": "url"}, {"device": f"rtspsrc location={URL} ! appsink"}, False),
    ],
)
def test_one_process_reads_both_only_where_both_are_of_one_camera(
    audio: dict[str, str], video: dict[str, str], joint: bool
) -> None:
    config = Config.model_validate({"audio": audio, "video": video})
    names = {row.name for row in rows_for(config)}
    assert in_one_stream(config) == joint == ("stream" in names)
    assert joint != bool(names & {"microphone", "camera"})
