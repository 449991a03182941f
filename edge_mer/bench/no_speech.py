"""Words that recognisers write where nobody speaks: ``python -m edge_mer.bench.no_speech FOLDER [ENGINE[=MODEL] ...]``.

FOLDER holds sounds (searched recursively). Each is cut into segments as it is live; every segment is transcribed and
printed with what the guard of edge_mer.capture.asr.guard judges by. With ``--whole`` a sound is one segment, which is
what a recogniser sees when voice activity detection fails.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_mer.bench.recognition import ENGINES, samples
from edge_mer.capture.asr.guard import compression, doubt, plain
from edge_mer.capture.asr.recogniser import Choice, Recogniser, load
from edge_mer.capture.asr.segmenter import CHUNK, Begin, End, SegmentAudio, Segmenter
from edge_mer.contract.raw import WordTime
from edge_mer.contract.recognisers import RECOGNISERS
from edge_mer.perception.speech import PackagedVad

SOUNDS: Final = (".flac", ".mp3", ".ogg", ".opus", ".wav")


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """int16 [n], and how many chunks of it hold speech."""

    sound: NDArray[np.int16]
    voiced: int


def segments(sound: NDArray[np.int16]) -> Iterator[Cut]:
    """As the transcript's process cuts the microphone's sound."""
    segmenter = Segmenter(PackagedVad())
    state, events = segmenter.step(segmenter.initial(), 0, sound)
    parts: list[NDArray[np.int16]] = []
    for event in (*events, End(cut=False, voiced=state.voiced)):
        if isinstance(event, Begin):
            parts = []
        elif isinstance(event, SegmentAudio):
            parts.append(event.samples)
        elif parts:
            yield Cut(np.concatenate(parts), event.voiced)
            parts = []


def transcribed(recogniser: Recogniser, sound: NDArray[np.int16]) -> tuple[tuple[WordTime, ...], float | None]:
    recogniser.begin()
    for start in range(0, len(sound), CHUNK):
        recogniser.feed(sound[start : start + CHUNK].tobytes())
    return recogniser.end(), getattr(recogniser, "confidence", None)


def measure(folder: Path, engines: Sequence[str], whole: bool) -> None:
    """Print one line for each segment with words, then what was written twice or more, and the shares."""
    clips = {path: samples(path) for path in sorted(folder.rglob("*")) if path.suffix in SOUNDS}
    cuts = [(p, c) for p, sound in clips.items() for c in ([Cut(sound, 0)] if whole else segments(sound))]
    for engine in engines:
        name, _, model = engine.partition("=")
        recogniser, texts, kept = load(Choice(name, model or None)), Counter[str](), 0
        for path, cut in cuts:
            words, sure = transcribed(recogniser, cut.sound)
            text = " ".join(word.text for word in words)
            if not words:
                continue
            reason = doubt(text, cut.voiced, sure, RECOGNISERS[name].least_confidence)
            texts[plain(text)] += 1
            kept += reason is None
            figures = f"voiced {cut.voiced} of {len(cut.sound) // CHUNK}, sure {-1 if sure is None else sure:.3f}"
            print(
                f"{engine}\t{path.name}\t{figures}, ratio {compression(text):.2f}\t{reason or 'kept'}\t{text}",
                flush=True,
            )
        print(f"{engine}: {len(clips)} sounds, {len(cuts)} segments, {texts.total()} with words, {kept} kept")
        print(f"{engine}: written twice or more: {[pair for pair in texts.most_common() if pair[1] > 1]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m edge_mer.bench.no_speech", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("engines", nargs="*", default=list(ENGINES), help=f"default: {', '.join(ENGINES)}")
    parser.add_argument("--whole", action="store_true", help="without voice activity detection")
    arguments = parser.parse_args()
    measure(arguments.folder, arguments.engines, arguments.whole)


if __name__ == "__main__":
    main()
