"""Do the tests guard the method? Each mutant changes one line of it; a mutant that no test notices is a survivor.

``python -m pipelines.study.mutate`` applies every mutant in turn to a copy of the checkout, runs the tests of the
method on each, prints what became of it, and ends with 1 if one survives. ``python -m pipelines.study.mutate teacher``
applies those whose name contains the word. About 20 s a mutant on a quiet core; nothing outside the copy is written.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

ROOT: Final = Path(__file__).parents[2]
COPIED: Final = ("edge_mer", "pipelines", "calibration", "tests", "pyproject.toml")
TESTS: Final = (
    "tests/pipelines/test_wiring.py",
    "tests/pipelines/test_dpft.py",
    "tests/pipelines/test_fagm.py",
    "tests/model",
    "tests/pipelines/test_training_scale.py",
    "tests/pipelines/test_trainer.py",
)
TIMEOUT_S: Final = 900
Outcome = Literal["caught", "survived", "hung"]

MODEL, FUSION = "edge_mer/model", "pipelines/fusion"
TRAINER, OBJECTIVE = f"{FUSION}/trainer.py", f"{FUSION}/objective.py"
LAYERS, EXPERTS, LOSSES = f"{MODEL}/layers.py", f"{MODEL}/experts.py", f"{MODEL}/losses.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """``before`` must occur exactly once in ``file``."""

    name: str
    file: str
    before: str
    after: str

    def applied(self, text: str) -> str:
        """``text`` of the file, mutated. Raises ValueError where the line is no longer there."""
        if text.count(self.before) != 1:
            raise ValueError(
                f"{self.name}: {self.file} has {text.count(self.before)} times {self.before!r}; expected 1"
            )
        return text.replace(self.before, self.after)


MUTANTS: Final = (
    Mutant(
        "adapters are never trained",
        TRAINER,
        "p.requires_grad_(id(p) not in frozen)",
        "p.requires_grad_(id(p) not in frozen and id(p) not in adapters)",
    ),
    Mutant("the base is not frozen", TRAINER, "else {id(p) for p in self.raw.base_parameters()}", "else set()"),
    Mutant(
        "adapters train in stage 0",
        TRAINER,
        "frozen = adapters if stage == 0 else",
        "frozen = set() if stage == 0 else",
    ),
    Mutant(
        "adapters decay",
        TRAINER,
        "decay = (self.experiment.weight_decay, 0.0)",
        "decay = (self.experiment.weight_decay, self.experiment.weight_decay)",
    ),
    Mutant(
        "adapters have the rate of the base",
        TRAINER,
        'group["lr"] = e.rates[min(stage, 1)] * share',
        'group["lr"] = e.rates[0] * share',
    ),
    Mutant(
        "stage 1 begins with the last weights", TRAINER, "self.raw.load_state_dict(self.state.best_weights)", "pass"
    ),
    Mutant("DPFT never updates", TRAINER, "self.dpft.update(self._sigma())", "self._sigma()"),
    Mutant("DPFT's shares are not drawn", TRAINER, "return self.dpft.shares", "return np.full(7, 1 / 7)"),
    Mutant(
        "DPFT reads one combination",
        TRAINER,
        "itertools.product(self._mine, torch",
        "itertools.product(self._mine[:1], torch",
    ),
    Mutant(
        "the optimizer steps after every batch",
        TRAINER,
        "steps = (step + 1) % e.accumulate == 0 or step + 1 == self.source.steps",
        "steps = True",
    ),
    Mutant(
        "buckets are not sorted",
        "pipelines/fusion/sources.py",
        'some = some[np.argsort(lengths[some], kind="stable")]',
        "pass",
    ),
    Mutant("DPFT gives the separable ones more", f"{FUSION}/dpft.py", "np.exp(-(z - z.min())", "np.exp((z - z.max())"),
    Mutant(
        "DPFT has no floor",
        f"{FUSION}/dpft.py",
        "(1 - settings.floor) * weights / weights.sum() + settings.floor / len(sigma)",
        "weights / weights.sum()",
    ),
    Mutant("FAGM is not used", TRAINER, "fagm = self._fagm() if stage < 2 else None", "fagm = None"),
    Mutant("FAGM slows nothing", f"{FUSION}/fagm.py", "old + k * (parameter - old)", "parameter"),
    Mutant("FAGM slows no columns", f"{FUSION}/fagm.py", "pen = torch.where(chosen, pen - dominant[m], pen)", "pass"),
    Mutant(
        "FAGM erases nothing",
        TRAINER,
        "self.raw(erased(windows, combination, gone), combination)",
        "self.raw(windows, combination)",
    ),
    Mutant("L_ort is not in the loss", OBJECTIVE, "loss + experiment.ortho * orthogonality(out.trace)", "loss"),
    Mutant("L_bal is not in the loss", OBJECTIVE, "loss + experiment.balance * balance(out.trace)", "loss"),
    Mutant(
        "L_ort is the cosine itself", LOSSES, "(common * specific).sum(-1).square() /", "(common * specific).sum(-1) /"
    ),
    Mutant("distillation is zero", OBJECTIVE, "return torch.stack(terms).sum()", "return torch.stack(terms).sum() * 0"),
    Mutant("the teacher has dropout", TRAINER, "model = self.mean.module.eval()", "model = self.mean.module.train()"),
    Mutant("the teacher is the student", TRAINER, "model = self.mean.module.eval()", "model = self.raw.eval()"),
    Mutant(
        "the teacher sees what the student sees",
        OBJECTIVE,
        "target = teacher(windows, everything)",
        "target = teacher(batch.windows, batch.combination)",
    ),
    Mutant("the average is not kept", TRAINER, "self.mean.update_parameters(self.raw)", "pass"),
    Mutant(
        "the average is not judged",
        TRAINER,
        "return self._teacher if self.experiment.average else self.raw",
        "return self.raw",
    ),
    Mutant("gates are not applied", EXPERTS, "(shared * gates.index_select(-1, self.owner))", "shared"),
    Mutant("gates do not reach the biases", EXPERTS, "gates @ self.shared_out_bias", "self.shared_out_bias.sum(0)"),
    Mutant(
        "experts of tasks are not added", EXPERTS, "y = y + own @ self.task_out[:, None] + self.task_out_bias", "pass"
    ),
    Mutant("one expert more is open", EXPERTS, "torch.where(rank < k,", "torch.where(rank < k + 1,"),
    Mutant(
        "scores of the pool do not matter",
        LAYERS,
        "return out[..., 0]\n\n\ndef _weighted_mean",
        "return out[..., 0] * 1e-3\n\n\ndef _weighted_mean",
    ),
    Mutant(
        "the pool weighs no modality", LAYERS, "_scores(means, self.across, self.across_score) + prior", "prior * 0"
    ),
    Mutant("tokens have no age", LAYERS, "x = x + self.age(torch.exp(-seconds * self.rates))", "pass"),
    Mutant(
        "a combination uses another's pair",
        f"{MODEL}/mcla.py",
        "pair = self.specific[combination]",
        "pair = self.specific[(combination + 1) % 7]",
    ),
    Mutant(
        "the shared pair is not added",
        f"{MODEL}/mcla.py",
        "out: Tensor = self.base(x) + common + specific",
        "out: Tensor = self.base(x) + specific",
    ),
    Mutant(
        "merging forgets the shared pair",
        f"{MODEL}/mcla.py",
        "for pair in (self.shared, self._pair(combination)):",
        "for pair in (self._pair(combination),):",
    ),
    Mutant("mixup keeps its own labels", OBJECTIVE, "share * one + (1 - share) *", "one + 0 *"),
    Mutant("gradients are not clipped", TRAINER, "max_norm=CLIP", "max_norm=1e9"),
)


def outcome(mutant: Mutant, copy: Path, tests: Sequence[str] = TESTS) -> Outcome:
    """Mutate the copy, run the tests until one fails, and take the change back."""
    path = copy / mutant.file
    whole = path.read_text()
    path.write_text(mutant.applied(whole))
    try:
        line = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-m", "not end_to_end", "--no-header", *tests]
        here = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        out = subprocess.run(line, cwd=copy, env=here, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return "hung"
    finally:
        path.write_text(whole)
    if out.returncode not in (0, 1):
        raise RuntimeError(f"{mutant.name}: the tests did not run\n{out.stdout[-2000:]}{out.stderr[-2000:]}")
    return "caught" if out.returncode else "survived"


def main() -> None:
    parser = argparse.ArgumentParser("python -m pipelines.study.mutate", description=__doc__)
    parser.add_argument("words", nargs="*", help="mutants whose name contains one of these; none: all")
    chosen = [m for m in MUTANTS if not (words := parser.parse_args().words) or any(w in m.name for w in words)]
    with tempfile.TemporaryDirectory(prefix="edge_mer_mutants_") as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.onnx.cache"))
            else:
                shutil.copy2(source, copy / name)
        survivors = []
        for mutant in chosen:
            found = outcome(mutant, copy)
            print(f"{found:9} {mutant.name}", flush=True)
            survivors += [mutant.name] if found == "survived" else []
    print(f"{len(chosen)} mutants, {len(survivors)} survivors" + "".join(f"\n  {name}" for name in survivors))
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
