"""Valence and arousal that the product publishes, on people outside the training.

Nobody rated valence or arousal of a recording at hand. What stands in for it: scores of sentiment (MOSI, MELD) for
words; for voices and faces which emotion was acted, and whether strongly. Combinations that nobody recorded jointly are
put together so that one part decides and the others are neutral: acted clips beside neutral words, scored words beside
neutral clips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration.predictions import graphs_of
from calibration.simulate_output import SETTINGS, publish
from calibration.strangers import Row, interval, interval_of
from calibration.strangers_face import answers
from edge_mer.contract.domain import EMOTIONS, NAMES, Combination, modalities_of
from edge_mer.contract.messages import Estimate
from edge_mer.fusion.affect import DIMENSIONS, LABELS, NO_VALENCE, POINTS, affect_of
from edge_mer.fusion.calibration import read, weights_of
from edge_mer.fusion.confidence import softmax
from edge_mer.fusion.model import GraphFusionModel
from edge_mer.fusion.settings import FusionSettings
from edge_mer.perception.load import load_encoder
from edge_mer.runtime.onnx import OnnxRuntime
from edge_mer.session.evaluation_metrics import correlation
from pipelines.data.corpora import ACTED, Sentence, meld, mosi, ravdess
from pipelines.data.faces import fer2013_votes
from pipelines.data.voices import DEV_FOLD, EMOTIONAL, Voice, fold_of, voices
from pipelines.encoders.shipped import FILES
from pipelines.encoders.voice_net import VoiceHead
from pipelines.fusion.scores import last_window
from pipelines.fusion.tracks import audio_track, bare_words, text_examples, text_tokens, video_track
from pipelines.fusion.windows import Example, Placed

# What a value must reach at the lower end of its interval: set before the intervals were seen.
LEAST_AUC, LEAST_CORRELATION = 0.6, 0.3
BAD: Final = ("sad", "angry", "fearful", "disgust")
HIGH: Final = ("angry", "happy", "fearful", "surprised")
LOW: Final = ("sad", "neutral", "calm")
# A strongly calm voice is not more aroused, and neutral was acted once only.
GRADED: Final = ("happy", "sad", "angry", "fearful", "disgust", "surprised")
RECORDED: Final[tuple[Combination, ...]] = ("a", "v", "av")
PUT_TOGETHER: Final[tuple[Combination, ...]] = ("at", "tv", "atv")
UNPUBLISHED: Final = f"valence by the labels, not published, happy / {', '.join(BAD)}"

Values = NDArray[np.float64]
Say = Callable[[Placed], Estimate]


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A recorded voice of a stranger to the training, with a face where the set has one."""

    voice: Voice
    example: Example


def rows(root: Path, runs: Path, models: Path) -> Iterator[Row]:
    """All rows; ``runs`` is not used: nothing is trained. The part ``voice`` has arousal of more speakers."""
    graphs = graphs_of(models)
    model = GraphFusionModel(graphs, read(models, weights_of(graphs)))
    settings = msgspec.structs.replace(SETTINGS, affect=affect_of(models, model.encoders))
    known, others = clips(root, models)
    scored, told = (texts(models, some) for some in (mosi(root, "dev"), meld(root, "dev")))
    say, plainly = (_say(model, s) for s in (settings, msgspec.structs.replace(settings, affect=LABELS)))
    yield from of_words(say, scored, told)
    yield from of_faces(root, models)
    for c in RECORDED:
        yield from of_acted(c, known, [say(_some(c, clip.example)) for clip in known])
    by_labels = [plainly(_some("a", k.example)).arousal for k in known]
    yield degree("a, of the labels alone", [k.voice for k in known], by_labels)
    abroad = [say(last_window(clip.example)) for clip in others]
    yield from of_acted("a, other corpora", others, abroad)
    labels = [_point(b) for b in abroad]
    yield parted(f"a, other corpora: {UNPUBLISHED}", [k.voice for k in others], labels, ("happy",), BAD)
    quiet = [e for e in told if EMOTIONS[e.emotion] == "neutral" and e.ordinal == 0]
    still = [k.example for k in known if k.voice.label == "neutral"]
    for c in PUT_TOGETHER:
        acted = [say(p) for p in beside(c, [k.example for k in known], quiet)]
        yield from of_acted(f"{c}, neutral words", known, acted)
        found = [say(p) for p in beside(c, still, scored, by_text=True)]
        yield related(f"{c}, neutral clip: valence, MOSI", found, [e.score for e in scored], scored)


