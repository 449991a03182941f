"""What a home also hears, sees and reads beside what the models were trained on: real recordings, and drawn ones.

Drawn things are named so. Every set is a list of sounds (float32 [n], 16 kHz), of films (frames in order) or of texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_mer.perception.encoder import SAMPLE_RATE, VideoFrame
from edge_mer.perception.face import SLOT_US
from pipelines.data.recordings import pictures_of, sound_of
from pipelines.demo.face import EXPRESSIONS, Pose, draw
from pipelines.demo.voice import Espeak, Voice
from pipelines.encoders import audio_augment as sound

Sound = NDArray[np.float32]
Film = Sequence[VideoFrame]

SECONDS: Final = 4.0
# What a synthetic voice says: languages that the models never met, and English as the control.
SPOKEN: Final[Mapping[str, Sequence[str]]] = {
    "en-us": (
        "The meeting begins at nine, please bring your papers with you.",
        "I put the keys on the table before we went out yesterday.",
        "Could you tell me where the next train to the city leaves?",
        "The weather will stay cold and dry until the weekend.",
    ),
    "de": (
        "Das Treffen beginnt um neun, bitte bringen Sie Ihre Unterlagen mit.",
        "Ich habe gestern die Rechnung bezahlt und dann das Haus verlassen.",
        "Wissen Sie vielleicht, wo der Zug nach Hamburg heute abfaehrt?",
        "Morgen bleibt es kalt und trocken, am Wochenende kommt Regen.",
    ),
    "fr": (
        "La reunion commence demain matin, apportez vos papiers avec vous.",
        "Hier nous avons mange dans un petit restaurant pres de la gare.",
        "Pouvez-vous me dire ou part le prochain train pour la ville?",
        "Il fera froid et sec jusqu'au samedi, puis il va pleuvoir.",
    ),
    "es": (
        "La reunion empieza a las nueve, por favor traiga sus papeles.",
        "Ayer comimos en un pequeno restaurante cerca de la estacion.",
        "Puede decirme de donde sale el proximo tren a la ciudad?",
        "El tiempo seguira frio y seco hasta el fin de semana.",
    ),
    "fi": (
        "Kokous alkaa huomenna aamulla, ottakaa paperit mukaan.",
        "Eilen soimme pienessa ravintolassa lahella asemaa.",
        "Voitteko kertoa mista seuraava juna kaupunkiin lahtee?",
        "Saa pysyy kylmana ja kuivana koko viikonlopun ajan.",
    ),
}


def voices(root: Path) -> dict[str, list[Sound]]:
    """Sounds by what they are."""
    clips = root / "speech_clips"
    read = [sound_of(p) for pattern in ("librivox_*.wav", "sb_*.wav", "jfk.flac") for p in sorted(clips.glob(pattern))]
    acted = [sound_of(p) for p in sorted(clips.glob("crema_*.wav")) + sorted((root / "av_clips").glob("1001_*.flv"))]
    random = np.random.default_rng(0)
    songs = [music(random) for _ in range(12)]
    # Two people over music, as a film in the next room; neither is the person at the node.
    television = [
        sound.mixed(
            sound.mixed(_long(read[i % len(read)]), _long(read[(i + 7) % len(read)]), random.uniform(0, 6)),
            songs[i],
            random.uniform(-3, 6),
        )
        for i in range(12)
    ]
    return {
        "CREMA-D, acted English": acted,
        "read English": read,
        "drawn voice, English": spoken("en-us"),
        "drawn voice, German, French, Spanish, Finnish": [s for v in list(SPOKEN)[1:] for s in spoken(v)],
        "two voices over drawn music (television)": television,
        "drawn music": songs,
        "noise": [0.1 * sound.noise(int(SECONDS * SAMPLE_RATE), c, random) for c in np.linspace(0, 2, 12)],
    }


def films(root: Path) -> dict[str, list[Film]]:
    """Films by what they show."""
    clips, random = root / "av_clips", np.random.default_rng(0)
    photographs = [image for name in ("pyfeat_single_face.jpg",) for image in _large(clips / name)]
    shown = ("pyfeat_single_face.mp4", "pyfeat_Wolf*.mp4", "fer_woman2.mp4")
    people = [list(pictures_of(p)) for pattern in shown for p in sorted(clips.glob(pattern))]
    stills = [*photographs, *(f.image for film in people for f in (film[len(film) // 3], film[-len(film) // 4]))]
    return {
        "CREMA-D faces": [list(pictures_of(p)) for p in sorted(clips.glob("1001_*.flv"))],
        "people in films": [part for film in people for part in _parts(film)],
        "photograph, camera still": [_still(image, random, 0.0) for image in stills],
        "photograph, camera in the hand": [_still(image, random, 1.0) for image in stills],
        "drawn face that moves": [_drawn(name, random) for name in EXPRESSIONS],
    }


def texts() -> dict[str, list[str]]:
    """Texts by language."""
    return {
        "English, everyday": list(SPOKEN["en-us"]),
        "German, French, Spanish, Finnish": [line for name in list(SPOKEN)[1:] for line in SPOKEN[name]],
    }


def spoken(voice: str) -> list[Sound]:
    """What ``voice`` says, by a man and by a woman. Raises DeviceError where espeak-ng is not installed."""
    espeak = Espeak()
    return [
        espeak.say(text, Voice(voice + variant, 165, 50, 50)).samples.astype(np.float32) / np.float32(32768)
        for text in SPOKEN[voice]
        for variant in ("+m3", "+f3")
    ]


def music(random: np.random.Generator, seconds: float = SECONDS) -> Sound:
    """Chords with overtones and vibrato, a melody above them and a drum: no voice."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    out, beat = np.zeros(len(time)), 60 / random.uniform(70, 150)
    root = random.uniform(90, 220)
    for start in np.arange(0, seconds, beat):
        since = np.clip(time - start, 0, None)
        ring = np.exp(-since / (1.2 * beat)) * (time >= start) * np.clip(since / 0.01, 0, 1)
        chord = root * 2 ** (random.choice([0, 5, 7, 9]) / 12)
        for step in (0, 4, 7, 12 + int(random.integers(12))):
            pitch = chord * 2 ** (step / 12)
            phase = 2 * np.pi * pitch * since + 0.8 * np.sin(2 * np.pi * 5.5 * since)
            out += ring * sum(np.sin(k * phase) / k**1.5 for k in range(1, 7))
        out += 1.5 * random.standard_normal(len(time)) * np.exp(-since / 0.04) * (time >= start)
    return np.asarray(0.25 * out / np.abs(out).max(), np.float32)


