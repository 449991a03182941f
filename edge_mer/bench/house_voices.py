"""One event per voice: recorded utterances, heard in two rooms at once, through the voice detector and the fold.

The far room hears the utterance through a wall: later, reverberated, quieter, with its own noise. Messages come late by
up to 0.3 s. ``python -m edge_mer.bench.house_voices FOLDER`` takes the first 200 sound files of a folder.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.bench.recognition import samples
from edge_mer.bench.result import Figure, table
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.house import HeardVoice
from edge_mer.contract.messages import Envelope, Message
from edge_mer.contract.raw import SAMPLE_RATE, RawAudio
from edge_mer.gateway.house.binding import LAG, Binding, Levels
from edge_mer.perception import envelope
from edge_mer.perception.speech import PackagedVad

UTTERANCES: Final = 200
# dB of the far room against the near one, and of the speech and the noise in each against full scale.
GAINS: Final = (-20, -10)
SPEECH_DB, NOISE_DB = -26.0, -62.0
PAUSE_S, RT60_S, DELAY_S, LATE_STEPS = 0.5, 0.5, 0.03, 3
BLOCK: Final = SAMPLE_RATE // 10
# Until an utterance at the end is certainly complete.
AFTER_STEPS: Final = 100
SUFFIXES: Final = (".opus", ".wav", ".flac", ".mp3", ".ogg")
Sound = NDArray[np.float64]
Steps = list[int | None]


def measure(folder: Path, most: int = UTTERANCES) -> list[Figure]:
    """Raises EdgeMerError for a folder without sound files."""
    clips = [_speech(samples(p)) for p in sound_files(folder)[:most]]
    if not clips:
        raise EdgeMerError(f"{folder} holds no sound files ({', '.join(SUFFIXES)})")
    near = [_heard(clip, 0.0, n) for n, clip in enumerate(clips)]
    figures = []
    for gain in GAINS:
        far = [_heard(clip, gain, n) for n, clip in enumerate(clips)]
        counts = Counter[str]()
        for n, (a, b) in enumerate(zip(near, far, strict=True)):
            counts += _of_one(fold(n, near=a, far=b))
        name = f"one voice at 0 and {gain} dB"
        figures += [
            Figure(f"{name}: heard twice", counts["twice"], "of", 0, f"n={len(clips)}"),
            Figure(f"{name}: not in the near room", counts["wrong"] + counts["unbound"], "of", None, f"n={len(clips)}"),
            Figure(f"{name}: not heard", counts["none"], "of"),
        ]
    again = [_heard(clip, 0.0, -n - 1) for n, clip in enumerate(clips)]
    equal = [fold(n, a=a, b=b) for n, (a, b) in enumerate(zip(near, again, strict=True))]
    pairs = [fold(n, a=near[n], b=near[n + 1]) for n in range(0, len(near) - 1, 2)]
    bound, both = (
        sum(map(any, found))
        for found in ([[v.room for v in f] for f in equal], [[len(v.levels) > 1 for v in f] for f in pairs])
    )
    figures += [
        Figure(
            "one voice as loud in two rooms: heard twice", sum((_of_one(f) for f in equal), Counter())["twice"], "of", 0
        ),
        Figure("one voice as loud in two rooms: bound to one", bound, "of", 0, f"n={len(clips)}"),
        Figure("two people who begin at once: in one event", both, "of", None, f"n={len(pairs)}"),
    ]
    return figures


def sound_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES)


def fold(seed: int, **rooms: Steps) -> list[HeardVoice]:
    """The utterances that a house gives for these levels; each message is late by up to LATE_STEPS."""
    random, house, found = np.random.default_rng(seed), Binding(), list[HeardVoice]()
    chunk, length = envelope.STEPS, max(map(len, rooms.values()))
    sent = dict.fromkeys(rooms, 0)
    for now in range(0, length + AFTER_STEPS, chunk):
        inputs = []
        for name, levels in rooms.items():
            ready = now - int(random.integers(0, LATE_STEPS + 1))
            while sent[name] + chunk <= min(ready, len(levels)):
                inputs.append(Levels(name, sent[name], tuple(levels[sent[name] : sent[name] + chunk]), LAG))
                sent[name] += chunk
        found += house.step(now, tuple(inputs))
    return found


def _of_one(found: Sequence[HeardVoice]) -> Counter[str]:
    """An utterance with a long pause is two events, one after the other; twice is what overlaps in time."""
    twice = any(a.start_us < b.end_us and b.start_us < a.end_us for n, a in enumerate(found) for b in found[:n])
    kinds = {"near": "near", None: "unbound"}
    worst = [kinds.get(v.room, "wrong") for v in found]
    verdict = (
        "twice" if twice else "none" if not found else next((k for k in ("wrong", "unbound") if k in worst), "near")
    )
    return Counter({verdict: 1})


def _speech(sound: NDArray[np.int16]) -> Sound:
    """At SPEECH_DB, with a pause before and after."""
    clip = sound.astype(np.float64) / envelope.FULL_SCALE
    clip *= 10 ** (SPEECH_DB / 20) / max(float(np.sqrt(np.square(clip).mean())), 1e-9)
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE))
    return np.concatenate([pause, clip, pause])


def _heard(clip: Sound, gain_db: float, seed: int) -> Steps:
    """The levels that a room publishes: the process ``voice`` on what its microphone gets."""
    random = np.random.default_rng([abs(seed), round(-gain_db), int(seed < 0)])
    if gain_db < 0:
        clip = _through_wall(clip, random) * 10 ** (gain_db / 20)
    noise = random.standard_normal(len(clip)) * 10 ** (NOISE_DB / 20)
    sound = np.clip((clip + noise) * envelope.FULL_SCALE, -32768, 32767).astype(np.int16)
    return [level for voice in _voices(sound) for level in voice]


def _through_wall(clip: Sound, random: np.random.Generator) -> Sound:
    """Late, reverberated by RT60_S, without its treble; as strong as before."""
    length = round(RT60_S * SAMPLE_RATE)
    room = random.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    room = np.concatenate([np.zeros(round(DELAY_S * SAMPLE_RATE)), room])
    size = len(clip) + len(room) - 1
    spectrum = np.fft.rfft(clip, size) * np.fft.rfft(room, size)
    spectrum /= 1 + (np.fft.rfftfreq(size, 1 / SAMPLE_RATE) / 1500) ** 2
    found: Sound = np.fft.irfft(spectrum, size)[: len(clip)]
    strength = float(np.sqrt(np.square(clip).sum() / max(np.square(found).sum(), 1e-12)))
    return np.multiply(found, strength)


def _voices(sound: NDArray[np.int16]) -> Iterator[tuple[int | None, ...]]:
    fold, state = envelope.Envelope(PackagedVad()), None
    for begin in range(0, len(sound), BLOCK):
        at = begin * SECOND // SAMPLE_RATE
        head = Envelope(schema="edge_mer.raw.audio/1", source="b", boot="b", seq=0, origin_us=at, created_us=at)
        body = RawAudio(rate=SAMPLE_RATE, sample_index=begin, overflows=0, mask_epoch=0)
        state, found = fold.step(state, Message("raw/audio", head, body, (sound[begin : begin + BLOCK],), b""))
        yield from (voice.levels for _, voice in found)


if __name__ == "__main__":
    print("\n".join(table(measure(Path(sys.argv[1])))))