def _say(model: GraphFusionModel, settings: FusionSettings) -> Say:
    return lambda placed: publish(model, placed, settings)


def clips(root: Path, models: Path) -> tuple[list[Clip], list[Clip]]:
    """Dev speakers, through the encoder of the device: of RAVDESS with their faces, and of other acted corpora."""
    encoder, faces = load_encoder("audio", OnnxRuntime(), models), {c.path: c for c in ravdess(root, "dev")}
    everyone = voices(root)
    known, others = list[Clip](), list[Clip]()
    for v, fold in zip(everyone, fold_of(everyone), strict=True):
        if fold != DEV_FOLD or v.corpus not in EMOTIONAL:
            continue
        heard = audio_track(encoder, v.samples())
        if v.corpus == "ravdess":
            known.append(Clip(v, Example({"audio": heard, "video": video_track(faces[v.path])})))
        elif heard.valid.any():
            others.append(Clip(v, Example({"audio": heard})))
    return known, others


def texts(models: Path, sentences: Sequence[Sentence]) -> list[Example]:
    return text_examples(text_tokens(load_encoder("text", OnnxRuntime(), models), bare_words(sentences)), sentences)


def _some(c: Combination, clip: Example) -> Placed:
    return {m: place for m, place in last_window(clip).items() if m in modalities_of(c)}


def beside(
    c: Combination, recorded: Sequence[Example], words: Sequence[Example], by_text: bool = False
) -> Iterator[Placed]:
    """Each clip with random words that end half a second before it; ``by_text``: all words, each with a random clip."""
    random = np.random.default_rng(0)
    for one in words if by_text else recorded:
        clip = recorded[int(random.integers(len(recorded)))] if by_text else one
        text = one if by_text else words[int(random.integers(len(words)))]
        yield {**_some(c, clip), "text": (text.tracks["text"], 0.5)}


def of_words(say: Say, scored: Sequence[Example], told: Sequence[Example]) -> Iterator[Row]:
    """Words alone: beside the scores of people, and what the labels would give."""
    for name, some, truth in (
        ("MOSI", scored, [e.score for e in scored]),
        ("MELD, negative to positive", told, [float(e.ordinal) for e in told]),
    ):
        found = [say({"text": (e.tracks["text"], 0.0)}) for e in some]
        yield related(f"t: valence, {name}", found, truth, some)
        yield _related("the same, of the labels alone", [_point(b) for b in found], truth, some, judged=False)


def of_faces(root: Path, models: Path) -> Iterator[Row]:
    """The face encoder on pictures of FER2013's PublicTest, beside the mean point of what ten people saw (FERPlus)."""
    faces = fer2013_votes(root, "dev")
    seen, told = answers(OnnxRuntime().load(models / FILES["video"]), faces.images), faces.votes.sum(1) > 0
    asked = np.flatnonzero(seen.valid & told)
    for name in DIMENSIONS:
        points = np.array(getattr(LABELS, name))
        found, truth = (some[asked] @ points for some in (seen.votes, faces.votes))
        n = f"{len(asked)} of {told.sum()}"
        yield correlated(f"face alone: {name} of ten people's votes", found, truth, asked.astype(str).tolist(), n)


def _point(body: Estimate) -> float | None:
    """Valence by the probabilities, where any is published."""
    if body.valence is None and body.valence_reason != NO_VALENCE:
        return None
    return sum((body.probabilities or {})[e] * p for e, p in zip(EMOTIONS, LABELS.valence, strict=True))


def related(what: str, found: Sequence[Estimate], truth: Sequence[float], of: Sequence[Example]) -> Row:
    """The correlation of valence with a score."""
    return _related(what, [body.valence for body in found], truth, of)


def _related(
    what: str, values: Sequence[float | None], truth: Sequence[float], of: Sequence[Example], judged: bool = True
) -> Row:
    given = [i for i, v in enumerate(values) if v is not None]
    found, scores = (np.array([some[i] for i in given], np.float64) for some in (values, truth))
    groups = [of[i].group for i in given]
    return correlated(what, found, scores, groups, _count(given, len(values), groups), judged)


