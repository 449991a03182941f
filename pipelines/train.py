"""Command line of training.

``python -m pipelines.train speech|voice|audio|face|text|fusion [--data DIR] [--out DIR]`` makes the weights that ship;
``python -m pipelines.train CONFIG.toml [--data DIR] [--out DIR]`` trains the full model on a feature set (see
pipelines/configs), watched on its dev split, and writes OUT/NAME.safetensors. Run again, it continues after a kill.
Under ``torchrun --nproc-per-node N -m pipelines.train CONFIG.toml`` it uses N processes.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import torch

from edge_mer.contract.errors import EdgeMerError
from pipelines.data.corpora import DEFAULT_ROOT
from pipelines.exporting.export import MODELS, RUNS

_TRAINERS = {
    **{what: f"pipelines.encoders.{what}" for what in ("speech", "audio", "face", "text")},
    "voice": "pipelines.exporting.voice",
    "fusion": "pipelines.fusion.starter",
}
WHAT = tuple(_TRAINERS)


def experiment(config: Path, data: Path, out: Path) -> Path:
    """Train what ``config`` says; returns the checkpoint. Raises an EdgeMerError for a bad file."""
    from pipelines.data import feature_sets as sets
    from pipelines.data import splits
    from pipelines.fusion import launch, saved, trainer
    from pipelines.fusion.experiment import load

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
    if wrong := misplaced(arguments):
        parser.error(wrong)
    torch.set_num_threads(arguments.threads)
    try:
        run(arguments)
    except EdgeMerError as error:
        raise SystemExit(f"error: {error}") from error


def misplaced(arguments: argparse.Namespace) -> str | None:
    """What of the command line makes no sense, in words."""
    what, config = arguments.what, arguments.what.endswith(".toml")
    given = [name for name in ("epochs", "seed") if getattr(arguments, name) is not None]
    if not config and what not in WHAT:
        return f"{what!r} is neither one of {', '.join(WHAT)} nor a TOML file"
    if arguments.fold and what != "face":
        return "--fold is of face"
    if arguments.settle and what != "fusion":
        return "--settle is of fusion"
    if given and (config or arguments.settle):
        return f"--{given[0]} is not of {'a TOML file, which says its own' if config else '--settle'}"
    return None


def run(arguments: argparse.Namespace) -> None:
    """The training that was named, with its options."""
    data, out = arguments.data, arguments.out
    if arguments.what.endswith(".toml"):
        experiment(Path(arguments.what), data, out)
        return
    options = {name: value for name in ("epochs", "seed") if (value := getattr(arguments, name)) is not None}
    if arguments.fold:
        importlib.import_module("pipelines.encoders.distil").train(data, out, arguments.fold, **options)
    elif arguments.settle:
        importlib.import_module("pipelines.fusion.starter").settled(data, out, arguments.models)
    else:
        models = {"models": arguments.models} if arguments.what == "fusion" else {}
        importlib.import_module(_TRAINERS[arguments.what]).train(data, out, **options, **models)


if __name__ == "__main__":
    main()
