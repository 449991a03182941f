"""Command line of training.

``python -m pipelines.train speech|audio|face|text|fusion [--data DIR] [--out DIR]`` makes the weights that ship;
``python -m pipelines.train CONFIG.toml [--data DIR] [--out DIR]`` trains the full model on a feature set (see
pipelines/configs), watched on its dev split, and writes OUT/NAME.safetensors. Run again, it continues after a kill.
Under ``torchrun --nproc-per-node N -m pipelines.train CONFIG.toml`` it uses N processes.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import torch

from edge_mer.errors import EdgeMerError
from pipelines.data import DEFAULT_ROOT
from pipelines.export import MODELS, RUNS

WHAT = ("speech", "audio", "face", "text", "fusion")


def experiment(config: Path, data: Path, out: Path) -> Path:
    """Train what ``config`` says; returns the checkpoint. Raises an EdgeMerError for a bad file."""
    from pipelines import launch, saved, sets, splits, trainer
    from pipelines.experiment import load

    plan = load(config)
    rows = sets.read(plan.data, data)
    work, path = out / f"{config.stem}.work", out / f"{config.stem}.safetensors"
    fabric = launch.launch(plan, work)
    trained = trainer.train(plan, rows, splits.release(rows), work, fabric=fabric)
    if fabric.is_global_zero:
        saved.save(path, trained)
        how = "chosen on dev" if plan.keep == "best" else "the last, dev"
        print(f"{path}: epoch {trained.facts['epoch']} of {sum(plan.epochs)}, {how} ({trained.facts['dev']:.4f})")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", help=f"one of {', '.join(WHAT)}, or a TOML file")
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--out", type=Path, default=RUNS)
    parser.add_argument("--models", type=Path, default=MODELS, help="exported encoders, read by fusion")
    parser.add_argument("--epochs", type=int, help="fewer for a trial (not for a TOML file, which says its own)")
    parser.add_argument("--seed", type=int, help="0 if not given; a TOML file says its own")
    parser.add_argument("--fold", type=Path, nargs="+", metavar="DIR", help="face: those of these folders in one")
    parser.add_argument("--settle", action="store_true", help="fusion: only its last step, over OUT/fusion.pt")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.what.endswith(".toml"):
        try:
            experiment(Path(arguments.what), arguments.data, arguments.out)
        except EdgeMerError as error:
            raise SystemExit(f"error: {error}") from error
        return
    if arguments.what not in WHAT:
        parser.error(f"{arguments.what!r} is neither one of {', '.join(WHAT)} nor a TOML file")
    options = {} if arguments.epochs is None else {"epochs": arguments.epochs}
    if arguments.seed is not None:
        options["seed"] = arguments.seed
    if arguments.fold:
        if arguments.what != "face":
            parser.error("--fold is of face")
        importlib.import_module("pipelines.fold").train(arguments.data, arguments.out, arguments.fold, **options)
        return
    if arguments.settle:
        if arguments.what != "fusion":
            parser.error("--settle is of fusion")
        importlib.import_module("pipelines.fusion").settled(arguments.data, arguments.out, arguments.models)
        return
    if arguments.what == "fusion":
        options["models"] = arguments.models
    importlib.import_module(f"pipelines.{arguments.what}").train(arguments.data, arguments.out, **options)


if __name__ == "__main__":
    main()