def correlated(what: str, found: Values, truth: Values, groups: Sequence[str], n: str, judged: bool = True) -> Row:
    value, low, high = interval_of(lambda rows: correlation(truth[rows], found[rows]), groups)
    wanted, reached = (f"> {LEAST_CORRELATION} at the lower end", low > LEAST_CORRELATION) if judged else ("", None)
    return Row(f"{what}: correlation", value, low, high, n, wanted, reached)


def of_acted(what: str, clips: Sequence[Clip], found: Sequence[Estimate]) -> Iterator[Row]:
    """How well happy is told from bad by valence where a face gives it, and high from low by arousal; strong from
    normal in one emotion."""
    voices = [clip.voice for clip in clips]
    if any("v" in b.combination for b in found):
        yield parted(f"{what}: valence, happy / {', '.join(BAD)}", voices, [b.valence for b in found], ("happy",), BAD)
    yield from aroused(what, voices, [b.arousal for b in found])


def arousal_of(head: VoiceHead, logits: Values) -> list[float]:
    """The arousal of each voice by the logits [n, 8] of its mean token, to which ``head`` has added its prior."""
    points = [POINTS[NAMES.get(name, name)][1] for name in ACTED]
    found: list[float] = (softmax(logits - head.prior.numpy()) @ points).tolist()
    return found


def aroused(what: str, voices: Sequence[Voice], arousal: Sequence[float | None]) -> Iterator[Row]:
    """How well arousal tells emotions apart, and where it was acted how strongly one is expressed."""
    yield parted(f"{what}: arousal, {', '.join(HIGH)} / {', '.join(LOW)}", voices, arousal, HIGH, LOW)
    if any(v.strong for v in voices):
        yield degree(what, voices, arousal)


def parted(
    what: str, voices: Sequence[Voice], values: Sequence[float | None], above: Sequence[str], below: Sequence[str]
) -> Row:
    """The share of pairs in which the clip of ``above`` has the higher value (AUC)."""
    asked = [i for i, v in enumerate(voices) if v.label in (*above, *below)]
    given = [i for i in asked if values[i] is not None]
    value = np.array([values[i] for i in given], np.float64)
    is_above = np.array([voices[i].label in above for i in given])
    speakers = [voices[i].speaker for i in given]
    figure, low, high = interval_of(lambda rows: auc(value[rows], is_above[rows]), speakers)
    n = _count(given, len(asked), speakers)
    return Row(f"{what}: AUC", figure, low, high, n, f"> {LEAST_AUC} at the lower end", low > LEAST_AUC)


def degree(what: str, voices: Sequence[Voice], arousal: Sequence[float | None]) -> Row:
    """The AUC of strong against normal, within one emotion of one speaker, on average."""
    cells: dict[tuple[str, str], list[tuple[float, bool]]] = {}
    for v, value in zip(voices, arousal, strict=True):
        if v.label in GRADED and value is not None:
            cells.setdefault((v.speaker, v.label), []).append((value, v.strong))
    both = {k: c for k, c in cells.items() if {strong for _, strong in c} == {True, False}}
    each = [auc(np.array([x for x, _ in c]), np.array([s for _, s in c])) for c in both.values()]
    speakers = [speaker for speaker, _ in both]
    figure, low, high = interval(np.array(each), speakers)
    n = f"{sum(map(len, both.values()))} ({len(set(speakers))})"
    wanted = f"> {LEAST_AUC} at the lower end"
    return Row(f"{what}: arousal, strong / normal of one emotion: AUC", figure, low, high, n, wanted, low > LEAST_AUC)


def auc(values: Values, above: NDArray[np.bool_]) -> float:
    """The share of pairs of one ``above`` and one other in which the former is higher; a tie is half. NaN without."""
    if above.all() or not above.any():
        return float("nan")
    apart = values[above][:, None] - values[~above]
    return float((np.sign(apart) / 2 + 0.5).mean())


def _count(given: Sequence[int], asked: int, groups: Sequence[str]) -> str:
    """How many values of how many there were, and the speakers or videos of them."""
    return f"{len(given)} of {asked} ({len(set(groups))})"
