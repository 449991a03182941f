"""The exported encoders as training needs them: of recordings as on the device, and of augmented batches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from edge_mer.contract.domain import Modality
from edge_mer.model import MCULoRAConfig
from edge_mer.perception import dialogue, text
from edge_mer.perception.audio import CONTEXT_FRAMES, FRAMES_PER_TOKEN
from edge_mer.perception.dialogue import DialogueEncoder
from edge_mer.perception.load import load_encoder
from edge_mer.perception.text import SentencePiece
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.cache import Arrays, cached
from pipelines.data.corpora import Sentence, Speech
from pipelines.data.unseen import UNSEEN, Unseen
from pipelines.data.voices import voices
from pipelines.encoders.shipped import FILES, hashes
from pipelines.fusion import tracks
from pipelines.fusion.tracks import Floats
from pipelines.fusion.windows import WINDOW_S, Example


class TokenEncoders:
    """Those of a directory of models. Raises ModelError for an absent or damaged file.

    ``audio``, ``face`` and ``text`` (of an encoder without turns) are the callables that ``tracks`` takes for augmented
    tokens.
    """

    def __init__(self, models: Path) -> None:
        backend = OnnxRuntime()
        self._voice, self._reader = (load_encoder(m, backend, models) for m in ("audio", "text"))
        self._graphs = {m: backend.load(models / name) for m, name in FILES.items()}
        self._models = models
        self.hashes = hashes(models)

    def audio(self, mel: Tensor, pitch: Tensor) -> Floats:
        """As tracks.AudioTokens."""
        starts = range(0, mel.shape[1] - CONTEXT_FRAMES + 1, FRAMES_PER_TOKEN)
        windows = [
            self._each("audio", "token", mel=mel[:, s : s + CONTEXT_FRAMES], pitch=pitch[:, s : s + CONTEXT_FRAMES])
            for s in starts
        ]
        return np.stack(windows, 1)

    def face(self, faces: Tensor) -> Floats:
        """As tracks.FaceTokens."""
        return self._each("video", "posterior", face=faces)

    def text(self, ids: Tensor, mask: Tensor) -> Floats:
        """As tracks.TextTokens."""
        return self._each("text", "tokens", ids=ids, mask=mask)

    def _each(self, modality: Modality, output: str, **inputs: Tensor) -> Floats:
        """The graphs take one sample at a time."""
        arrays = {name: np.ascontiguousarray(x) for name, x in inputs.items()}
        count = len(next(iter(arrays.values())))
        graph = self._graphs[modality]
        return np.concatenate([graph.run({n: x[i : i + 1] for n, x in arrays.items()})[output] for i in range(count)])

    @property
    def capacity(self) -> dict[Modality, int]:
        """Tokens of a window: as many voices as its encoder gives in that time, else the device's own numbers."""
        voiced = round(WINDOW_S * self._voice.spec.rate_hz)
        return {**MCULoRAConfig().tokens, "audio": voiced}

    def unseen(self, root: Path, runs: Path) -> Unseen | None:
        """Tokens of voices whose speakers the voice encoder was not trained on; None for one that has no such file.

        Raises DataError where it is absent.
        """
        named = self._graphs["audio"].metadata.get("unseen")
        return None if named is None else Unseen.read(runs / UNSEEN, voices(root), str(named))

    def joint(self, clips: Sequence[Speech]) -> list[Example]:
        """As tracks.joint."""
        return tracks.joint(self._voice, clips)

    def texts(self, rows: Sequence[Sentence]) -> list[Example]:
        """As tracks.texts."""
        return tracks.text_examples(self._kept(tracks.bare_words(rows)), rows)

    def augmented_texts(self, rows: Sequence[Sentence]) -> list[Example]:
        """Half of them misheard where the encoder reads earlier turns, else as tracks.augmented_texts."""
        if isinstance(self._reader, DialogueEncoder):
            return tracks.text_examples(self._kept(tracks.misheard_words(rows)), rows)
        return tracks.augmented_texts(rows, SentencePiece(self._models / "text.spm"), self.text)

    def _kept(self, texts: Sequence[Sequence[str]]) -> list[Floats]:
        """``tracks.text_tokens``, which takes minutes for a whole set, from the cache where it is there."""

        def make() -> Arrays:
            found = tracks.text_tokens(self._reader, texts)
            return {"values": np.concatenate(found), "ends": np.cumsum([len(v) for v in found])}

        stamp = hashlib.sha256("\n".join(" ".join(words) for words in texts).encode()).hexdigest()
        kept = cached("texts", make, [], [dialogue, text, tracks], self.hashes["text"], stamp)
        return np.split(kept["values"], kept["ends"][:-1])
