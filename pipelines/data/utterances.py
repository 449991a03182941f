"""Texts of all sets with what their annotators said, each set by its own labels, and with the turns before them.

No text of four words or more that equals one of a dev part (letters and digits alone, whatever the set) is in train;
shorter ones are everybody's ("okay, thank you"). TweetEval is left out: its texts are SemEval's.
"""

from __future__ import annotations

import ast
import csv
import gzip
import hashlib
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Final

from edge_mer.contract.domain import EMOTIONS
from pipelines.data.corpora import FINE, LABEL, ORDINAL, DataError, Split, goemotions, mosi, unquoted

# More turns than this before an utterance are never read.
TURNS: Final = 6
HELD_OUT: Final = 10  # percent of the groups of a set without a dev part of its own
# What is said out of politeness is hardly positive, whatever it was labelled.
POLITE: Final = re.compile(
    r"(oh|okay|ok|yes|yeah|well|hey|no)?\W*((i'?m|i am) )?(so |very )?(thank you|thanks|thank u|please|sorry|excuse me"
    r"|you'?re welcome|hello|hi|hey|good (morning|evening|night)|goodbye|bye)( so| very)?( much)?( sir| guys)?\W*",
    re.IGNORECASE,
)
POLITE_SCORE: Final = 0.4
# Never trained on: whether a language that was not seen is found to be foreign too.
UNSEEN_LANGUAGES: Final = ("pl", "tr")
FOREIGN_SHARE: Final = 8  # one in so many foreign lines is trained on

_EKMAN: Final = tuple(EMOTIONS)
# Of each set its labels; a name in brackets: several can hold at once.
HEADS: Final[Mapping[str, tuple[str, ...]]] = {
    "goemotions": _EKMAN,
    "meld": _EKMAN,
    "fine": FINE,
    "dailydialog": ("no_emotion", "happiness", "surprise", "sadness", "anger", "fear", "disgust"),
    "emorynlp": ("Neutral", "Joyful", "Peaceful", "Powerful", "Scared", "Mad", "Sad"),
    "isear": ("joy", "fear", "anger", "sadness", "disgust", "shame", "guilt"),
    "semeval": (
        "anger",
        "anticipation",
        "disgust",
        "fear",
        "joy",
        "love",
        "optimism",
        "pessimism",
        "sadness",
        "surprise",
        "trust",
    ),
    "emoevent": ("anger", "disgust", "fear", "joy", "sadness", "surprise", "others"),
    "xed": ("anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust", "neutral"),
}
SEVERAL: Final = frozenset({"fine", "semeval", "xed"})


@dataclass(frozen=True, slots=True)
class Turn:
    """What was said before; ``same``: by the speaker of the utterance that it stands before."""

    text: str
    same: bool


@dataclass(frozen=True, slots=True)
class Utterance:
    """``labels``: of each head that has an opinion the indices of its labels. ``ordinal``, ``score``, ``group`` as in
    corpora.Sentence; ``before``: earlier turns, the newest first. ``english`` is False for other languages."""

    text: str
    source: str
    group: str
    labels: Mapping[str, tuple[int, ...]]
    ordinal: int | None = None
    score: float = math.nan
    before: tuple[Turn, ...] = ()
    english: bool = True


Row = Mapping[str, str]


def utterances(root: Path, split: Split, sources: Sequence[str] | None = None) -> list[Utterance]:
    """All texts of ``split``, of ``sources`` alone where given. Raises DataError when a set is absent."""
    rows = [row for source in sources or READERS for row in READERS[source](root, split)]
    if split == "dev":
        return rows
    rows = [_polite(row) for row in rows]
    kept_apart = {key for source in READERS for row in READERS[source](root, "dev") if (key := _key(row.text))}
    return [
        replace(row, before=tuple(t for t in row.before if _key(t.text) not in kept_apart))
        for row in rows
        if _key(row.text) not in kept_apart
    ]


def _key(text: str) -> str | None:
    """Letters and digits of a text of four words or more."""
    words = re.findall(r"\w+", re.sub(r"@\w+|https?://\S+", " ", text).lower().replace("_", ""))
    return " ".join(words) if len(words) > 3 else None


def _polite(row: Utterance) -> Utterance:
    if row.ordinal is not None and row.ordinal >= 0 and POLITE.fullmatch(row.text):
        return replace(row, ordinal=None, score=POLITE_SCORE)
    return row


def _comments(root: Path, split: Split) -> list[Utterance]:
    return [
        Utterance(
            s.text,
            s.source,
            s.group,
            {"goemotions": (s.emotion,), "fine": tuple(FINE.index(f) for f in s.fine)},
            s.ordinal,
        )
        for s in goemotions(root, split)
    ]


def _reviews(root: Path, split: Split) -> list[Utterance]:
    return [Utterance(s.text.lower(), s.source, s.group, {}, None, s.score) for s in mosi(root, split)]


def _meld(root: Path, split: Split) -> list[Utterance]:
    rows = _table(root / "meld_text" / f"{split}_sent_emo.csv", "Utterance", "Speaker", "Emotion", "Dialogue_ID")
    return _dialogues(
        "meld",
        rows,
        group=lambda r: r["Dialogue_ID"],
        speaker=lambda r: r["Speaker"],
        text=lambda r: unquoted(r["Utterance"]),
        labels=lambda r: (_EKMAN.index(LABEL[r["Emotion"]]),),
        ordinal=lambda r: ORDINAL[r["Sentiment"]],
    )


