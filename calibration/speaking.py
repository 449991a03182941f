"""Who speaks: whether a voice is given to the right person, to nobody, or to a wrong one.

``python -m calibration.speaking`` writes the section Who speaks of RESULTS.md.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from calibration import report
from calibration.people_scenes import Actor, Role, Scene, at, hushed, silent, talking
from edge_mer.contract.errors import EdgeMerError
from edge_mer.contract.people import OFF_SCREEN, MouthOpening
from edge_mer.fusion import speaking
from edge_mer.fusion.speaking import VoiceState
from edge_mer.perception.encoder import SAMPLE_RATE, AudioBlock
from edge_mer.perception.load import load_encoder
from edge_mer.perception.loudness import LoudnessEncoder
from edge_mer.perception.people import PeopleEncoder
from edge_mer.perception.person import PeopleState
from edge_mer.perception.yunet_detector import detector
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.data.corpora import DEFAULT_ROOT
from pipelines.encoders.shipped import MODELS

HOP_US: Final = 500_000
SECONDS: Final = 8.0
KINDS: Final = {
    "speaker beside somebody silent": "one mouth moves, and its voice is heard",
    "speaker beside somebody who moves": "another mouth moves to nothing",
    "turns": "two mouths move; one voice is heard, half-way the other",
    "off screen, all silent": "a voice of nobody in view",
    "off screen, somebody moves": "a voice of nobody in view, and a mouth that moves to nothing",
    "off screen, all speak": "a voice of nobody in view, and two mouths that speak",
    "alone": "one person, who speaks",
    "alone, off screen": "one silent person, and a voice of nobody in view",
}


def scenes(talkers: Sequence[Actor], moving: Sequence[Actor]) -> Iterator[Scene]:
    whole = ((0.0, SECONDS),)
    for seed, (one, mover) in enumerate(zip(talkers, cycle(moving), strict=False)):
        two, three = (talkers[(seed + step) % len(talkers)] for step in (1, 3))
        quiet, left, right = hushed(three), at(0.3), at(0.7)
        half = SECONDS / 2
        casts: dict[str, tuple[tuple[Role, ...], Actor | None]] = {
            "speaker beside somebody silent": ((Role(one, left, speaks=whole), Role(quiet, right)), None),
            "speaker beside somebody who moves": ((Role(one, left, speaks=whole), Role(mover, right)), None),
            "turns": ((Role(one, left, speaks=((0, half),)), Role(two, right, speaks=((half, SECONDS),))), None),
            "off screen, all silent": ((Role(hushed(two), left), Role(quiet, right)), one),
            "off screen, somebody moves": ((Role(mover, left), Role(quiet, right)), one),
            "off screen, all speak": ((Role(one, left), Role(three, right)), two),
            "alone": ((Role(one, at(0.5), speaks=whole),), None),
            "alone, off screen": ((Role(quiet, at(0.5)),), one),
        }
        for kind, (roles, voice) in casts.items():
            yield Scene(one.name, kind, SECONDS, roles, voice, whole if voice else (), seed=seed)


def outcomes(video: PeopleEncoder, audio: LoudnessEncoder, scene: Scene) -> Iterator[str]:
    """Of each half second in which a voice is heard: ``right``, ``unknown`` or ``wrong``."""
    seen, heard, voice = video.initial(), audio.initial(), VoiceState()
    mouths: dict[str, tuple[MouthOpening, ...]] = {}
    sound, done, tick = scene.sound, 0, HOP_US
    for shot in scene.shots():
        while shot.frame.origin_us >= tick:
            upto = tick * SAMPLE_RATE // 1_000_000
            block = AudioBlock(np.asarray(sound[done:upto], np.float32), done * 1_000_000 // SAMPLE_RATE)
            heard, tokens = audio.step(heard, block)
            voice = voice if tokens.voice is None else speaking.heard(voice, tokens.voice)
            voice = speaking.decide(voice, mouths, tick)
            if voice.is_heard:
                yield _outcome(scene, seen, voice.owner, tick)
            done, tick = upto, tick + HOP_US
        seen, looked = video.step(seen, shot.frame)
        for person in looked.people or ():
            mouths[person.person] = speaking.recent(mouths.get(person.person, ()), person.mouth) if person.mouth else ()


def _outcome(scene: Scene, seen: PeopleState, owner: str | None, tick: int) -> str:
    truth = scene.speaker(tick / 1e6 - 0.01)
    if owner is None:
        return "unknown"
    if owner == OFF_SCREEN or isinstance(truth, str):
        return "right" if owner == truth else "wrong"
    middle = {p.name: p.track.face.box[0] + p.track.face.box[2] / 2 for p in seen.people}
    width = 640
    expected = scene.roles[truth].where(tick / 1e6)[0] * width if truth is not None else -width
    return "right" if abs(middle.get(owner, width * 9) - expected) < 0.15 * width else "wrong"


def markdown(root: Path, models: Path, every: int) -> str:
    backend = OnnxRuntime()
    video = load_encoder("video", backend, models, people=4)
    audio = load_encoder("audio", backend, models, people=4)
    assert isinstance(video, PeopleEncoder)
    assert isinstance(audio, LoudnessEncoder)
    finder = detector(backend, models)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    talkers = talking(root, finder)
    for number, scene in enumerate(scenes(talkers, silent(root, finder))):
        if number // len(KINDS) % every == 0:
            found = Counter(outcomes(video, audio, scene))
            counts[scene.kind] += found
            counts["all"] += found
    rows = []
    for kind, count in counts.items():
        total = max(1, sum(count.values()))
        shares = [f"{count[name] / total:.3f}" for name in ("right", "unknown", "wrong")]
        rows.append([kind, KINDS.get(kind, ""), str(total), *shares])
    return f"""`python -m calibration.speaking`: {len(talkers)} talking heads (`calibration/people_scenes.py`), every
{every}., in scenes of {SECONDS:.0f} s through the camera's and the microphone's encoders and the fold of
`edge_mer/fusion/speaking.py`. Each half second with a voice: is it given to who speaks, to nobody ("unknown"), or to
somebody wrong? Targets: right or unknown 0.95, wrong at most 0.02. Nothing can be known in the first 3 s. The
thresholds were chosen on scenes of the same people, so expect somewhat more wrong ones on others. All clips but one are
read sentences of the same grammar and length: two mouths that speak fit either voice, so turns stay unknown.

{report.table(["scenes", "what happens", "half seconds", "right", "unknown", "wrong"], rows)}"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m calibration.speaking", description="Who speaks: writes its section of RESULTS.md."
    )
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--every", type=int, default=2, help="use the scenes of every so manieth talking head")
    parser.add_argument("--report", type=Path, default=report.FILE, help="file whose section is written")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        text = markdown(arguments.data, arguments.models, arguments.every)
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error
    report.section(arguments.report, "Who speaks", text)
    print(text)


if __name__ == "__main__":
    main()
