"""Whisper through transformers: it recognises a whole segment at its end, and returns words without times."""

from __future__ import annotations

import math
from typing import Any

from edge_mer.capture.asr.spread_words import spread
from edge_mer.capture.asr.whole_segment import WholeSegment
from edge_mer.contract.clock import SECOND
from edge_mer.contract.raw import SAMPLE_RATE, WordTime
from edge_mer.large.checkpoint import find, transformers

# Speech has at most a few words a second; this stops a model that repeats itself.
TOKENS_PER_S, MOST_TOKENS = 12, 200


class Whisper(WholeSegment):
    def __init__(self, model: Any, processor: Any, language: str | None = None) -> None:
        super().__init__()
        self._model, self._processor = model, processor
        # A model for English alone takes no language.
        many = getattr(model.generation_config, "is_multilingual", False)
        self._options = {"language": language} if language and many else {}

    def end(self) -> tuple[WordTime, ...]:
        samples = self.samples()
        features = self._processor.feature_extractor(
            samples, sampling_rate=SAMPLE_RATE, return_tensors="pt"
        ).input_features
        tokens = min(MOST_TOKENS, 8 + TOKENS_PER_S * len(samples) // SAMPLE_RATE)
        written = self._model.generate(
            features, max_new_tokens=tokens, return_dict_in_generate=True, output_scores=True, **self._options
        )
        scores = self._model.compute_transition_scores(written.sequences, written.scores, normalize_logits=True)
        self.confidence = math.exp(float(scores.mean())) if scores.numel() else None
        text = self._processor.tokenizer.batch_decode(written.sequences, skip_special_tokens=True)[0]
        return spread(text, 0, len(samples) * SECOND // SAMPLE_RATE)


def load(argument: str | None, language: str | None = None) -> Whisper:
    """``argument``: local path, or hub id that was pulled (``edge-mer models pull``). Only safetensors are read, and
    nothing is downloaded. Raises MissingExtra without transformers, ModelError naming the model."""
    transformers()
    checkpoint = find(argument or "")
    model, processor = checkpoint.model("WhisperForConditionalGeneration"), checkpoint.open("WhisperProcessor")
    return Whisper(model, processor, language)
