"""RoBERTa, DeBERTa or similar as text encoder: the hidden states of the newest sub-words."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from edge_mer.contract.errors import ModelError
from edge_mer.large.checkpoint import LargeCheckpoint
from edge_mer.perception.encoder import EncoderSpec, TextSegment, Tokens, no_tokens
from edge_mer.perception.text import LONGEST_WORD, RATE_HZ, check_times

LONGEST: Final = 48  # words and sub-words of a segment, the newest ones


class LargeTextEncoder:
    """Stateless: a later block of a segment replaces the earlier one as a whole."""

    def __init__(self, checkpoint: LargeCheckpoint) -> None:
        self._tokenizer = checkpoint.open("AutoTokenizer", add_prefix_space=True)
        self._tokenizer.truncation_side = "left"
        if not getattr(self._tokenizer, "is_fast", False):
            raise ModelError(f"{checkpoint.name}: its tokenizer cannot map sub-words to words; add a tokenizer.json")
        self._model = checkpoint.model("AutoModel")
        self.spec = EncoderSpec(
            name=checkpoint.name,
            modality="text",
            rate_hz=RATE_HZ,
            dim=int(self._model.config.hidden_size),
            latency_us=0,
            model=checkpoint.sha256[:16],
        )

    def initial(self) -> None:
        return None

    def step(self, state: None, block: TextSegment) -> tuple[None, Tokens]:
        """All tokens of the segment, at most the newest 48, in the order of its words."""
        import torch

        words = block.words[-LONGEST:]
        check_times(words)
        encoded: Any = self._tokenizer(
            [w.text[:LONGEST_WORD] for w in words] or [""],
            is_split_into_words=True,
            return_tensors="pt",
            truncation=True,
            max_length=4 * LONGEST,
        )
        of_word = encoded.word_ids()
        kept = [i for i, word in enumerate(of_word) if word is not None and word < len(words)][-LONGEST:]
        if not kept:
            none = no_tokens(self.spec.dim)
            return None, Tokens(none.values, none.start_us, none.end_us, none.valid, context=block.segment)
        with torch.inference_mode():
            hidden: Any = self._model(**encoded).last_hidden_state[0]
        chosen = [words[of_word[i]] for i in kept]
        return None, Tokens(
            values=np.ascontiguousarray(hidden[kept].float().numpy()),
            start_us=np.array([w.start_us for w in chosen], np.int64),
            end_us=np.array([w.end_us for w in chosen], np.int64),
            valid=np.ones(len(kept), np.bool_),
            context=block.segment,
        )
