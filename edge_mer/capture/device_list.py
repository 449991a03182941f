"""Lists the microphones and cameras of this host without opening any."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_mer.contract.errors import DeviceError

PORTAUDIO = "sudo apt install libportaudio2"


@dataclass(frozen=True, slots=True)
class Found:
    """``key`` is what ``audio.device`` or ``video.device`` takes."""

    key: str
    name: str


def microphones() -> list[Found]:
    """PortAudio inputs. Raises DeviceError, with the command that installs it, when PortAudio is missing."""

    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise DeviceError(f"PortAudio is not installed; run: {PORTAUDIO}") from error
    try:
        return [
            Found(str(number), f"{d['name']} ({d['max_input_channels']} channels)")
            for number, d in enumerate(sounddevice.query_devices())
            if d["max_input_channels"] > 0
        ]
    except sounddevice.PortAudioError as error:
        raise DeviceError(f"PortAudio cannot list devices: {error}; is the sound server running?") from error


def cameras() -> list[Found]:
    """Video capture nodes of this host; a camera's metadata nodes, which deliver no video, are left out."""
    found = []
    for node in sorted(Path("/sys/class/video4linux").glob("video*"), key=lambda p: int(p.name[5:])):
        try:
            name, index = (node / "name").read_text().strip(), int((node / "index").read_text())
        except (OSError, ValueError):
            name, index = "unnamed", 0
        if index == 0:
            found.append(Found(node.name[5:], f"{name} (/dev/{node.name})"))
    return found
