"""``python -m pipelines.demo``: see pipelines.demo.media."""

import sys

from pipelines.demo.media import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
