"""``edge-mer engine``, ``doctor --gpu``, and the runtime shown by ``status``, on a machine without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edge_mer.cli.main import app
from edge_mer.client.status_text import worker_lines
from edge_mer.config import ModelsConfig
from edge_mer.contract.errors import GpuError
from edge_mer.contract.messages import WorkerHealth
from edge_mer.runtime import engine_builds, select
from edge_mer.runtime.cuda import Cuda, driver_available
from edge_mer.runtime.engines import EngineCache
from edge_mer.runtime.tensorrt import TENSORRT, TensorRT
from tests.runtime.fake_gpu import FakeCuda, FakeTensorRT

without_gpu = pytest.mark.skipif(driver_available(), reason="this machine has an NVIDIA driver")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_mer.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})


@pytest.fixture
def models(forms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelsConfig:
    """A machine with a fake GPU, whose engines are in a directory of their own."""
    gpu = FakeCuda()
    module = FakeTensorRT(gpu)

    def faked(settings: ModelsConfig, name: str, may_build: bool = False, progress: object = None) -> TensorRT:
        cache = EngineCache(Path(settings.engines or ""))
        return TensorRT(TENSORRT, cache, may_build=may_build, progress=progress, cuda=Cuda(gpu), module=module)  # type: ignore[arg-type]

    monkeypatch.setattr(select, "tensorrt", faked)
    monkeypatch.setattr(engine_builds, "tensorrt", faked)
    return ModelsConfig(directory=str(forms), engines=str(tmp_path / "engines"), precision="fp16", backend="tensorrt")


def invoke(action: str, models: ModelsConfig, *words: str) -> Result:
    chosen = models.model_dump(include={"directory", "engines", "precision", "backend"})
    options = [part for key, value in chosen.items() for part in ("--set", f"models.{key}={value}")]
    return CliRunner().invoke(app, ["engine", action, *options, *words])


def lines_of(action: str, models: ModelsConfig, *words: str) -> list[str]:
    result = invoke(action, models, *words)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_engines_are_built_listed_verified_and_cleaned(models: ModelsConfig) -> None:
    built = lines_of("build", models)
    assert len(built) == 11
    assert all(line.startswith("built") for line in built)
    assert all(line.startswith("there") for line in lines_of("build", models))
    listed = lines_of("list", models)
    assert len(listed) == 12
    assert "fusion.atv.onnx" in " ".join(listed)
    assert "tensorrt 10.3.0, GPU 8.7" in listed[0]
    verified = lines_of("verify", models)
    assert len(verified) == 11
    assert all(line.startswith("ok") for line in verified)
    assert lines_of("clean", models) == []
    assert len(lines_of("clean", models.model_copy(update={"precision": "fp32"}))) == 10  # the voice has one form
    assert len(lines_of("clean", models, "--all")) == 1
    assert lines_of("list", models)[0].startswith("no engines yet")


def test_clean_all_also_removes_engines_that_fit(models: ModelsConfig) -> None:
    lines_of("build", models)
    assert len(lines_of("clean", models, "--all")) == 11


def test_verify_names_a_damaged_engine_and_fails(models: ModelsConfig) -> None:
    lines_of("build", models)
    victim = sorted(Path(models.engines or "").glob("fusion.a.*.engine"))[0]
    victim.write_bytes(victim.read_bytes()[:-1])
    result = invoke("verify", models)
    assert result.exit_code == 1
    assert f"NO  {victim.name}: damaged" in result.stdout
    assert "NO  fusion.a.onnx: no engine for" in result.stdout


def test_missing_engines_are_built_before_a_run(models: ModelsConfig) -> None:
    lines: list[str] = []
    engine_builds.prepare(models, lines.append)
    assert len(lines) == 11
    plain = ModelsConfig(directory=models.directory, engines=models.engines, backend="onnxruntime")
    engine_builds.prepare(plain, lines.append)
    assert len(lines) == 11


def test_a_failed_build_falls_back_only_when_the_backend_is_auto(
    models: ModelsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(models: ModelsConfig, say: object) -> None:
        raise GpuError("out of GPU memory")

    monkeypatch.setattr(engine_builds, "build_missing", fails)
    monkeypatch.setattr(engine_builds, "wants_engines", lambda settings: True)
    lines: list[str] = []
    engine_builds.prepare(models.model_copy(update={"backend": "auto"}), lines.append)
    assert lines == ["no engines: out of GPU memory"]
    with pytest.raises(GpuError):
        engine_builds.prepare(models, lines.append)


def test_an_unknown_action_is_wrong_usage() -> None:
    result = CliRunner().invoke(app, ["engine", "polish"])
    assert result.exit_code == 2
    assert "no such command 'polish'" in result.stderr


@without_gpu
def test_building_without_a_gpu_fails_with_the_reason(tmp_path: Path) -> None:
    where = ("--set", f"models.engines={tmp_path}", "--set", "models.backend=tensorrt")
    done = run("engine", "build", *where)
    assert "tensorrt is not installed" in done.stderr or "no usable NVIDIA GPU" in done.stderr
    assert done.returncode == (3 if "is not installed" in done.stderr else 1)
    assert len(done.stderr.splitlines()) == 1


@without_gpu
def test_doctor_gpu_prints_what_was_tried_and_fails(tmp_path: Path) -> None:
    done = run("doctor", "--gpu")
    assert done.returncode == 1
    for runtime in ("tensorrt", "tensorrt-rtx", "onnxruntime-cuda", "onnxruntime"):
        assert runtime in done.stdout.splitlines()
    assert "ok  models/fusion.atv.onnx: p50" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("no GPU runtime works")


@without_gpu
def test_an_unavailable_named_backend_is_an_error_not_a_fallback() -> None:
    with pytest.raises(GpuError):
        select.open_backend(ModelsConfig(backend="onnxruntime-cuda")).load(select.SHIPPED / "audio.onnx")


def test_status_shows_the_runtime_and_every_refused_one() -> None:
    notes = ("onnxruntime 1.31.1 fp32", "refused: tensorrt (audio.onnx: self-test failed: token off by 0.3)")
    worker = WorkerHealth("running", 7, 0, 0, None, 0.1, 10**8, {}, notes)
    lines = "\n".join(worker_lines({"fusion": worker}))
    assert "onnxruntime 1.31.1 fp32" in lines
    assert "token off by 0.3" in lines
