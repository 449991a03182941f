"""Audio encoder: causal log-mel frames, eight tokens per second, each from the last frames of its graph's input only.

Every token is computed from fixed-size arrays (2600 samples, then those frames: 1.95 s), so any cutting of the same
samples into blocks gives the same bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import InputError, ModelError
from edge_mer.perception import pitch
from edge_mer.perception.encoder import SAMPLE_RATE, AudioBlock, EncoderSpec, Tokens, no_tokens
from edge_mer.runtime.backend import Backend, Graph, origin

TOKEN_SAMPLES: Final = 2000
TOKEN_US: Final = 125_000
HOP, WINDOW, FFT, MELS, PITCH = 200, 400, 512, 64, 2
FRAMES_PER_TOKEN: Final = TOKEN_SAMPLES // HOP
CONTEXT_FRAMES: Final = 156
# Before the samples of a token: what its first frame of log-mel reads, and what that of pitch reads.
HISTORY: Final = WINDOW - HOP
PITCH_HISTORY: Final = pitch.WINDOW - HOP
FLOOR: Final = 1e-11
SPEECH: Final = 0.5
_DRIFT_US, _JITTER_US = 2_000, 5_000

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class AudioState:
    """One unbroken stretch of sound that began at ``context`` (microseconds); None before the first sample.

    ``frames`` are the last log-mel frames and their pitch; ``samples`` the 600 samples before the next token and all
    after.
    """

    frames: Samples
    samples: Samples
    context: int | None = None
    anchor_us: int = 0
    count: int = 0
    tokens: int = 0


class AudioEncoder:
    """Fold of 16 kHz blocks of any length into tokens of ``graph``: ``mel`` [1, F, 64], and ``pitch`` [1, F, 2] where
    the graph takes it, -> ``token`` [1, dim].

    ``activity``: the newest ``mel`` -> ``speech`` [1, 1], the probability that the token holds a voice.
    """

    def __init__(self, graph: Graph, activity: Graph) -> None:
        self._graph, self._activity = graph, activity
        self._heard, self._listened = _frames_of(graph), _frames_of(activity)
        dim = graph.outputs["token"].shape[1]
        self.spec = EncoderSpec(
            name=str(graph.metadata.get("name", "audio")),
            modality="audio",
            rate_hz=SAMPLE_RATE / TOKEN_SAMPLES,
            dim=dim,
            latency_us=TOKEN_US,
            model=origin(graph)[:16],
        )

    def initial(self) -> AudioState:
        """Silence before the first sample."""
        return AudioState(silence(max(self._heard, self._listened)), np.zeros(PITCH_HISTORY, np.float32))

    def step(self, state: AudioState, block: AudioBlock) -> tuple[AudioState, Tokens]:
        """Zero or more tokens. A jump in time beyond half a block starts a new context, cut from the old one."""
        samples = _checked(block.samples)
        if not len(samples):
            return state, no_tokens(self.spec.dim)
        state = self._follow(state, block.origin_us, len(samples))
        state = replace(
            state,
            samples=np.concatenate([state.samples, samples]),
            count=state.count + len(samples),
        )
        first, values, valid = state.tokens, [], []
        while len(state.samples) >= PITCH_HISTORY + TOKEN_SAMPLES:
            state, value, speech = self._token(state)
            values.append(value)
            valid.append(speech >= SPEECH)
        if not values:
            return state, no_tokens(self.spec.dim)
        start = state.anchor_us + TOKEN_US * np.arange(first, state.tokens, dtype=np.int64)
        return state, Tokens(
            values=np.concatenate(values),
            start_us=start,
            end_us=start + TOKEN_US,
            valid=np.array(valid),
            context=state.context or 0,
            cut=first == 0,
        )

    def _follow(self, state: AudioState, origin_us: int, n: int) -> AudioState:
        """Keep the sample clock on the capture clock: follow drift in small steps, start afresh on a gap."""
        if state.context is None:
            return replace(state, context=origin_us, anchor_us=origin_us)
        error = origin_us - state.anchor_us - state.count * 1_000_000 // SAMPLE_RATE
        if abs(error) > max(n * 500_000 // SAMPLE_RATE, _JITTER_US):
            return replace(self.initial(), context=origin_us, anchor_us=origin_us)
        return replace(state, anchor_us=state.anchor_us + error) if abs(error) > _DRIFT_US else state

    def _token(self, state: AudioState) -> tuple[AudioState, Samples, float]:
        new = front_end(state.samples[: PITCH_HISTORY + TOKEN_SAMPLES])
        frames = np.concatenate([state.frames[FRAMES_PER_TOKEN:], new])
        value: Samples = self._graph.run(inputs_of(self._graph, frames[-self._heard :]))["token"]
        speech = float(self._activity.run(inputs_of(self._activity, frames[-self._listened :]))["speech"].item())
        left = state.samples[TOKEN_SAMPLES:]
        return replace(state, frames=frames, samples=left, tokens=state.tokens + 1), value, speech


def open_audio(backend: Backend, models: Path) -> AudioEncoder:
    """Raises ModelError when a file is missing or damaged."""
    return AudioEncoder(backend.load(models / "audio.onnx"), backend.load(models / "speech.onnx"))


def _frames_of(graph: Graph) -> int:
    """How many frames ``graph`` takes. Raises ModelError for other inputs than those of ``inputs_of``."""
    shapes = {name: spec.shape for name, spec in graph.inputs.items()}
    frames = shapes["mel"][1] if len(shapes.get("mel", ())) == 3 else 0
    known = {"mel": (1, frames, MELS), "pitch": (1, frames, PITCH)}
    if not frames or any(known.get(name) != shape for name, shape in shapes.items()):
        raise ModelError(f"audio graph: inputs {shapes}; expected mel [1, F, {MELS}] and at most pitch [1, F, {PITCH}]")
    return frames


def front_end(samples: Samples) -> Samples:
    """Frames [10 n, 64 + 2] of 600 + 2000 n samples: log-mel energies, and beside them the pitch and its strength."""
    return np.concatenate([log_mel(samples[PITCH_HISTORY - HISTORY :]), pitch.pitch(samples)], axis=1)


def silence(count: int) -> Samples:
    """``count`` frames of what ``front_end`` makes of digital silence, float32 [count, 66]."""
    frames = np.zeros((count, MELS + PITCH), np.float32)
    frames[:, :MELS] = np.log(np.float32(FLOOR))
    return frames


def inputs_of(graph: Graph, frames: Samples) -> dict[str, Samples]:
    """``frames`` [F, 66] as the inputs of ``graph``: ``mel`` [1, F, 64], and ``pitch`` [1, F, 2] where it takes it."""
    parts = {"mel": frames[None, :, :MELS], "pitch": frames[None, :, MELS:]}
    return {name: np.ascontiguousarray(parts[name]) for name in graph.inputs if name in parts}


def log_mel(samples: Samples) -> Samples:
    """Log-mel energies [10 n, 64] of 200 + 2000 n samples: history, then those of n tokens. Causal, Hann 25 ms."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    window, bank = _mel_bank()
    spectrum = np.fft.rfft(frames * window, FFT, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    energies: Samples = np.log(power @ bank + np.float32(FLOOR))
    return energies


@cache
def _mel_bank() -> tuple[Samples, Samples]:
    """Hann window [400] and torchaudio's triangular HTK mel bank [257, 64] over 50-8000 Hz, scaled for unit sine
    power."""
    window = np.hanning(WINDOW + 1)[:-1]
    lowest, highest = (2595 * math.log10(1 + hz / 700) for hz in (50.0, 8000.0))
    mel = np.linspace(lowest, highest, MELS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    bins = np.arange(FFT // 2 + 1) * SAMPLE_RATE / FFT
    rise = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    bank = np.maximum(0, np.minimum(rise, fall))
    scale = (2 / window.sum()) ** 2
    return window.astype(np.float32), (bank * scale).astype(np.float32)


def _checked(samples: Samples) -> Samples:
    if not isinstance(samples, np.ndarray) or samples.dtype != np.float32 or samples.ndim != 1:
        got = f"{getattr(samples, 'dtype', type(samples).__name__)}{list(np.shape(samples))}"
        raise InputError(f"audio block: got {got}, expected float32[n] samples of 16 kHz mono")
    if not np.isfinite(samples).all():
        raise InputError("audio block: it holds NaN or infinite samples; drop the block")
    return np.clip(samples, -1.0, 1.0)
