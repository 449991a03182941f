"""The sound of a network stream plays as microphone; its connection asks for sound alone and ends with a mask."""

from __future__ import annotations

import threading
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest

from edge_mer.capture.stream_sound import BLOCK, BLOCK_US, stream_url
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import ConfigError
from edge_mer.contract.raw import SAMPLE_RATE
from tests.capture.process import Capture, capture_process
from tests.devices import free_port, rtsp_room


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def tone(path: Path, seconds: float) -> None:
    """A 440 Hz tone in stereo and opposite phase, at 44.1 kHz."""
    mono = (8_000 * np.sin(2 * np.pi * 440 * np.arange(round(44_100 * seconds)) / 44_100)).astype("<i2")
    with wave.open(str(path), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(44_100)
        out.writeframes(np.stack([mono, -mono], 1).tobytes())


def pitch(capture: Capture, count: int = 40) -> float:
    sound = np.concatenate([m.payload[0] for m in capture.raw[-count:]]).astype(np.float64)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.argmax(spectrum)) * SAMPLE_RATE / len(sound)


@pytest.mark.end_to_end
def test_an_rtsp_camera_is_asked_for_its_sound_alone(tmp_path: Path) -> None:
    with rtsp_room() as (url, tracks), capture_process(tmp_path, "microphone", "audio", audio=source(url)) as capture:
        blocks = capture.until_frames(80)[20:]
        assert pitch(capture) == pytest.approx(440, abs=2)
        assert {m.payload[0].shape for m in blocks} == {(BLOCK,)}
        assert set(np.diff([m.body.sample_index for m in blocks])) == {BLOCK}
        steps = np.diff([m.envelope.origin_us for m in blocks])
        assert steps.min() > 0
        assert np.median(steps) == pytest.approx(BLOCK_US, abs=2)
        assert tracks == ["stream=1"]
        assert capture.states[-1].health == "ok"
        assert capture.network_handles() == 1
        answer, took = capture.command("mask")
        assert answer.ok
        assert took < SECOND
        assert capture.network_handles() == 0
        if capture.process.poll() is None:
            capture.command("unmask")
            assert capture.until_frames(3)[0].body.sample_index == 0


@pytest.mark.end_to_end
def test_the_picture_of_that_camera_is_asked_for_without_its_sound(tmp_path: Path) -> None:
    with rtsp_room() as (url, tracks), capture_process(tmp_path, "camera", "video", video={"device": url}) as capture:
        capture.until_frames(5)
        assert tracks == ["stream=0"]


@pytest.mark.end_to_end
def test_a_file_behind_http_plays_in_real_time_and_begins_again(tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    tone(served / "tone.wav", 3.0)
    with (
        web_server(served) as address,
        capture_process(tmp_path, "microphone", "audio", audio=source(f"{address}/tone.wav")) as capture,
    ):
        blocks = capture.until_frames(60)
        assert pitch(capture) == pytest.approx(440, abs=2)
        took = blocks[-1].envelope.created_us - blocks[0].envelope.created_us
        assert took == pytest.approx(59 * BLOCK_US, rel=0.2)
        capture.until(lambda: len(capture.raw) > 100)
    origins = [m.envelope.origin_us for m in capture.raw]
    assert origins == sorted(set(origins))


def segmented(folder: Path, seconds: float) -> None:
    """The same tone as AAC in HLS segments of 2 s."""
    tone(folder / "tone.wav", seconds)
    with (
        av.open(str(folder / "tone.wav")) as source,
        av.open(str(folder / "tone.m3u8"), "w", format="hls", options={"hls_time": "2", "hls_list_size": "0"}) as out,
    ):
        stream = out.add_stream("aac", rate=44_100)
        for frame in source.decode(audio=0):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.mark.end_to_end
def test_hls_segments_play_in_real_time_without_gaps(tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    segmented(served, 6.0)
    with (
        web_server(served) as address,
        capture_process(tmp_path, "microphone", "audio", audio=source(f"{address}/tone.m3u8")) as capture,
    ):
        blocks = capture.until_frames(120)
        assert pitch(capture) == pytest.approx(440, abs=2)
    took = blocks[-1].envelope.created_us - blocks[0].envelope.created_us
    assert took == pytest.approx(119 * BLOCK_US, rel=0.2)
    assert np.abs(np.diff([m.envelope.origin_us for m in blocks]) - BLOCK_US).max() < BLOCK_US


@pytest.mark.end_to_end
def test_a_stream_that_refuses_is_absent_with_its_reason_and_without_its_password(tmp_path: Path) -> None:
    url = f"rtsp://anna:secret@127.0.0.1:{free_port()}/x"
    with capture_process(tmp_path, "microphone", "audio", audio=source(url)) as capture:
        state = capture.until_health("absent")
        assert "Connection refused" in (state.reason or "")
        assert "secret" not in f"{state.reason} {state.device}"


def source(url: str) -> dict[str, str]:
    return {"source": "url", "url": url}


def test_the_cameras_own_stream_is_the_default() -> None:
    camera = Config.model_validate({"audio": {"source": "url"}, "video": {"device": "rtsp://10.0.0.2/a"}})
    assert stream_url(camera) == "rtsp://10.0.0.2/a"
    other = Config.model_validate({"audio": source("https://radio.example/live")})
    assert stream_url(other) == "https://radio.example/live"


@pytest.mark.parametrize("audio", [{"source": "url"}, source("/etc/passwd"), source("file:///etc/passwd")])
def test_anything_else_than_a_stream_is_refused_by_its_key(audio: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"(video\.device|audio\.url) is no stream: set audio\.url"):
        stream_url(Config.model_validate({"audio": audio}))
