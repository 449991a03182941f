"""Tiny random checkpoints of the real architectures, saved to disk in the layout of a hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from edge_mer.large import compat_torchaudio

compat_torchaudio.repair_import()

import tokenizers  # noqa: E402
import transformers  # noqa: E402
from tokenizers import models, pre_tokenizers, trainers  # noqa: E402

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
LABELS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


def voice(folder: Path, kind: str) -> Path:
    """``kind``: Wav2Vec2, WavLM or Hubert."""
    torch.manual_seed(0)
    config: Any = getattr(transformers, f"{kind}Config")(
        **SMALL,
        conv_dim=(8,) * 7,
        num_feat_extract_layers=7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        num_codevectors_per_group=4,
    )
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def face(folder: Path, labels: tuple[str, ...] = LABELS) -> Path:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        **SMALL,
        image_size=32,
        patch_size=8,
        id2label=dict(enumerate(labels)),
        label2id={n: i for i, n in enumerate(labels)},
    )
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    preprocessing = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    return folder


def text(folder: Path, kind: str) -> Path:
    """``kind``: Roberta or DebertaV2; the tokenizer is a BPE of a few sentences."""
    torch.manual_seed(0)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    raw = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    raw.train_from_iterator(
        ["so happy to see you", "what a sad day", "you are unbelievable"],
        trainers.BpeTrainer(
            vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    ).save_pretrained(folder)
    make = getattr(transformers, f"{kind}Config")
    config: Any = make(**SMALL, vocab_size=len(raw.get_vocab()), max_position_embeddings=300, pad_token_id=1)
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    return folder
