"""Command line: ``python -m pipelines.train speech|audio|face|text|fusion [--data DIR] [--out DIR]``."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import torch

from pipelines.data import DEFAULT_ROOT
from pipelines.export import MODELS, RUNS

WHAT = ("speech", "audio", "face", "text", "fusion")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.train", description=__doc__)
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--out", type=Path, default=RUNS)
    parser.add_argument("--models", type=Path, default=MODELS, help="exported encoders, read by fusion")
    parser.add_argument("--epochs", type=int, help="fewer for a trial")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    options = {} if arguments.epochs is None else {"epochs": arguments.epochs}
    if arguments.what == "fusion":
        options["models"] = arguments.models
    importlib.import_module(f"pipelines.{arguments.what}").train(arguments.data, arguments.out, **options)


if __name__ == "__main__":
    main()
