"""The old name of ``python -m pipelines.study.domain_shift``, kept for one version."""

import sys

from pipelines.study.domain_shift import main

if __name__ == "__main__":
    print(
        "this command is now python -m pipelines.study.domain_shift; the old name goes with the next version",
        file=sys.stderr,
    )
    main()
