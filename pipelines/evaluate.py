"""``python -m pipelines.evaluate``: see pipelines.study.evaluate."""

from pipelines.study.evaluate import main

if __name__ == "__main__":
    main()
