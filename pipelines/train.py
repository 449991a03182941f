"""Command line of training.

``python -m pipelines.train speech|voice|audio|face|text|dialogue [--data DIR] [--out DIR]`` trains an encoder.
``python -m pipelines.train CONFIG.toml [--data DIR] [--out DIR]`` trains a fusion model as the file says (see
pipelines/fusion/configs), watched on its dev split, and writes OUT/NAME.safetensors. Run again, it continues after a
kill. ``fusion`` is a name for pipelines/fusion/configs/starter.toml, the model that ships. Under
``torchrun --nproc-per-node N -m pipelines.train CONFIG.toml`` it uses N processes.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import torch

from edge_mer.contract.errors import EdgeMerError
from pipelines.data.corpora import DEFAULT_ROOT, DataError
from pipelines.encoders.shipped import MODELS, RUNS

ENCODERS = {
    **{what: f"pipelines.encoders.{what}" for what in ("speech", "audio", "face", "text", "dialogue")},
    "voice": "pipelines.exporting.voice",
}
WHAT = (*ENCODERS, "fusion")
STARTER = Path(__file__).parent / "fusion" / "configs" / "starter.toml"
# Of ``--epochs N`` for ``fusion``, the share that trains the base.
BASE_SHARE = 0.7


def experiment(config: Path, data: Path, out: Path, models: Path = MODELS, **changes: Any) -> Path:
    """Train what ``config`` says, with ``changes``; returns the checkpoint. Raises an EdgeMerError for a bad file."""
    from dataclasses import replace

    from pipelines.data import splits
    from pipelines.fusion import launch, saved, starter, trainer
    from pipelines.fusion.experiment import load

    plan = replace(load(config), **changes)
    rows = starter.open_rows(plan.data, data, models, runs=out)
    work, path = work_of(config, out), out / f"{config.stem}.safetensors"
    fabric = launch.launch(plan, work)
    trained = trainer.train(plan, rows, splits.release(rows), work, fabric=fabric)
    if fabric.is_global_zero:
        saved.save(path, trained)
        how = "chosen on dev" if plan.keep == "best" else "the last, dev"
        print(f"{path}: epoch {trained.facts['epoch']} of {sum(plan.epochs)}, {how} ({trained.facts['dev']:.4f})")
        for combination, measured in trained.facts.get("metrics", {}).items():
            print(f"  {combination}: {measured}")
    return path


def work_of(config: Path, out: Path) -> Path:
    """Where an unfinished training keeps its state."""
    return out / f"{config.stem}.work"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", help=f"one of {', '.join(WHAT)}, or a TOML file")
    parser.add_argument("--data", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--out", type=Path, default=RUNS)
    parser.add_argument("--models", type=Path, default=MODELS, help="exported encoders, read by the set starter")
    parser.add_argument("--epochs", type=int, help="fewer for a trial (not for a TOML file, which says its own)")
    parser.add_argument("--seed", type=int, help="0 if not given; a TOML file says its own")
    parser.add_argument("--fold", type=Path, nargs="+", metavar="DIR", help="face: those of these folders in one")
    parser.add_argument("--without", nargs="+", metavar="CORPUS", help="voice: corpora that it is not trained on")
    parser.add_argument("--settle", action="store_true", help="fusion: only the last step; goes in the next version")
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
    """The option that the named training does not have, in words."""
    what, config = arguments.what, arguments.what.endswith(".toml")
    given = [name for name in ("epochs", "seed") if getattr(arguments, name) is not None]
    if not config and what not in WHAT:
        return f"{what!r} is neither one of {', '.join(WHAT)} nor a TOML file"
    if arguments.fold and what != "face":
        return "--fold is of face"
    if arguments.without and what != "voice":
        return "--without is of voice"
    if arguments.settle and what != "fusion":
        return "--settle is of fusion"
    if what == "voice" and arguments.epochs is not None:
        return "--epochs is not of voice, whose head is trained for a fixed number of steps"
    if given and config:
        return f"--{given[0]} is not of a TOML file, which says its own"
    return None


def run(arguments: argparse.Namespace) -> None:
    """The training that was named, with its options."""
    what, data, out = arguments.what, arguments.data, arguments.out
    options = {n: value for n in ("epochs", "seed", "without") if (value := getattr(arguments, n)) is not None}
    if what.endswith(".toml"):
        experiment(Path(what), data, out, arguments.models)
    elif what == "fusion":
        if arguments.settle:
            print("--settle goes in the next version: run the same command without it, it does only what is left")
            if not work_of(STARTER, out).is_dir():
                raise DataError(f"{work_of(STARTER, out)} is absent; run: python -m pipelines.train fusion")
        experiment(STARTER, data, out, arguments.models, **fusion_options(options))
    elif arguments.fold:
        importlib.import_module("pipelines.encoders.distil").train(data, out, arguments.fold, **options)
    else:
        importlib.import_module(ENCODERS[what]).train(data, out, **options)


def fusion_options(options: dict[str, Any]) -> dict[str, Any]:
    """``--epochs N`` of fusion as epochs of the base, of the adapters, and none of self-distillation."""
    changes: dict[str, Any] = dict(options)
    if "epochs" in changes:
        base = max(1, round(changes["epochs"] * BASE_SHARE))
        changes["epochs"] = (base, max(1, changes["epochs"] - base), 0)
    return changes


if __name__ == "__main__":
    main()
