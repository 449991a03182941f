"""The old name of ``python -m pipelines.demo``, kept for one version."""

import sys

from pipelines.demo.__main__ import main

if __name__ == "__main__":
    print("this command is now python -m pipelines.demo; the old name goes with the next version", file=sys.stderr)
    sys.exit(main(sys.argv[1:]))
