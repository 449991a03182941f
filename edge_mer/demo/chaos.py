"""``edge-mer demo --chaos``: masks and crashes until every combination of modalities was estimated."""

from __future__ import annotations

import textwrap
from typing import get_args

from edge_mer.contract.domain import Combination
from edge_mer.demo.director import Director, Step

SCRIPT: tuple[Step, ...] = (
    Step("all three modalities are used", "atv", patience_s=12),
    Step("the camera is masked", "at", mask=("video",)),
    Step("text is masked too", "a", mask=("text",)),
    Step("the camera is unmasked", "av", unmask=("video",)),
    Step("kill -9 of the audio encoder", "v", kill="perception.audio"),
    Step("the supervisor restarts it", "av"),
    Step("the microphone is masked, text is unmasked", "tv", mask=("audio",), unmask=("text",)),
    Step("the camera is masked", "t", mask=("video",)),
    Step("everything is masked", "none", mask=("text",)),
    Step("all sensors are unmasked", "atv", unmask=("audio", "video", "text")),
    Step("kill -9 of the capture process", "atv", kill="file", back=True),
    Step("kill -9 of the fusion node", "atv", kill="fusion", back=True),
)
WANTED = frozenset(get_args(Combination))


def missing(director: Director) -> list[str]:
    """The combinations that were not seen yet."""
    return sorted(WANTED - set(director.seen))


def summary(director: Director) -> list[str]:
    """The result as lines of text."""
    order = sorted(director.seen.items(), key=lambda item: item[1])
    began = director.snapshot.started_us
    seen = "seen: " + ", ".join(f"{c} at {(at - began) / 1e6:.1f} s" for c, at in order)
    lines = textwrap.wrap(seen, 78, subsequent_indent="      ")
    lines.append(f"restarts of killed processes: {director.snapshot.restarts}")
    lines += [f"not as planned: {text}" for text in director.failed]
    if absent := missing(director):
        return [*lines, f"not yet seen: {', '.join(absent)}"]
    return [*lines, "all seven combinations and none were seen; next: edge-mer doctor, then edge-mer run"]
