"""``python -m pipelines.bench_gpu``: see pipelines.study.bench_gpu."""

from pipelines.study.bench_gpu import main

if __name__ == "__main__":
    main()
