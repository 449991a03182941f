"""From a TOML file to an estimate: the trainer that the results table reports makes what the device runs."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from edge_mer.cli.main import app
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import COMBINATIONS, EMOTIONS, Combination, Modality, modalities_of
from edge_mer.contract.errors import ConfigError
from edge_mer.fusion.confidence import softmax
from edge_mer.fusion.fold import Fusion
from edge_mer.fusion.model import GraphFusionModel, Prediction, load_fusion_model
from edge_mer.fusion.window import TokenWindow
from edge_mer.model.inputs import Window
from edge_mer.runtime.backend import TensorSpec
from edge_mer.runtime.onnx import OnnxRuntime
from edge_mer.runtime.select import SHIPPED
from pipelines import train as command
from pipelines.data import cache
from pipelines.data.corpora import ACTED, ravdess
from pipelines.data.unseen import Unseen, joined
from pipelines.data.voices import Voice
from pipelines.encoders.shipped import hashes
from pipelines.exporting import export
from pipelines.fusion import experiment, saved, starter
from pipelines.fusion.experiment import Experiment, StarterSettings
from pipelines.fusion.saved import Saved
from pipelines.fusion.starter import StarterRows
from pipelines.fusion.token_encoders import TokenEncoders
from pipelines.study import evaluate, results, table
from pipelines.study.experiment_cell import Cell
from pipelines.study.table import Job
from tests.fusion.scene import RATE, SETTINGS, Scene, tokens
from tests.perception.fakes import F32, FakeGraph, text_graph
from tests.pipelines.starter_files import write

TINY = """
data = "starter"
batch = 16
epochs = [2, 1, 0]
rates = [1e-2, 1e-2]
scale = {scale}
dpft_from = 1
average = 0.5
keep = "last"
model = {{ width = 16, heads = 2, blocks = 1, expert_blocks = 1, pool = "each" }}

