"""Advice on microphone and camera, from the section ``sensors`` of the config."""

from __future__ import annotations

import datetime
from typing import Final

from edge_mer.config import BRIGHT, DARK, SMALL_FACE, VOICE_OVER_NOISE_DB, SensorsConfig

# Digital silence, as the level of a sample of 0 is written.
SILENCE_DB: Final = -100.0
# A room, its furniture and where people sit change within months.
STALE_DAYS: Final = 180


def advice(sensors: SensorsConfig, today: datetime.date) -> list[str]:
    """What to improve, as text; empty when nothing needs it."""
    if sensors.date is None:
        return ["never calibrated, so defaults apply; run: edge-mer calibrate"]
    found = []
    if (age := (today - datetime.date.fromisoformat(sensors.date)).days) > STALE_DAYS:
        found.append(f"calibrated {age} days ago; run: edge-mer calibrate")
    if sensors.noise_floor_db is not None and sensors.noise_floor_db <= SILENCE_DB:
        found.append("the microphone gives digital silence between voices: a mute switch or a noise gate is on")
    if sensors.is_weak_voice:
        found.append(
            f"the voice is less than {VOICE_OVER_NOISE_DB:.0f} dB above the noise: move closer, or reduce the noise"
        )
    if sensors.exposure is not None and not DARK <= sensors.exposure <= BRIGHT:
        found.append(f"the video is too {'dark' if sensors.exposure < DARK else 'bright'}")
    if sensors.face_size is not None and sensors.face_size < SMALL_FACE:
        found.append("the face is small: move closer, or zoom in")
    return found
