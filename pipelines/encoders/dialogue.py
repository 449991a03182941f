"""Trains the text encoder that reads earlier turns: MiniLM's first layers, tuned on the labels of nine sets.

Half of the texts are read as a recogniser writes them, and of dialogues half without the turns before them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edge_mer.perception.dialogue import CONTEXT, EARLIER, OTHER, OWN, PIECES, SAME, VOCABULARY
from edge_mer.perception.wordpiece import SPECIAL, WordPiece
from edge_mer.session import evaluation_metrics as metrics
from pipelines.data.corpora import LICENCES, NO_ORDINAL
from pipelines.data.utterances import HEADS, SEVERAL, Utterance, utterances
from pipelines.encoders.minilm import WHEEL, DialogueNet, begin_with, published, published_vocabulary
from pipelines.encoders.misheard import Confusions, bare, confusions
from pipelines.encoders.progress import begin, numbers_of
from pipelines.encoders.text import sentiment_loss
from pipelines.encoders.train_log import Log

EPOCHS, BATCH, RATE, AVERAGE = 1, 48, 1.5e-4, 0.998
# The heads are new and learn faster than what was trained before.
NEW: Final = 13.0
WHEELS: Final = Path("../scratch/wheels")
# How often each set is read in an epoch, and how much each head counts.
TIMES: Final = {
    "goemotions": 0.85,
    "meld": 2.0,
    "mosi": 1.0,
    "dailydialog": 0.25,
    "isear": 0.3,
    "semeval": 0.1,
    "emoevent": 0.1,
    "xed": 0.15,
    "foreign": 0.3,
}
SHARE: Final = {"goemotions": 1.0, "meld": 1.0, "fine": 10.0, "semeval": 2.0, "xed": 2.0}
OTHERS_SHARE, ENGLISH_SHARE = 0.5, 0.3
MISHEARD, WITH_TURNS, SPEAKERS_KNOWN = 0.5, 0.5, 0.5
# A piece that train holds less often is left out of the vocabulary (1.4 % of dev's pieces); its words are cut smaller.
LEAST: Final = 5
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class Reading:
    """One utterance as it is read: its sub-words, and of each turn before it its sub-words and kind."""

    row: int
    pieces: Sequence[int]
    turns: Sequence[tuple[Sequence[int], int]] = ()

    @property
    def context(self) -> int:
        return min(CONTEXT, sum(len(said) + 1 for said, _ in self.turns))


@dataclass(slots=True)
class Reader:
    """Turns texts into readings; remembers what a text or a word was cut into."""

    tokenizer: WordPiece
    confusions: Confusions | None
    _texts: dict[str, list[int]]
    _words: dict[str, list[int]]

    def written(self, text: str) -> list[int]:
        if text not in self._texts:
            self._texts[text] = self.tokenizer(text)[-PIECES:]
        return self._texts[text]

    def heard(self, text: str, random: np.random.Generator | None) -> list[int]:
        """Without punctuation; with a recogniser's errors where ``random`` numbers are given."""
        words = bare(text).split()
        if random is not None and self.confusions is not None:
            words = self.confusions.heard(words, random)
        out: list[int] = []
        for word in words:
            if word not in self._words:
                self._words[word] = self.tokenizer(word)
            out += self._words[word]
        return out[-PIECES:]

    def training(self, rows: Sequence[Utterance], order: Iterable[int], random: np.random.Generator) -> list[Reading]:
        """The readings of an epoch: form, turns and their kinds are drawn."""
        out = []
        for index in order:
            row = rows[index]
            as_heard = random.random() < MISHEARD
            count = random.integers(1, len(row.before) + 1) if row.before and random.random() < WITH_TURNS else 0
            known = random.random() < SPEAKERS_KNOWN
            cut = (lambda t: self.heard(t, random)) if as_heard else self.written
            turns = [(cut(t.text), _kind(t.same, known)) for t in row.before[:count]]
            out.append(Reading(index, cut(row.text), turns))
        return [reading for reading in out if reading.pieces]

    def plain(
        self,
        rows: Sequence[Utterance],
        as_heard: bool = False,
        turns: int = 0,
        known: bool = True,
        errors: int | None = None,
    ) -> list[Reading]:
        """All rows in one form, with at most ``turns`` turns; ``errors``: the seed of a recogniser's."""
        random = None if errors is None else np.random.default_rng(errors)
        cut: Callable[[str], list[int]] = (lambda t: self.heard(t, random)) if as_heard else self.written
        return [
            Reading(
                i,
                cut(r.text) or [self.tokenizer.unknown],
                [(cut(t.text), _kind(t.same, known)) for t in r.before[:turns]],
            )
            for i, r in enumerate(rows)
        ]


