"""Command line; the code is in ``pipelines.study.reproduce``."""

from pipelines.study.reproduce import main

if __name__ == "__main__":
    main()