def _emory(root: Path, split: Split) -> list[Utterance]:
    rows = _table(root / "text_dialogue" / f"emorynlp_{split}.csv.gz", "Utterance", "Speaker", "Emotion", "Scene_ID")
    names = HEADS["emorynlp"]
    return _dialogues(
        "emorynlp",
        [r for r in rows if split == "dev" or "dev" not in r["in_meld"]],
        group=lambda r: f"{r['Season']}.{r['Episode']}.{r['Scene_ID']}",
        speaker=lambda r: str(ast.literal_eval(r["Speaker"])),
        text=lambda r: unquoted(r["Utterance"]),
        labels=lambda r: (names.index(r["Emotion"]),),
    )


def _daily(root: Path, split: Split) -> list[Utterance]:
    names = HEADS["dailydialog"]
    rows = [
        row
        for name in ("dailydialog_valid", "reccon_dailydialog")
        for row in _table(root / "text_dialogue" / f"{name}.csv.gz", "dialogue", "speaker", "text", "emotion")
        if _part(row["dialogue"]) == split
    ]
    return _dialogues(
        "dailydialog",
        rows,
        group=lambda r: r["dialogue"],
        speaker=lambda r: r["speaker"],
        text=lambda r: r["text"],
        labels=lambda r: (names.index(r["emotion"]),) if r["emotion"] in names else (),
    )


def _isear(root: Path, split: Split) -> list[Utterance]:
    names = HEADS["isear"]
    return [
        Utterance(r["text"], "isear", f"isear {r['subject']}", {"isear": (names.index(r["emotion"]),)})
        for r in _table(root / "text_social" / "isear.csv.gz", "subject", "emotion", "text")
        if _part(r["subject"]) == split
    ]


def _semeval(root: Path, split: Split) -> list[Utterance]:
    rows = _table(root / "text_social" / f"semeval2018_ec_en_{split}.csv.gz", "text", "emotions")
    return [
        Utterance(r["text"], "semeval", f"semeval {i}", {"semeval": _several("semeval", r["emotions"])})
        for i, r in enumerate(rows)
    ]


def _emoevent(root: Path, split: Split) -> list[Utterance]:
    rows = _table(root / "text_social" / f"emoevent_en_{split}.csv.gz", "id", "tweet", "emotion")
    names = HEADS["emoevent"]
    return [
        Utterance(r["tweet"], "emoevent", f"emoevent {r['id']}", {"emoevent": (names.index(r["emotion"]),)})
        for r in rows
    ]


def _subtitles(root: Path, split: Split) -> list[Utterance]:
    rows = _table(root / "text_xed" / "xed_en.csv.gz", "text", "emotions")
    return [
        Utterance(text, "xed", f"xed {i}", {"xed": _several("xed", r["emotions"])})
        for i, r in enumerate(rows)
        if _part(text := _named(r["text"])) == split
    ]


def _foreign(root: Path, split: Split) -> list[Utterance]:
    """Lines of other languages, without labels: an eighth of train; the unseen languages are in dev alone."""
    rows = _table(root / "text_xed" / "xed_multi.csv.gz", "lang", "text")
    kept = []
    for i, row in enumerate(rows):
        language, text = row["lang"], _named(row["text"])
        part: Split = "dev" if language in UNSEEN_LANGUAGES else _part(text)
        if part == split and (i % FOREIGN_SHARE == 0):
            kept.append(Utterance(text, f"xed.{language}", f"xed.{language} {i}", {}, english=False))
    return kept


READERS: Final[Mapping[str, Callable[[Path, Split], list[Utterance]]]] = {
    "goemotions": _comments,
    "meld": _meld,
    "mosi": _reviews,
    "emorynlp": _emory,
    "dailydialog": _daily,
    "isear": _isear,
    "semeval": _semeval,
    "emoevent": _emoevent,
    "xed": _subtitles,
    "foreign": _foreign,
}


def _dialogues(
    source: str,
    rows: Sequence[Row],
    group: Callable[[Row], str],
    speaker: Callable[[Row], str],
    text: Callable[[Row], str],
    labels: Callable[[Row], tuple[int, ...]],
    ordinal: Callable[[Row], int | None] = lambda r: None,
) -> list[Utterance]:
    """Rows in the order of their dialogues, each with the turns before it."""
    out = []
    for name, turns in groupby(rows, group):
        said: list[tuple[str, str]] = []
        for row in turns:
            before = tuple(Turn(t, who == speaker(row)) for who, t in reversed(said[-TURNS:]))
            given = {source: labels(row)} if labels(row) else {}
            out.append(Utterance(text(row), source, f"{source} {name}", given, ordinal(row), before=before))
            said.append((speaker(row), text(row)))
    return out


def _several(head: str, names: str) -> tuple[int, ...]:
    return tuple(HEADS[head].index(name) for name in names.split() if name in HEADS[head])


def _named(text: str) -> str:
    """The subtitles' placeholders as a word that anybody could say."""
    return text.replace("[PERSON]", "john").replace("[LOCATION]", "london")


def _part(key: str) -> Split:
    """By hash, so that a group stays where it is when others are added."""
    return "dev" if int(hashlib.sha256(key.encode()).hexdigest(), 16) % 100 < HELD_OUT else "train"


def _table(path: Path, *needed: str) -> list[Row]:
    if not path.is_file():
        raise DataError(f"{path} is absent; its folder's README names the source and the conversion")
    content = path.read_bytes()
    stream = io.StringIO((gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8"), newline="")
    reader = csv.DictReader(stream)
    if absent := set(needed) - set(reader.fieldnames or ()):
        raise DataError(f"{path} lacks the columns {', '.join(sorted(absent))}; compare SHA256SUMS")
    rows: Iterator[Row] = iter(reader)
    return list(rows)