def _kind(same: bool, known: bool) -> int:
    return EARLIER if not known else SAME if same else OTHER


def reader(tokenizer: WordPiece, confused: Confusions | None) -> Reader:
    return Reader(tokenizer, confused, {}, {})


def cut_vocabulary(pieces: Sequence[str], texts: Iterable[str], least: int = LEAST) -> list[str]:
    """Of the published ``pieces`` the special ones, single letters and digits, and those that ``texts`` hold ``least``
    times, written or bare."""
    whole = WordPiece(pieces)
    counts: Counter[int] = Counter()
    for text in texts:
        counts.update(whole(text))
        counts.update(whole(bare(text)))
    always = {*SPECIAL, *_LETTERS, *(f"##{c}" for c in _LETTERS)}
    # A text counts twice, as written and bare.
    return [p for i, p in enumerate(pieces) if p in always or counts[i] >= 2 * least]


def batch(tokenizer: WordPiece, readings: Sequence[Reading]) -> tuple[Tensor, Tensor, Tensor, int]:
    """As ``dialogue.laid_out``, but no wider than needed: ``ids``, ``mask``, ``turn`` [B, L], and the first part's
    length."""
    current = 2 + max(len(r.pieces) for r in readings)
    length = current + max(r.context for r in readings)
    ids, turn = np.zeros((len(readings), length), np.int64), np.full((len(readings), length), OWN)
    mask = np.zeros((len(readings), length), np.float32)
    for row, reading in enumerate(readings):
        own = [tokenizer.start, *reading.pieces, tokenizer.separator]
        ids[row, : len(own)], mask[row, : len(own)] = own, 1
        place = current
        for said, kind in reading.turns:
            part = [*said, tokenizer.separator][: current + CONTEXT - place]
            end = place + len(part)
            ids[row, place:end], turn[row, place:end], mask[row, place:end] = part, kind, 1
            place = end
    return torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(turn), current


def batches(readings: Sequence[Reading], size: int, random: np.random.Generator | None = None) -> list[list[Reading]]:
    """Readings of like lengths together; drawn anew where ``random`` numbers are given."""
    order = np.arange(len(readings)) if random is None else random.permutation(len(readings))
    out: list[list[Reading]] = []
    for start in range(0, len(order), 32 * size):
        some = [readings[i] for i in order[start : start + 32 * size]]
        some.sort(key=lambda r: (r.context > 0, len(r.pieces)))
        out += [some[i : i + size] for i in range(0, len(some), size)]
    if random is not None:
        random.shuffle(out)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Of all rows: for each head the rows' labels [n, k] (0 or 1), ``ordinal``, ``score`` and ``english`` [n]."""

    labels: Mapping[str, Tensor]
    ordinal: Tensor
    score: Tensor
    english: Tensor


def targets_of(rows: Sequence[Utterance]) -> Targets:
    labels = {}
    for head, names in HEADS.items():
        table = torch.zeros(len(rows), len(names))
        for i, row in enumerate(rows):
            table[i, list(row.labels.get(head, ()))] = 1
            if head in SEVERAL and head in row.labels and not row.labels[head]:
                table[i] = -1  # annotated, and nothing holds
        labels[head] = table
    return Targets(
        labels,
        torch.tensor([NO_ORDINAL if r.ordinal is None else r.ordinal for r in rows]),
        torch.tensor([r.score for r in rows]),
        torch.tensor([float(r.english) for r in rows]),
    )


def weights_of(labels: Tensor, power: float) -> Tensor:
    """Weights [k] of the labels [n, k] by their counts to the ``-power``; their mean over the rows is 1."""
    counts = labels.clamp(min=0).sum(0).clamp(min=1)
    weight = counts**-power
    return weight * counts.sum() / (weight * counts).sum()


