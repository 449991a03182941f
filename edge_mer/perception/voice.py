"""Voice encoder: Whisper's log-mel frames of the last 2 s, two tokens per second.

Every token is computed from fixed-size arrays (the newest 32,240 samples), so any cutting of the same samples into
blocks gives the same bytes. Voice activity runs beside it at eight tokens per second.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.errors import ModelError
from edge_mer.perception.audio import TOKEN_SAMPLES, TOKEN_US, AudioEncoder, AudioState, checked
from edge_mer.perception.encoder import SAMPLE_RATE, AudioBlock, EncoderSpec, Tokens, joined, no_tokens, split
from edge_mer.runtime.backend import Graph, origin

# The input of the graph, by whose name this encoder is chosen.
LOG_MEL: Final = "logmel"
HOP, WINDOW, BANDS = 160, 400, 80
CONTEXT_FRAMES: Final = 200
CONTEXT: Final = CONTEXT_FRAMES * HOP
# Before the samples of a window: what its first frame also reads.
HISTORY: Final = WINDOW - HOP
FLOOR: Final = 1e-10
# The highest bands (from 7.3 kHz on) show which resampler a sound has passed, not the voice. They follow the three
# below them, by their mean distance in speech (RAVDESS).
TOP: Final = 78
TOP_BELOW: Final = np.array((0.14, 0.22), np.float32)
# Products of so few rows run on one thread of any BLAS, so that results do not depend on how many it has.
ROWS: Final = 10
# Tokens of voice activity between two runs of the model: every half second. This many of them make a valid token.
GROUP, VOICED = 4, 2

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class GroupedState:
    """``samples`` are those before the waiting tokens and all after; ``waiting`` have times but no values yet."""

    activity: AudioState
    samples: Samples
    waiting: Tokens


class GroupedEncoder(ABC):
    """Fold of 16 kHz blocks: every four tokens of voice activity a model sees the ``context`` newest samples."""

    def __init__(self, spec: EncoderSpec, activity: AudioEncoder, context: int) -> None:
        self.spec, self._activity, self._context = spec, activity, context

    def initial(self) -> GroupedState:
        """Silence before the first sample."""
        return self._begun(self._activity.initial())

    def step(self, state: GroupedState, block: AudioBlock) -> tuple[GroupedState, Tokens]:
        """The tokens of zero or more half seconds; a gap in time drops the waiting tokens."""
        inner, fresh = self._activity.step(state.activity, block)
        if inner.context != state.activity.context:
            state = self._begun(inner)
        samples, waiting = np.concatenate([state.samples, checked(block.samples)]), joined(state.waiting, fresh)
        out, size = no_tokens(self.spec.dim), GROUP * TOKEN_SAMPLES
        while len(waiting) >= GROUP:
            group, waiting = split(waiting, GROUP)
            out = joined(out, self._tokens(group, samples[size : size + self._context]))
            samples = samples[size:]
        return GroupedState(inner, samples, waiting), out

    def _begun(self, activity: AudioState) -> GroupedState:
        return GroupedState(activity, np.zeros(self._context, np.float32), no_tokens(0))

    @abstractmethod
    def _tokens(self, group: Tokens, samples: Samples) -> Tokens:
        """What the model makes of ``samples`` [context], whose newest half second is that of ``group``."""


class VoiceEncoder(GroupedEncoder):
    """Tokens of ``graph``: ``logmel`` [1, 200, 80] -> ``token`` [1, dim], one per half second.

    A token is valid when at least half of its half second holds a voice. Raises ModelError for other inputs.
    """

    def __init__(self, graph: Graph, activity: AudioEncoder) -> None:
        shapes = {name: spec.shape for name, spec in graph.inputs.items()}
        if shapes != {LOG_MEL: (1, CONTEXT_FRAMES, BANDS)}:
            raise ModelError(f"voice graph: inputs {shapes}; expected {LOG_MEL} [1, {CONTEXT_FRAMES}, {BANDS}]")
        self._graph = graph
        spec = EncoderSpec(
            name=str(graph.metadata.get("name", "audio")),
            modality="audio",
            rate_hz=SAMPLE_RATE / (GROUP * TOKEN_SAMPLES),
            dim=graph.outputs["token"].shape[1],
            latency_us=GROUP * TOKEN_US,
            model=origin(graph)[:16],
        )
        super().__init__(spec, activity, HISTORY + CONTEXT)

    def _tokens(self, group: Tokens, samples: Samples) -> Tokens:
        value = self._graph.run({LOG_MEL: log_mel(samples)[None]})["token"]
        voiced = np.array([group.valid.sum() >= VOICED])
        return replace(group, values=value, start_us=group.start_us[:1], end_us=group.end_us[-1:], valid=voiced)


def log_mel(samples: Samples) -> Samples:
    """log10 of Whisper's mel energies [n, 80] of 240 + 160 n samples: history, then those of n frames. Causal.

    The two highest bands are derived from those below."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    window, bank = _mel_bank()
    spectrum = np.fft.rfft(frames * window, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    sums = np.concatenate([power[i : i + ROWS] @ bank for i in range(0, len(power), ROWS)])
    energies: Samples = np.log10(np.maximum(sums, np.float32(FLOOR)))
    below = energies[:, TOP - 3 : TOP]
    energies[:, TOP:] = (below[:, :1] + below[:, 1:2] + below[:, 2:]) / np.float32(3) - TOP_BELOW
    floored: Samples = np.maximum(energies, np.log10(np.float32(FLOOR)))
    return floored


@cache
def _mel_bank() -> tuple[Samples, Samples]:
    """Periodic Hann window [400] and Slaney's triangular mel bank [201, 80] over 0-8000 Hz, of equal areas."""
    edges = _hertz(np.linspace(_mels(0.0), _mels(SAMPLE_RATE / 2), BANDS + 2))
    bins = np.arange(WINDOW // 2 + 1) * SAMPLE_RATE / WINDOW
    rise = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    bank = np.maximum(0, np.minimum(rise, fall)) * 2 / (edges[2:] - edges[:-2])
    return np.hanning(WINDOW + 1)[:-1].astype(np.float32), bank.astype(np.float32)


# Slaney's scale is linear below 1 kHz (3 mels per 200 Hz) and logarithmic above (27 steps per factor 6.4).
_KNEE, _PER_HZ, _STEP = 1000.0, 3 / 200, np.log(6.4) / 27


def _mels(hertz: float) -> float:
    return hertz * _PER_HZ if hertz < _KNEE else _KNEE * _PER_HZ + float(np.log(hertz / _KNEE)) / _STEP


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    knee = _KNEE * _PER_HZ
    return np.where(mels < knee, mels / _PER_HZ, _KNEE * np.exp(_STEP * (np.maximum(mels, knee) - knee)))
