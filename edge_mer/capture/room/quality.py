"""What a working microphone and camera are like, judged from the section ``sensors`` of the config."""

from __future__ import annotations

import datetime
from typing import Final

from edge_mer.config import BRIGHT, DARK, SMALL_FACE, VOICE_OVER_NOISE_DB, SensorsConfig

# Digital silence, as the level of a sample of 0 is written.
SILENCE_DB: Final = -100.0
# A room, its furniture and where people sit change within months.
STALE_DAYS: Final = 180


def advice(sensors: SensorsConfig, today: datetime.date) -> list[str]:
    """What a person could mend, in words; empty when all is well."""
    if sensors.date is None:
        return ["never calibrated: nothing is assumed about this room; run: edge-mer calibrate"]
    said = []
    if (age := (today - datetime.date.fromisoformat(sensors.date)).days) > STALE_DAYS:
        said.append(f"calibrated {age} days ago; run: edge-mer calibrate")
    if sensors.noise_floor_db is not None and sensors.noise_floor_db <= SILENCE_DB:
        said.append("the microphone gives digital silence between voices: a mute switch or a noise gate is on")
    if sensors.is_weak_voice:
        said.append(f"the voice is less than {VOICE_OVER_NOISE_DB:.0f} dB above the noise: come nearer, or less noise")
    if sensors.exposure is not None and not DARK <= sensors.exposure <= BRIGHT:
        said.append(f"the picture is too {'dark' if sensors.exposure < DARK else 'bright'}")
    if sensors.face_size is not None and sensors.face_size < SMALL_FACE:
        said.append("the face is small: come nearer, or zoom")
    return said