def loss_of(
    net: DialogueNet, tokens: Tensor, spoken: Tensor, index: Tensor, targets: Targets, weights: Mapping[str, Tensor]
) -> Tensor:
    """Of the rows ``index``: each head over the rows that it has labels of, sentiment, and whether it is English."""
    vector = net.vector(tokens, spoken)
    english = targets.english[index]
    value = net.sentiment_of(vector)
    loss = sentiment_loss(value, targets.ordinal[index], targets.score[index]).mean()
    loss = loss + ENGLISH_SHARE * functional.binary_cross_entropy_with_logits(net.english(vector)[:, 0], english)
    for head, table in targets.labels.items():
        truth = table[index]
        known = (truth != 0).any(1)
        if not known.any():
            continue
        logits, truth = net.heads[head](vector[known]), truth[known].clamp(min=0)
        share = SHARE.get(head, OTHERS_SHARE) * len(truth) / len(index)
        if head in SEVERAL:
            loss = loss + share * functional.binary_cross_entropy_with_logits(logits, truth)
        else:
            label = truth.argmax(1)
            each = functional.cross_entropy(logits, label, reduction="none", label_smoothing=0.05)
            loss = loss + share * (each * weights[head][label]).mean()
    return loss


def outputs_of(net: DialogueNet, tokenizer: WordPiece, readings: Sequence[Reading]) -> dict[str, NDArray[np.float32]]:
    """Of each reading, in their order: logits of every head, ``sentiment`` and ``english`` (a logit)."""
    net.eval()
    found: dict[str, list[Tensor]] = {}
    rows: list[int] = []
    place = {id(r): i for i, r in enumerate(readings)}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for some in batches(readings, 64):
            ids, mask, turn, current = batch(tokenizer, some)
            vector = net.vector(net(ids, mask, turn, current), net.spoken(mask, current))
            out = {head: layer(vector) for head, layer in net.heads.items()}
            out |= {"sentiment": net.sentiment_of(vector), "english": net.english(vector)[:, 0]}
            for name, value in out.items():
                found.setdefault(name, []).append(value.float())
            rows += [place[id(r)] for r in some]
    back = np.argsort(rows)
    return {name: torch.cat(values).numpy()[back] for name, values in found.items()}


FORMS: Final[Mapping[str, Mapping[str, Any]]] = {
    "": {},
    ", bare": {"as_heard": True},
    ", with errors": {"as_heard": True, "errors": 0},
    ", turns": {"turns": 6},
    ", turns, no speakers": {"turns": 6, "known": False},
    ", turns, bare": {"turns": 6, "as_heard": True, "known": False},
    ", turns, with errors": {"turns": 6, "as_heard": True, "known": False, "errors": 0},
}


def evaluate(net: DialogueNet, read: Reader, dev: Sequence[Utterance]) -> dict[str, dict[str, float]]:
    """Figures per set and form, of the heads that the device's graph holds, and of the other heads as written."""
    figures: dict[str, dict[str, float]] = {}
    for form, options in FORMS.items():
        for source in ("goemotions", "meld") if "turns" not in form else ("meld", "dailydialog"):
            rows = [r for r in dev if r.source == source and source in r.labels]
            out = outputs_of(net, read.tokenizer, read.plain(rows, **options))
            figures[f"{source} dev{form}"] = _figures(rows, source, out)
    for source in ("dailydialog", "isear", "emoevent"):
        rows = [r for r in dev if r.source == source and source in r.labels]
        figures[f"{source} dev"] = _figures(rows, source, outputs_of(net, read.tokenizer, read.plain(rows)))
    rows = [r for r in dev if r.source == "mosi"]
    guess = outputs_of(net, read.tokenizer, read.plain(rows))["sentiment"]
    truth = np.array([r.score for r in rows])
    figures["mosi dev, bare"] = {
        "mae": round(metrics.mae(truth, guess), 4),
        "correlation": round(metrics.correlation(truth, guess), 4),
        "accuracy2": round(float(((truth >= 0) == (guess >= 0)).mean()), 4),
    }
    some = dev[::4]
    said = outputs_of(net, read.tokenizer, read.plain(some, as_heard=True))["english"]
    figures["english, bare"] = {
        source: round(float((said[[r.source == source for r in some]] > 0).mean()), 4)
        for source in sorted({r.source for r in some})
    }
    return figures


