"""Trains the tokenizer and the text encoder: emotion of GoEmotions and MELD, sentiment of MOSI, MELD, GoEmotions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import sentencepiece
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edge_mer.perception.text import SentencePiece
from edge_mer.session import evaluation_metrics as metrics
from pipelines.data.corpora import LICENCES, NO_ORDINAL, sentences
from pipelines.encoders.nets import CLASSES, DOMAINS, TextNet
from pipelines.encoders.progress import begin, numbers_of
from pipelines.encoders.text_input import PAD, UNK, Texts, batch, encode
from pipelines.encoders.train_log import Log

PIECES, EPOCHS, BATCH, RATE, AVERAGE = 7000, 6, 128, 2e-3, 0.998
FINE_SHARE: Final = 10.0
TIMES: Final = {"goemotions": 1, "meld": 2, "mosi": 3}
DOMAIN: Final = {"goemotions": DOMAINS.index("comment"), "meld": DOMAINS.index("dialogue")}


def train_tokenizer(texts: Sequence[str], path: Path) -> SentencePiece:
    """A lower-case unigram model of 7000 sub-words, written to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = path.with_suffix("")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(prefix),
        vocab_size=PIECES,
        model_type="unigram",
        normalization_rule_name="nmt_nfkc_cf",
        character_coverage=0.9998,
        num_threads=1,
        pad_id=PAD,
        unk_id=UNK,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    prefix.with_suffix(".model").replace(path)
    prefix.with_suffix(".vocab").unlink()
    return SentencePiece(path)


def sentiment_loss(predicted: Tensor, ordinal: Tensor, score: Tensor) -> Tensor:
    """Per sample [B], 0 where unlabelled: |error| where a score exists, else where an order exists the
    likelihood of negative < -0.5 < neutral < 0.5 < positive under logistic noise (McCullagh 1980)."""
    error = functional.smooth_l1_loss(predicted, torch.nan_to_num(score), reduction="none", beta=0.5)
    steep = 3.0
    above = functional.binary_cross_entropy_with_logits(
        steep * (predicted - 0.5), (ordinal > 0).float(), reduction="none"
    )
    below = functional.binary_cross_entropy_with_logits(
        steep * (predicted + 0.5), (ordinal >= 0).float(), reduction="none"
    )
    nothing = torch.zeros_like(predicted)
    ordered = torch.where(ordinal == NO_ORDINAL, nothing, 0.5 * (above + below))
    return torch.where(torch.isnan(score), ordered, error)


def misheard(ids: Tensor, mask: Tensor, vocabulary: int) -> Tensor:
    """As a recognizer with errors would write: a tenth of the sub-words unknown, a twentieth others."""
    fate = torch.rand(ids.shape)
    out = torch.where(fate < 0.1, torch.full_like(ids, UNK), ids)
    out = torch.where(fate > 0.95, torch.randint(2, vocabulary, ids.shape), out)
    return torch.where(mask > 0, out, ids)


