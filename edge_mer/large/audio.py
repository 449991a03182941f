"""Wav2Vec2, WavLM or HuBERT as audio encoder: the starter encoder gives token times and voice activity, the large model
the values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.large.checkpoint import LargeCheckpoint
from edge_mer.perception.audio import TOKEN_SAMPLES, TOKEN_US, AudioEncoder, AudioState
from edge_mer.perception.encoder import SAMPLE_RATE, AudioBlock, EncoderSpec, Tokens, no_tokens

CONTEXT: Final = 2 * SAMPLE_RATE
PER_TOKEN: Final = ("values", "start_us", "end_us", "valid")
GROUP: Final = 4  # tokens of one run of the model: every half second


@dataclass(frozen=True, slots=True, eq=False)
class LargeAudioState:
    """``samples``: the last 2 s before the waiting tokens and all after; ``waiting``: tokens without values."""

    starter: AudioState
    samples: NDArray[np.float32]
    waiting: Tokens


class LargeAudioEncoder:
    """Fold of 16 kHz blocks into hidden states, averaged over 125 ms, of a window of 2 s that ends with their group."""

    def __init__(self, checkpoint: LargeCheckpoint, starter: AudioEncoder) -> None:
        self._starter = starter
        self._features = checkpoint.open("AutoFeatureExtractor")
        self._model = checkpoint.model("AutoModel")
        self.spec = EncoderSpec(
            name=checkpoint.name,
            modality="audio",
            rate_hz=SAMPLE_RATE / TOKEN_SAMPLES,
            dim=int(self._model.config.hidden_size),
            latency_us=GROUP * TOKEN_US,
            model=checkpoint.sha256[:16],
        )

    def initial(self) -> LargeAudioState:
        return self._begun(self._starter.initial())

    def step(self, state: LargeAudioState, block: AudioBlock) -> tuple[LargeAudioState, Tokens]:
        """Zero or more groups of four tokens; a gap in time drops the waiting tokens."""
        inner, fresh = self._starter.step(state.starter, block)
        if inner.context != state.starter.context:
            state = self._begun(inner)
        samples = np.concatenate([state.samples, np.clip(block.samples, -1, 1)])
        waiting = fresh if not len(state.waiting) else joined(state.waiting, fresh)
        out: list[Tokens] = []
        while len(waiting) >= GROUP:
            group, waiting = split(waiting, GROUP)
            out.append(replace(group, values=self._values(samples[: CONTEXT + GROUP * TOKEN_SAMPLES])))
            samples = samples[GROUP * TOKEN_SAMPLES :]
        state = LargeAudioState(inner, samples, waiting)
        tokens = no_tokens(self.spec.dim)
        for group in out:
            tokens = group if not len(tokens) else joined(tokens, group)
        return state, tokens

    def _begun(self, inner: AudioState) -> LargeAudioState:
        return LargeAudioState(inner, np.zeros(CONTEXT, np.float32), no_tokens(self._starter.spec.dim))

    def _values(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """[4, dim] for the newest half second of ``samples``, with the 1.5 s before it as context."""
        import torch

        window = samples[-CONTEXT:]
        inputs = self._features(window, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with torch.inference_mode():
            hidden: Any = self._model(inputs.input_values).last_hidden_state[0]
        newest = hidden[-(len(hidden) * GROUP * TOKEN_SAMPLES // CONTEXT) :]
        pooled = torch.nn.functional.adaptive_avg_pool1d(newest.T[None], GROUP)[0].T
        return np.ascontiguousarray(pooled.float().numpy())


def joined(first: Tokens, then: Tokens) -> Tokens:
    """Tokens of one context in their order."""
    if not len(then):
        return first
    parts: dict[str, Any] = {n: np.concatenate([getattr(first, n), getattr(then, n)]) for n in PER_TOKEN}
    return replace(first, **parts)


def split(tokens: Tokens, count: int) -> tuple[Tokens, Tokens]:
    """The first ``count`` tokens, which carry the cut, and the rest."""
    first: dict[str, Any] = {n: getattr(tokens, n)[:count] for n in PER_TOKEN}
    rest: dict[str, Any] = {n: getattr(tokens, n)[count:] for n in PER_TOKEN}
    return replace(tokens, **first), replace(tokens, **rest, cut=False)