def _long(samples: Sound) -> Sound:
    return np.resize(samples, int(SECONDS * SAMPLE_RATE))


def _large(path: Path) -> list[NDArray[np.uint8]]:
    return [frame.image for frame in pictures_of(path)]


def _parts(film: Film) -> list[Film]:
    """Windows of 4 s, and what is left where it is longer than 2 s."""
    ends = np.array([f.origin_us for f in film])
    parts = [
        [f for f in film if int(SECONDS * 1e6) * i <= f.origin_us < int(SECONDS * 1e6) * (i + 1)]
        for i in range(int(ends[-1] / (SECONDS * 1e6)) + 1)
    ]
    return [p for p in parts if p and p[-1].origin_us - p[0].origin_us > 2_000_000]


def _still(image: NDArray[np.uint8], random: np.random.Generator, sway: float) -> Film:
    """One picture before a camera: grain, JPEG, and with ``sway`` the tremor of a hand in pixels at 320."""
    scale = 320 / image.shape[1]
    small = np.asarray(cv2.resize(image, (320, round(image.shape[0] * scale)), interpolation=cv2.INTER_AREA), np.uint8)
    return [VideoFrame(filmed(small, random, sway), i * SLOT_US) for i in range(20)]


def filmed(image: NDArray[np.uint8], random: np.random.Generator, sway: float) -> NDArray[np.uint8]:
    """``image`` as a camera sends it once."""
    shift = np.array([[1, 0, random.normal(0, sway)], [0, 1, random.normal(0, sway)]], np.float32)
    moved = cv2.warpAffine(image, shift, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    grain = moved + random.normal(0, 1.5, moved.shape)
    return jpeg(np.clip(grain, 0, 255).astype(np.uint8), 85)


def jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """``image`` after JPEG of that quality."""
    coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR if image.ndim == 3 else cv2.IMREAD_GRAYSCALE), np.uint8)


def _drawn(expression: str, random: np.random.Generator) -> Film:
    sway = [Pose(3 * np.sin(i / 3), 2 * np.sin(i / 5), 2 * np.sin(i / 4)) for i in range(20)]
    return [VideoFrame(draw(EXPRESSIONS[expression], p, random), i * SLOT_US) for i, p in enumerate(sway)]
