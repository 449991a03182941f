"""``edge-mer demo --media`` on real clips: talking faces, intermittent faces, clips without audio or face."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CLIPS = Path(__file__).parents[3] / "shared" / "data" / "av_clips"

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(not CLIPS.is_dir(), reason=f"the real clips are missing: {CLIPS}"),
]


@pytest.mark.parametrize(
    ("clip", "expected", "never"),
    [
        ("1001_DFA_ANG_XX.flv", "av", ""),
        ("pyfeat_face_noface.mov", "v", ""),
        ("pyfeat_no_face.mp4", "none", "v"),
    ],
)
def test_clip_gives_the_expected_combinations(clip: str, expected: str, never: str) -> None:
    command = [sys.executable, "-m", "edge_mer.cli.main", "demo", "--json", "--media", str(CLIPS / clip)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    seen = {json.loads(line)["combination"] for line in done.stdout.splitlines()}
    assert any(set(expected) <= set(c) for c in seen), f"{seen}, {done.stderr}"
    assert not never or not any(never in c for c in seen - {"none"}), seen


def test_encoders_and_fusion_may_share_one_process() -> None:
    """``perception.placement = "together"`` gives the same chain with three fewer processes."""
    command = [sys.executable, "-m", "edge_mer.cli.main", "demo", "--json", "--set", "perception.placement=together"]
    done = subprocess.run(
        [*command, "--media", str(CLIPS / "1001_DFA_HAP_XX.flv")], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    assert any(set("av") <= set(json.loads(line)["combination"]) for line in done.stdout.splitlines()), done.stderr
