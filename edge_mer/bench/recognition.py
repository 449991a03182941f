"""Word error rate and cost of recognisers: ``python -m edge_mer.bench.recognition FOLDER [ENGINE[=MODEL] ...]``.

FOLDER is the speech_clips set of ../shared/data, whose README holds the transcripts. Every engine that loads is
measured, one clip after the other as one segment each, on one thread; CPU time includes the model's threads.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from edge_mer.bench.result import Figure, table
from edge_mer.capture.asr.recogniser import Choice, Recogniser, load
from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.raw import SAMPLE_RATE

ENGINES: Final = ("pocketsphinx", "faster-whisper=whisper-tiny.en", "faster-whisper=whisper-base")
WER, REAL_TIME = 0.08, 1.0
KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "all": ("",),
    "read": ("librivox", "jfk", "sb_"),
    "emotional": ("crema",),
}
# Where the set's own transcripts are wrong (its README says so), what is said.
CORRECTED: Final[Mapping[str, str]] = {
    "drop the tue when you add the figures": "drop the two when you add the figures",
    "we are sure that one wore is enough": "we are sure that one war is enough",
    "tear thin sheep from the other pat": "tear thin sheets from the yellow pad",
    "ken pairs lack full flavor": "jump the fence and hurry up the bank",
}


def transcripts(readme: str) -> dict[str, str]:
    """What is said in each clip, from the table of the set's README."""
    found: dict[str, str] = {}
    for line in readme.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) < 2 or not re.match(r"[a-z]+[_.]", cells[0]):
            continue
        name, said = cells[0].split()[0], cells[1]
        if name.startswith("sb_"):
            for speaker, part in enumerate(re.split(r";?\s*[12]: ", said)[1:], 1):
                for sentence, text in enumerate(part.split(" / "), 1):
                    if not text.startswith("("):
                        found[f"sb_spk{speaker}_snt{sentence}.wav"] = text.strip()
        elif name.startswith("crema"):
            for emotion in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"):
                found[f"crema_1002_DFA_{emotion}_XX.wav"] = said.partition(";")[0]
        elif not said.startswith("none"):
            found[name] = said
    return {name: CORRECTED.get(text, text) for name, text in found.items()}


def normal(text: str) -> list[str]:
    """Words without case and punctuation."""
    plain = re.sub(r"[^a-z0-9' ]+", " ", text.lower().replace("\u2019", "'"))
    return ["mister" if word == "mr" else word for word in plain.split()]


def errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Words to replace, drop or add (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def samples(path: Path) -> NDArray[np.int16]:
    """int16 [n] at 16 kHz mono."""
    resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE)
    with av.open(str(path)) as container:
        parts = [f.to_ndarray()[0] for frame in container.decode(audio=0) for f in resampler.resample(frame)]
    parts += [f.to_ndarray()[0] for f in resampler.resample(None)]
    return np.concatenate(parts).astype(np.int16)


def heard_by(recogniser: Recogniser, sound: NDArray[np.int16]) -> str:
    recogniser.begin()
    for start in range(0, len(sound), 512):
        recogniser.feed(sound[start : start + 512].tobytes())
    return " ".join(word.text for word in recogniser.end())


def measure(folder: Path, engines: Sequence[str] = ENGINES) -> list[Figure]:
    """Figures of each engine (``NAME`` or ``NAME=MODEL``); one that does not load is left out, with the reason."""
    said = {name: normal(text) for name, text in transcripts((folder / "README.md").read_text("utf-8")).items()}
    clips = {name: samples(folder / name) for name in said}
    silence = np.random.default_rng(0).normal(0, 30, 4 * SAMPLE_RATE).astype(np.int16)
    seconds = sum(len(clip) for clip in clips.values()) / SAMPLE_RATE
    figures: list[Figure] = []
    for engine in engines:
        name, _, model = engine.partition("=")
        try:
            recogniser = load(Choice(name, model or None))
        except EdgeMerError as error:
            figures.append(Figure(f"{engine} not measured", float("nan"), "", None, str(error)))
            continue
        heard_by(recogniser, silence)
        wall, cpu = time.perf_counter(), time.process_time()
        wrong = {clip: errors(said[clip], normal(heard_by(recogniser, sound))) for clip, sound in clips.items()}
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        for kind, starts in KINDS.items():
            some = [clip for clip in said if clip.startswith(starts)]
            words = sum(len(said[clip]) for clip in some)
            rate = sum(wrong[clip] for clip in some) / words
            target = WER if kind == "all" else None
            figures.append(Figure(f"{engine} word error rate, {kind}", rate, "", target, f"{words} words"))
        figures += [
            Figure(f"{engine} CPU time per second of sound", cpu / seconds, "s", REAL_TIME, f"{seconds:.0f} s"),
            Figure(f"{engine} time per second of sound", wall / seconds, "s", None, "others on this machine included"),
            Figure(f"{engine} words in 4 s of noise", len(heard_by(recogniser, silence).split()), "", 0),
        ]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m edge_mer.bench.recognition", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("engines", nargs="*", default=list(ENGINES), help=f"default: {', '.join(ENGINES)}")
    arguments = parser.parse_args()
    print("\n".join(table(measure(arguments.folder, arguments.engines))))


if __name__ == "__main__":
    main()
