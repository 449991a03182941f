"""``python -m pipelines.demo OUT [--data DATA]``: make the media of ``edge-mer demo``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_mer.contract.errors import EdgeMerError
from pipelines.demo.media import write_session
from pipelines.demo.scenes import write_scenes


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipelines.demo", description="Make the media of edge-mer demo.")
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--data", type=Path, help="folder with fer2013: makes the scenes too")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        made = [write_session(options.out)]
        if options.data is not None:
            made.append(write_scenes(options.out, options.data))
    except EdgeMerError as error:
        print(error, file=sys.stderr)
        return 1
    for path in made:
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
