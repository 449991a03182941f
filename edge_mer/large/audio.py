"""Wav2Vec2, WavLM or HuBERT as audio encoder: voice activity gives token times, the large model the values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mer.large.checkpoint import LargeCheckpoint
from edge_mer.perception.audio import TOKEN_SAMPLES, TOKEN_US, AudioEncoder
from edge_mer.perception.encoder import SAMPLE_RATE, EncoderSpec, Tokens
from edge_mer.perception.voice import CONTEXT, GROUP, GroupedEncoder


class LargeAudioEncoder(GroupedEncoder):
    """Fold of 16 kHz blocks into hidden states, averaged over 125 ms, of a window of 2 s that ends with their group."""

    def __init__(self, checkpoint: LargeCheckpoint, activity: AudioEncoder) -> None:
        self._features = checkpoint.open("AutoFeatureExtractor")
        self._model = checkpoint.model("AutoModel")
        spec = EncoderSpec(
            name=checkpoint.name,
            modality="audio",
            rate_hz=SAMPLE_RATE / TOKEN_SAMPLES,
            dim=int(self._model.config.hidden_size),
            latency_us=GROUP * TOKEN_US,
            model=checkpoint.sha256[:16],
        )
        super().__init__(spec, activity, CONTEXT)

    def _tokens(self, group: Tokens, samples: NDArray[np.float32]) -> Tokens:
        """``group`` with the values of the newest half second of ``samples``, with the 1.5 s before it as context."""
        import torch

        inputs = self._features(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with torch.inference_mode():
            hidden: Any = self._model(inputs.input_values).last_hidden_state[0]
        newest = hidden[-(len(hidden) * GROUP * TOKEN_SAMPLES // CONTEXT) :]
        pooled = torch.nn.functional.adaptive_avg_pool1d(newest.T[None], GROUP)[0].T
        return replace(group, values=np.ascontiguousarray(pooled.float().numpy()))
