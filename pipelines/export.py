"""``python -m pipelines.export``: see pipelines.exporting.export."""

from pipelines.exporting.export import main

if __name__ == "__main__":
    main()
