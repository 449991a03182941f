"""Speech of the demo session: espeak-ng through its C library, which tells when each word begins."""

from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import dataclass

import av
import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from edge_mer.contract.errors import DeviceError

RATE = 16_000
_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: the callback gets the samples, nothing is played
_UTF8, _WORD, _POSITION_CHARACTER = 1, 1, 1
_PARAMETER = {"speed": 1, "volume": 2, "pitch": 3, "range": 4}


@dataclass(frozen=True, slots=True)
class Voice:
    """espeak-ng voice name, words per minute, and pitch and pitch range (0..100)."""

    name: str
    speed: int
    pitch: int
    range: int
    volume: int = 100


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """``samples`` int16 [n] at 16 kHz; ``words`` are (text, start, end) in seconds from the first sample."""

    samples: NDArray[np.int16]
    words: tuple[tuple[str, float, float], ...]


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_void_p),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """The library, opened once. Raises DeviceError when it is not installed."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise DeviceError("espeak-ng is not installed; run: apt-get install espeak-ng")
        self._library = ctypes.CDLL(name)
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, 0)
        if self._rate <= 0:
            raise DeviceError("espeak-ng does not start; run: apt-get install --reinstall espeak-ng-data")

    def say(self, text: str, voice: Voice) -> Utterance:
        """Speak one sentence. Raises DeviceError for an unknown voice."""
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise DeviceError(f"espeak-ng has no voice {voice.name!r}; see: espeak-ng --voices=en")
        for parameter, number in _PARAMETER.items():
            self._library.espeak_SetParameter(number, getattr(voice, parameter), 0)
        pieces: list[NDArray[np.int16]] = []
        starts: list[tuple[int, int]] = []

        def receive(wav: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
            if count > 0:
                pieces.append(np.ctypeslib.as_array(wav, (count,)).astype(np.int16))
            index = 0
            while (event := events[index]).type != 0:
                if event.type == _WORD:
                    starts.append((event.text_position - 1, event.sample))
                index += 1
            return 0

        callback = _Callback(receive)
        self._library.espeak_SetSynthCallback(callback)
        data = text.encode("ascii")
        self._library.espeak_Synth(data, len(data) + 1, 0, _POSITION_CHARACTER, 0, _UTF8, None, None)
        native = np.concatenate(pieces) if pieces else np.empty(0, np.int16)
        seconds = [(place, sample / self._rate) for place, sample in _real(text, starts)]
        return Utterance(_resample(native, self._rate), _words(text, seconds, len(native) / self._rate))


def _real(text: str, starts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The events that begin a word: espeak-ng also sends some at the end of a clause, with places out of order."""
    kept: list[tuple[int, int]] = []
    for place, sample in starts:
        if text[place : place + 1].isalnum() and (not kept or place > kept[-1][0]):
            kept.append((place, sample))
    return kept


def _words(text: str, starts: list[tuple[int, float]], end_s: float) -> tuple[tuple[str, float, float], ...]:
    """Words with their times; ``starts`` are places in the text with times. Words that share one split its time."""
    found: list[tuple[str, float, float]] = []
    following = [*starts[1:], (len(text), end_s)]
    for (place, begin), (next_place, end) in zip(starts, following, strict=True):
        words = [w.strip(".,!?").lower() for w in text[place:next_place].split()]
        step = (end - begin) / max(1, len(words))
        found += [(w, begin + i * step, begin + (i + 1) * step) for i, w in enumerate(words)]
    return tuple(found)


def _resample(samples: NDArray[np.int16], rate: int) -> NDArray[np.int16]:
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = rate
    resampler = AudioResampler("s16", "mono", RATE)
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([f.to_ndarray()[0] for f in frames]).astype(np.int16)
