"""The environment of end-to-end tests: an instance, a real microphone with silence, a camera that shows the demo."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_mer.bus import ZmqBus
from edge_mer.client.instance import Instance
from edge_mer.config import Config
from edge_mer.demo.config import SESSION
from edge_mer.privacy.consent.consent_file import CONSENT_SCOPES
from edge_mer.privacy.consent_setup import agree
from tests.devices import MjpegCamera, PulseAudio, mjpeg_camera, pulseaudio
from tests.switch_bench import TODAY


@contextmanager
def started(config: Config, place: Path) -> Iterator[ZmqBus]:
    """Starts an instance with its sockets in ``place``/run; yields its bus. Everything is still masked."""
    with ExitStack() as stack:
        directory = place / "run"
        directory.mkdir(mode=0o700)
        stack.callback(Instance(config, directory).stop)
        bus = ZmqBus(directory)
        stack.callback(bus.close)
        yield bus


@dataclass(frozen=True)
class Room:
    """``place`` holds state and sockets; ``config`` uses the devices, and consent is given for all of them."""

    place: Path
    microphone: PulseAudio
    camera: MjpegCamera
    config: Config


@contextmanager
def room_with_devices(text: Mapping[str, str]) -> Iterator[Room]:
    """``text``: that section of the config. Child processes of this process use the room's microphone."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="em", dir="/tmp")))
        microphone = stack.enter_context(pulseaudio(place))
        stack.enter_context(microphone.quiet_room())
        camera = stack.enter_context(mjpeg_camera())
        frames = demo_frames()
        camera.picture = lambda n: frames[n % len(frames)]
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in microphone.env.items():
            patch.setenv(name, value)
        config = Config.model_validate(
            {
                "audio": {"source": "microphone"},
                "video": {"source": "camera", "device": camera.url},
                "text": text,
                "privacy": {"state": str(place / "privacy")},
            }
        )
        agree(config.privacy.state, CONSENT_SCOPES, "Anna", TODAY)
        yield Room(place, microphone, camera, config)


def demo_audio() -> NDArray[np.int16]:
    with av.open(str(SESSION)) as clip:
        resampler = av.AudioResampler("s16", "mono", 16_000)
        parts = [r.to_ndarray() for f in clip.decode(audio=0) for r in resampler.resample(f)]
    return np.concatenate(parts, axis=1).ravel()


def demo_frames() -> list[NDArray[np.uint8]]:
    with av.open(str(SESSION)) as clip:
        return [f.to_ndarray(format="bgr24") for f in clip.decode(video=0)]