def _figures(rows: Sequence[Utterance], source: str, out: Mapping[str, NDArray[np.float32]]) -> dict[str, float]:
    truth = np.array([r.labels[source][0] for r in rows])
    table = metrics.confusion(truth, out[source].argmax(1), len(HEADS[source]))
    figures = {
        "accuracy": round(metrics.accuracy(table), 4),
        "macro_f1": round(metrics.macro_f1(table), 4),
        "weighted_f1": round(metrics.weighted_f1(table), 4),
    }
    known = [i for i, r in enumerate(rows) if r.ordinal is not None]
    if known:
        order = np.digitize(out["sentiment"][known], [-0.5, 0.5])
        confusion = metrics.confusion(np.array([(rows[i].ordinal or 0) + 1 for i in known]), order, 3)
        figures["sentiment_weighted_f1"] = round(metrics.weighted_f1(confusion), 4)
    return figures


def epoch_order(rows: Sequence[Utterance], random: np.random.Generator) -> NDArray[np.int64]:
    """Each set as often as TIMES says, fractions drawn."""
    source = np.array([r.source.partition(".")[0] if r.english else "foreign" for r in rows])
    out = []
    for name, times in TIMES.items():
        of_set = random.permutation(np.flatnonzero(source == name))
        out += [of_set] * int(times) + [of_set[: round(len(of_set) * (times % 1))]]
    return np.concatenate(out)


def train(root: Path, out: Path, epochs: int = EPOCHS, seed: int = 0, wheels: Path = WHEELS) -> dict[str, Any]:
    """Train, resuming from an unfinished ``out/dialogue.pt``; returns the facts of the card (dev parts of the sets)."""
    log = Log(out / "dialogue.log")
    torch.manual_seed(seed)
    files = published(wheels / WHEEL)
    rows, dev = utterances(root, "train", tuple(TIMES)), utterances(root, "dev", tuple(TIMES))
    whole = published_vocabulary(files)
    pieces = cut_vocabulary(whole, (r.text for r in rows if r.english))
    (out / VOCABULARY).parent.mkdir(parents=True, exist_ok=True)
    (out / VOCABULARY).write_text("\n".join(pieces) + "\n", "utf-8")
    read = reader(WordPiece(pieces), confusions(r.text for r in rows if r.english))
    net = DialogueNet(len(pieces))
    ids = {piece: i for i, piece in enumerate(whole)}
    begin_with(net, files["model.safetensors"], [ids[p] for p in pieces])
    targets = targets_of(rows)
    weights = {head: weights_of(table, 0.3) for head, table in targets.labels.items()}
    old = {"words", "places", "turns", "norm", "layers"}
    rates = {name: 1.0 if name.partition(".")[0] in old else NEW for name, _ in net.named_parameters()}
    progress = begin(net, out / "dialogue.pt", epochs, RATE, AVERAGE, clip=1.0, rates=rates)
    log(f"dialogue: {len(rows)} rows, {len(pieces)} pieces, {sum(p.numel() for p in net.parameters())} weights")
    facts: dict[str, Any] = {
        "data": list(TIMES),
        "licence": "; ".join(LICENCES.get(s, "research only") for s in TIMES),
        "seed": seed,
    }
    for epoch in range(progress.resume(), epochs):
        _, random = numbers_of(seed, epoch)
        parts = batches(read.training(rows, epoch_order(rows, random), random), BATCH, random)
        progress.net.train()
        total = 0.0
        for step, some in enumerate(parts):
            x, mask, turn, current = batch(read.tokenizer, some)
            with torch.autocast("cpu", torch.bfloat16):
                tokens = progress.net(x, mask, turn, current)
            spoken = progress.net.spoken(mask, current)
            index = torch.tensor([r.row for r in some])
            loss = loss_of(progress.net, tokens.float(), spoken, index, targets, weights)
            total += progress.step(loss, (epoch + step / len(parts)) / epochs)
            if step % 200 == 199:
                log(f"step {step + 1}/{len(parts)} loss {total / (step + 1):.3f}")
        progress.save(facts, epoch + 1)
        log(f"dialogue epoch {epoch + 1}/{epochs} loss {total / len(parts):.3f}")
    facts["metrics"] = evaluate(progress.kept, read, dev)
    log(f"dialogue dev {facts['metrics']}")
    progress.save(facts, epochs)
    return facts
