"""``python -m pipelines.table``: see pipelines.study.table."""

from pipelines.study.table import main

if __name__ == "__main__":
    main()