[starter]
steps = 6
clip_copies = 1
face_stride = 1
face_frames = 5
"""


# Eight graphs are exported: half a minute, and more on a busy machine.


@pytest.fixture(scope="module", autouse=True)
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One thread; and the configurations of the table are small ones."""
    torch.set_num_threads(1)
    configs = tmp_path_factory.mktemp("configs")
    (configs / "starter.toml").write_text(TINY.format(scale="true"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "CONFIGS", configs)
        patch.setattr(cache, "CACHE", configs / "cache")
        patch.setattr(TokenEncoders, "unseen", lambda encoders, root, runs: unseen(encoders, root))
        yield


def unseen(encoders: TokenEncoders, root: Path) -> Unseen:
    """What a training of the voice encoder would leave: here just what the shipped one makes of each clip, twice."""
    clips = ravdess(root, "train")
    found = [example.tracks["audio"] for example in encoders.joint(clips)]
    people = [Voice(c.path, "ravdess", f"ravdess {c.actor:02}", ACTED[c.acted]) for c in clips]
    people += [Voice(Path("x"), "libri_multi", f"libri_multi {i}", "neutral") for i in range(10)]
    found += [found[0]] * 10
    counts = [len(track.values) for track in found]
    clip = np.repeat(np.arange(len(people)), counts)
    token = np.concatenate([np.arange(n) for n in counts])
    some = Unseen(np.concatenate([t.values for t in found]), clip, np.zeros(len(clip), np.bool_), token, people)
    return joined([some, dataclasses.replace(some, moved=~some.moved)])


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def rows(corpora: Path) -> StarterRows:
    return starter.read(corpora, SHIPPED)


@dataclass(frozen=True)
class Filled:
    """A cell of the table and the checkpoint that it was scored with."""

    cell: Cell
    checkpoint: Path


@pytest.fixture(scope="module")
def filled(rows: StarterRows, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    runs, job = tmp_path_factory.mktemp("table"), Job("starter", "full", 0)
    (cell,) = table.fill([job], {"starter": rows}, runs, math.inf)
    assert isinstance(cell, Cell)
    return Filled(cell, job.models(runs) / "fold0" / "model.safetensors")


@pytest.fixture(scope="module")
def device(filled: Filled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped encoders with the fusion of that checkpoint beside them."""
    folder = tmp_path_factory.mktemp("device")
    for path in SHIPPED.iterdir():
        if path.is_file() and not path.name.startswith("fusion."):
            shutil.copy(path, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "half", lambda directory: None)  # FP16 forms are of test_export
        patch.setattr("sys.argv", ["e", "fusion", "--checkpoint", str(filled.checkpoint), "--out", str(folder)])
        export.main()
    return folder


def test_the_table_has_a_row_of_the_trained_model(rows: StarterRows, filled: Filled) -> None:
    text = results.render({"starter": rows}, [filled.cell], 5)
    (line,) = (x for x in _section(text, "starter: emotion, accuracy").splitlines() if x.startswith("| full MCULoRA"))
    assert line.endswith("| 1/5 |")
    assert len(filled.cell.index) == 7, "the clips of the dev actor"
    assert set(COMBINATIONS) <= set(filled.cell.answers.emotion)


def _section(text: str, title: str) -> str:
    return text.split(f"### {title}")[1].split("###")[0]


def test_models_check_passes_on_the_exported_model(device: Path) -> None:
    found = CliRunner().invoke(app, ["models", "check", "--set", f"models.directory={device}"])
    assert (found.exit_code, "FAIL" in found.output) == (0, False), found.output
    assert all(f"fusion.{c}.onnx" in found.output for c in COMBINATIONS)


class Recording:
    """A fusion model that remembers what it was asked and what it answered."""

    def __init__(self, model: GraphFusionModel) -> None:
        self.name, self.capacity, self.dims, self.encoders = model.name, model.capacity, model.dims, model.encoders
        self._model = model
        self.calls: list[tuple[Combination, Mapping[Modality, TokenWindow], Prediction]] = []

    def predict(self, combination: Combination, windows: Mapping[Modality, TokenWindow]) -> Prediction:
        self.calls.append((combination, windows, self._model.predict(combination, windows)))
        return self.calls[-1][2]


@pytest.mark.parametrize("present", [("audio", "video", "text"), ("audio",)], ids=str)
def test_the_fold_estimates_with_the_trained_weights(
    device: Path, filled: Filled, present: tuple[Modality, ...]
) -> None:
    """The graphs answer what the checkpoint answers in torch for the windows that the fold cuts."""
    model = Recording(load_fusion_model(OnnxRuntime(), device))
    scene = Scene()
    scene.fusion = Fusion(SETTINGS, model)
    scene.state = scene.fusion.initial(scene.now_us)
    for _ in range(10):
        for m in present:
            ends = [scene.now_us + (i + 1) * SECOND // RATE[m] for i in range(RATE[m] // 2)]
            context = scene.now_us if m == "text" else 0
            scene.give(tokens(m, ends, context=context, model=model.encoders[m], dim=model.dims[m]))
        output = scene.tick()
    estimate = output.estimate
    assert estimate.label in EMOTIONS
    assert set(modalities_of(estimate.combination)) == set(present)
    combination, windows, answered = model.calls[-1]
    logits, sentiment = _in_torch(saved.load(filled.checkpoint), combination, windows)
    assert np.allclose(answered.probabilities, softmax(logits), atol=1e-4)
    assert answered.sentiment == (pytest.approx(sentiment, abs=1e-4) if "text" in present else None)


def _in_torch(
    trained: Saved, combination: Combination, windows: Mapping[Modality, TokenWindow]
) -> tuple[np.ndarray[Any, Any], float]:
    given = {m: Window(torch.zeros(1, 1, w), *torch.zeros(2, 1, 1)) for m, w in trained.config.dims.items()}
    for m, window in windows.items():
        values = trained.scales[m](window.values) if m in trained.scales else window.values
        given[m] = Window(*(torch.from_numpy(x)[None] for x in (values, window.mask, window.age)))
    with torch.no_grad():
        out = trained.model()(given, torch.tensor([COMBINATIONS.index(combination)]))
    return out.logits[0].numpy(), out.sentiment.item()


def test_a_checkpoint_that_the_device_cannot_run_is_refused(filled: Filled) -> None:
    trained = saved.load(filled.checkpoint)
    assert export.misfit(trained) is None
    wide = dataclasses.replace(trained.config, dims={**trained.config.dims, "audio": 73})
    single = dataclasses.replace(trained.config, tasks=("emotion",))
    partly = dataclasses.replace(trained.experiment, combinations=("a", "av"))
    assert "widths" in str(export.misfit(dataclasses.replace(trained, config=wide)))
    assert "window of both tasks" in str(export.misfit(dataclasses.replace(trained, config=single)))
    assert "not trained on atv" in str(export.misfit(dataclasses.replace(trained, experiment=partly)))


def test_the_command_fusion_trains_calibrates_and_continues(
    corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under its old options; the checkpoint keeps the figures of the model card."""
    config = tmp_path / "starter.toml"
    config.write_text(TINY.format(scale="false"))
    monkeypatch.setattr(command, "STARTER", config)
    line = ["train", "fusion", "--data", str(corpora), "--models", str(SHIPPED), "--out", str(tmp_path), "--seed", "3"]
    monkeypatch.setattr("sys.argv", [*line, "--settle"])
    with pytest.raises(SystemExit, match=r"starter\.work is absent; run: python -m pipelines\.train fusion"):
        command.main()
    monkeypatch.setattr("sys.argv", [*line, "--epochs", "2"])
    command.main()
    first = saved.load(tmp_path / "starter.safetensors")
    assert (first.experiment.seed, first.experiment.epochs, first.scales) == (3, (1, 1, 0), {})
    assert set(first.facts["metrics"]) == set(COMBINATIONS)
    assert first.facts["encoders"] == hashes(SHIPPED)
    scored = evaluate.checkpoint(tmp_path / "starter.safetensors", corpora, combinations="av,t")
    assert (scored["split"], scored["rows"], list(scored["figures"])) == ("dev", 7, ["av", "t"])
    monkeypatch.setattr("sys.argv", [*line, "--epochs", "2", "--settle"])
    command.main()
    assert "--settle goes in the next version" in capsys.readouterr().out
    again = saved.load(tmp_path / "starter.safetensors")
    assert all(torch.equal(again.weights[k], v) for k, v in first.weights.items())


def test_augmented_tokens_are_those_of_the_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call per window of one sample, in the order of the batch; of encoders of eight tokens a second."""
    encoders = TokenEncoders(SHIPPED)
    random = torch.Generator().manual_seed(0)
    assert encoders.face(torch.rand(3, 1, 48, 48, generator=random)).shape == (3, 7)
    shape = {"mel": TensorSpec((1, 156, 64), F32), "pitch": TensorSpec((1, 156, 2), F32)}
    small = FakeGraph(shape, {"token": TensorSpec((1, 2), F32)}, lambda mel, pitch: pitch[:, -1])
    monkeypatch.setattr(encoders, "_graphs", {"audio": small, "text": text_graph()})
    mel, pitch = torch.randn(2, 176, 64, generator=random) - 18, torch.rand(2, 176, 2, generator=random)
    tokens = encoders.audio(mel, pitch)
    assert tokens.shape == (2, 3, 2)
    assert np.array_equal(tokens[1, 2], pitch[1, -1])
    assert encoders.text(torch.ones(2, 24, dtype=torch.int64), torch.ones(2, 24)).shape == (2, 24, 2)


def test_a_window_holds_as_many_voices_as_the_encoder_gives(rows: StarterRows) -> None:
    assert TokenEncoders(SHIPPED).capacity == {"audio": 8, "video": 20, "text": 24}
    assert rows.lengths == {"audio": 8, "video": 20, "text": 24}


def test_voices_of_other_corpora_are_drawn_of_train_speakers_alone(rows: StarterRows) -> None:
    """Of ten readers the fifth and the tenth are of the dev fold, and the first five settle the prior."""
    found = rows.load(StarterSettings(steps=1, clip_copies=1, face_stride=1, face_frames=2))
    assert [{e.group for e in corpus} for corpus in found.voices] == [{f"libri_multi {i}" for i in (5, 6, 7, 8)}]


def test_rows_are_clips_with_a_text_of_their_label(rows: StarterRows) -> None:
    assert (len(rows), rows.dims) == (28, {"audio": 64, "video": 7, "text": 64})
    assert [(rows.split == s).sum() for s in ("train", "dev")] == [21, 7]
    assert np.array_equal(rows.emotion, [clip.emotion for clip in rows.clips])
    assert set(np.unique(rows.ordinal)) == {-1, 0, 1}
    present = {m: mask.any(1).mean() for m, mask in rows.mask.items()}
    assert (present["video"], present["text"]) == (1, 1)
    assert present["audio"] > 0.8, "some seconds of the recording are pauses"


def test_a_split_keeps_the_held_out_actors_from_the_train_windows(rows: StarterRows) -> None:
    e = Experiment("starter", starter=StarterSettings(steps=1, clip_copies=1, face_stride=1, face_frames=2))
    train, dev = np.flatnonzero(rows.group == "1"), np.flatnonzero(rows.group == "2")
    source = starter.StarterSource(e, rows, train, dev, {})
    assert {x.group for x in source.examples.joint} == {"actor 1"}


@pytest.mark.parametrize(
    "changes", [{"mixup": 0.4}, {"epochs": (1, 1, 1)}, {"starter": {"steps": 0}}, {"starter": {"x": 1}}]
)
def test_an_impossible_starter_training_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        experiment.of({"data": "starter", "epochs": (1, 1, 0), **changes})
