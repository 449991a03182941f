"""Right, wrong and withheld labels on clips, with words and without: ``python -m calibration.clips [ENGINE ...]``.

Every clip repeats for ``SECONDS`` through the whole chain (``edge_mer.bench.in_memory``), once without words and once
with those of each recogniser. Truth is the intended emotion, and neutral for people who read aloud; first estimates
count. Windows with words alone, which have no counterpart without words, are rows of their own. Writes the section
Clips of ``calibration/RESULTS.md``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

from calibration import report
from edge_mer.bench.in_memory import InMemoryChain
from edge_mer.bench.recognition import samples
from edge_mer.capture.asr.recogniser import Choice, Recogniser, load
from edge_mer.config import Config
from edge_mer.contract.domain import Emotion
from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.messages import Estimate
from edge_mer.contract.raw import SAMPLE_RATE
from pipelines.data.corpora import DEFAULT_ROOT, LABEL
from pipelines.data.voices import voices

ENGINES: Final = ("pocketsphinx", "faster-whisper=whisper-tiny.en")
OFF: Final = "words off"
ALONE: Final = "words alone, all clips"
SECONDS: Final = 16.0
BLOCK: Final = 512
CREMA: Final[dict[str, Emotion]] = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
ACTORS: Final = ("ravdess 17", "ravdess 18")
READERS: Final = ("jfk.flac", "librivox_*.wav", "sb_spk?_snt[1-3].wav")


@dataclass(frozen=True, slots=True)
class Clip:
    """A file with one voice, and a face if ``video``, of which ``truth`` is true throughout."""

    path: Path
    truth: Emotion
    group: str
    video: bool = False


def clips(root: Path) -> Iterator[Clip]:
    """Raises DataError where a set is missing. No net was trained on any of these speakers."""
    speech = root / "speech_clips"
    for code, truth in CREMA.items():
        yield Clip(root / "av_clips" / f"1001_DFA_{code}_XX.flv", truth, "face and voice, CREMA-D actor 1001", True)
    for code, truth in CREMA.items():
        yield Clip(speech / f"crema_1002_DFA_{code}_XX.wav", truth, "voice, CREMA-D actor 1002")
    acted = {(v.speaker, v.label): v for v in reversed(voices(root, ("ravdess",))) if v.speaker in ACTORS}
    for (_, label), voice in sorted(acted.items()):
        if label != "calm":
            yield Clip(voice.path, LABEL[label], "voice, RAVDESS actors 17 and 18")
    for path in sorted(chain.from_iterable(speech.glob(pattern) for pattern in READERS)):
        yield Clip(path, "neutral", "voice, people who read aloud")


@dataclass
class Tally:
    """First estimates of windows in which something was used. ``likeliest``: how many had the truth on top."""

    right: int = 0
    wrong: int = 0
    withheld: int = 0
    likeliest: int = 0

    @property
    def windows(self) -> int:
        return self.right + self.wrong + self.withheld

    def add(self, estimate: Estimate, truth: Emotion) -> None:
        if estimate.probabilities is None:
            return
        kind = "withheld" if estimate.label is None else "right" if estimate.label == truth else "wrong"
        setattr(self, kind, getattr(self, kind) + 1)
        self.likeliest += max(estimate.probabilities, key=estimate.probabilities.__getitem__) == truth

    def row(self) -> list[str]:
        count = max(1, self.windows)
        shares = (self.right, self.wrong, self.withheld, self.likeliest, self.right - self.wrong)
        return [*(f"{share / count:.2f}" for share in shares), str(self.windows)]


def transcript(recogniser: Recogniser, path: Path) -> dict[str, Any]:
    """What ``recogniser`` hears in one playing of the clip, as a recorded transcript."""
    sound = samples(path)
    duration_s = len(sound) / SAMPLE_RATE
    recogniser.begin()
    for start in range(0, len(sound), BLOCK):
        recogniser.feed(sound[start : start + BLOCK].tobytes())
    words = [(w.text, min(w.start_us / 1e6, duration_s), min(w.end_us / 1e6, duration_s)) for w in recogniser.end()]
    return {"schema": "edge_mer.transcript/1", "duration_s": duration_s, "segments": [{"words": words}]}


def play(clip: Clip, words: dict[str, Any] | None, place: Path) -> list[Estimate]:
    """The first estimates of ``SECONDS`` of the clip, which repeats, with recorded ``words`` or none."""
    state = place / "state"
    state.mkdir(mode=0o700)
    text: dict[str, str] = {"source": "off"}
    if words is not None:
        (place / "words.json").write_text(json.dumps(words), "utf-8")
        text = {"source": "recorded", "path": str(place / "words.json")}
    config = {
        "audio": {"source": "file"},
        "video": {"source": "file", "live": False} if clip.video else {"source": "off"},
        "text": text,
        "file": {"path": str(clip.path), "loop": True},
        "privacy": {"state": str(state)},
    }
    played = InMemoryChain(Config.model_validate(config))
    reader = played.bus().reader("emotion")
    first: dict[int, Estimate] = {}

    def read() -> None:
        for message in reader.drain():
            first.setdefault(message.envelope.origin_us, message.body)

    played.run(SECONDS, read)
    return list(first.values())


def measure(some: Sequence[Clip], engines: Sequence[str]) -> dict[tuple[str, str], Tally]:
    """By group of clips and kind of words. Raises EdgeMerError where a recogniser does not load."""
    recognisers = {engine: load(_choice(engine)) for engine in engines}
    found: dict[tuple[str, str], Tally] = {}
    for clip in some:
        for mode in (OFF, *engines):
            words = transcript(recognisers[mode], clip.path) if mode in recognisers else None
            with tempfile.TemporaryDirectory(prefix="em") as place:
                estimates = play(clip, words, Path(place))
            for estimate in estimates:
                group = ALONE if estimate.combination == "t" else clip.group
                found.setdefault((group, mode), Tally()).add(estimate, clip.truth)
            labels = Counter(e.label or e.abstain for e in estimates)
            print(f"{clip.path.name} ({clip.truth}), {mode}: {dict(labels.most_common(3))}", flush=True)
    return found


def _choice(engine: str) -> Choice:
    name, _, model = engine.partition("=")
    return Choice(name, model or None)


def markdown(found: dict[tuple[str, str], Tally]) -> str:
    head = ("clips", "words", "right", "wrong", "no label", "likeliest is right", "right minus wrong", "windows")
    return report.table(head, [[group, mode, *tally.row()] for (group, mode), tally in found.items()])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m calibration.clips",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("engines", nargs="*", default=list(ENGINES), help=f"default: {' '.join(ENGINES)}")
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--report", type=Path, default=report.FILE)
    arguments = parser.parse_args()
    try:
        found = measure(list(clips(arguments.data)), arguments.engines)
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error
    text = f"`python -m calibration.clips`\n\n{markdown(found)}"
    report.section(arguments.report, "Clips", text)
    print(text)


if __name__ == "__main__":
    main()