def outputs_of(net: TextNet, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Emotion logits [n, domains, 7] and sentiment [n] in evaluation mode."""
    net.eval()
    logits, sentiment = [], []
    with torch.no_grad():
        for i in range(0, len(ids), 512):
            x, mask = batch(ids[i : i + 512])
            e, s = net.pooled(net(x, mask), mask)
            logits.append(e)
            sentiment.append(s)
    return torch.cat(logits), torch.cat(sentiment)


def evaluate(net: TextNet, texts: Texts) -> dict[str, dict[str, float]]:
    """Figures per source: as written, and (``bare``) without punctuation as a recognizer would write."""
    figures: dict[str, dict[str, float]] = {}
    for form, ids in (("", texts.full), (", bare", texts.bare)):
        logits, sentiment = outputs_of(net, ids)
        value = sentiment.numpy()
        for source in ("goemotions", "meld"):
            rows = texts.source == source
            predicted = logits[rows, DOMAIN[source]].argmax(1).numpy()
            known = rows & (texts.ordinal != NO_ORDINAL)
            order = np.digitize(value[known], [-0.5, 0.5])
            figures[f"{source} dev{form}"] = _emotion_figures(texts.emotion[rows], predicted) | {
                "sentiment_weighted_f1": round(
                    metrics.weighted_f1(metrics.confusion(texts.ordinal[known] + 1, order, 3)), 4
                )
            }
    rows = texts.source == "mosi"
    truth, guess = texts.score[rows], value[rows]
    sign = metrics.confusion((truth >= 0).astype(int), (guess >= 0).astype(int), 2)
    figures["mosi dev, bare"] = {
        "mae": round(metrics.mae(truth, guess), 4),
        "correlation": round(metrics.correlation(truth, guess), 4),
        "accuracy2": round(metrics.accuracy(sign), 4),
    }
    return figures


def _emotion_figures(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> dict[str, float]:
    table = metrics.confusion(truth, predicted, CLASSES)
    figures = {"accuracy": metrics.accuracy, "macro_f1": metrics.macro_f1, "weighted_f1": metrics.weighted_f1}
    return {name: round(figure(table), 4) for name, figure in figures.items()}


def weights_of(texts: Texts) -> Tensor:
    """Square-root balance of the labels of each domain: [domains, 7]."""
    counts = torch.stack(
        [
            torch.bincount(torch.from_numpy(texts.emotion[texts.source == source]), minlength=CLASSES)
            for source in DOMAIN
        ]
    )
    weight = counts.float().clamp(min=1).rsqrt()
    return weight / (weight * counts).sum(1, keepdim=True) * counts.sum(1, keepdim=True)


def train(root: Path, out: Path, epochs: int = EPOCHS, seed: int = 0) -> dict[str, Any]:
    """Train, resuming from an unfinished ``out/text.pt``; returns the facts of the card (dev splits of the three
    sets)."""
    log = Log(out / "text.log")
    torch.manual_seed(seed)
    rows, dev_rows = sentences(root, "train"), sentences(root, "dev")
    tokenizer = train_tokenizer([r.text for r in rows], out / "text.spm")
    texts, dev = encode(tokenizer, rows), encode(tokenizer, dev_rows)
    weight = weights_of(texts)
    # MOSI and MELD are small: each epoch reads them several times.
    order = np.concatenate([np.flatnonzero(texts.source == s).repeat(times) for s, times in TIMES.items()])
    progress = begin(TextNet(len(tokenizer)), out / "text.pt", epochs, RATE, AVERAGE, clip=1.0)
    steps = math.ceil(len(order) / BATCH)
    sources = ["goemotions", "meld", "mosi"]
    facts: dict[str, Any] = {"data": sources, "licence": "; ".join(LICENCES[s] for s in sources), "seed": seed}
    for epoch in range(progress.resume(), epochs):
        progress.net.train()
        (_, numbers), total = numbers_of(seed, epoch), 0.0
        for step, index in enumerate(np.array_split(numbers.permutation(order), steps)):
            ids, mask = batch([(texts.full if numbers.random() < 0.6 else texts.bare)[i] for i in index])
            loss = loss_of(progress.net, misheard(ids, mask, len(tokenizer)), mask, texts, index, weight)
            total += progress.step(loss, (epoch + step / steps) / epochs)
        facts["metrics"] = evaluate(progress.kept, dev)
        log(f"text epoch {epoch + 1}/{epochs} loss {total / steps:.3f} dev {facts['metrics']}")
        progress.save(facts, epoch + 1)
    return facts


def loss_of(net: TextNet, ids: Tensor, mask: Tensor, texts: Texts, index: NDArray[np.int64], weight: Tensor) -> Tensor:
    """Of the rows ``index`` of ``texts``: emotion by the head of their domain, sentiment, and the 28 fine labels."""
    vector = net.vector(net(ids, mask), mask)
    logits, value = net.read(vector)
    emotion, ordinal, score, fine = (
        torch.from_numpy(x[index]) for x in (texts.emotion, texts.ordinal, texts.score, texts.fine)
    )
    domain = torch.tensor([DOMAIN.get(s, 0) for s in texts.source[index].tolist()])
    known, named = emotion >= 0, fine.sum(1) > 0
    loss = sentiment_loss(value, ordinal, score).mean()
    if known.any():
        mine, truth = logits[torch.arange(len(index)), domain][known], emotion[known]
        each = functional.cross_entropy(mine, truth, reduction="none", label_smoothing=0.05)
        loss = loss + (each * weight[domain[known], truth]).mean()
    if named.any():
        loss = loss + FINE_SHARE * functional.binary_cross_entropy_with_logits(net.fine(vector[named]), fine[named])
    return loss
