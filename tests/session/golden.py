"""The golden session: recorded once, verified by every change. ``python -m tests.session.golden`` records it anew.

Record it anew only for an intended change of results (other models, another fold), and state that in the commit.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from edge_mer.session.reader import Session
from tests.session.studio import film

GOLDEN = Path(__file__).parent / "golden.mcap"


def main() -> None:
    before = Session(GOLDEN).trailer if GOLDEN.exists() else None
    with tempfile.TemporaryDirectory() as place:
        film(Path(place) / GOLDEN.name, encrypt=False)
        shutil.copyfile(Path(place) / GOLDEN.name, GOLDEN)
    after = Session(GOLDEN).trailer
    assert after is not None
    was = before.digest if before is not None else "none"
    print(f"{GOLDEN}: {GOLDEN.stat().st_size // 1000} kB, {after.results} results, digest {was} -> {after.digest}")


if __name__ == "__main__":
    main()
