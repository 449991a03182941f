"""``python -m pipelines.score``: see pipelines.study.score."""

from pipelines.study.score import main

if __name__ == "__main__":
    main()
