"""Every name of TensorRT that the code uses is in the real bindings of 10.3, 10.16 and 11.4, and of TensorRT-RTX."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_mer.runtime import tensorrt_graph
from tests.runtime import touched
from tests.runtime.bindings import WHEELS, run_script, unpacked

LOOK_UP = """
import functools, json, sys
import {module} as trt
def there(name):
    try:
        functools.reduce(getattr, name.split("."), trt)
    except AttributeError:
        return False
    return True
print(json.dumps([n for n in json.load(sys.stdin) if not there(n)]))
"""
SUBCLASS = """
import json, sys, tensorrt as trt
from edge_mer.runtime.tensorrt_build import _monitor, make_logger
logger, steps = make_logger(trt), []
logger.log(trt.ILogger.Severity.WARNING, "not kept")
logger.log(trt.ILogger.Severity.ERROR, " kept\\n")
monitor = _monitor(trt, lambda *step: steps.append(step))
monitor.phase_start("outer", None, 4)
monitor.step_complete("outer", 1)
print(json.dumps([trt.__version__, logger.errors, steps, trt.OnnxParser.parse.__doc__]))
"""
# Names of the older API, removed in 11; therefore the code does not use them.
GONE = (
    "BuilderFlag.FP16",
    "BuilderFlag.INT8",
    "IInt8EntropyCalibrator2",
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
)


@pytest.fixture(scope="module", params=list(WHEELS))
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, unpacked(request.param, tmp_path_factory.mktemp("bindings"))


def test_used_names_include_those_of_a_build_and_a_run() -> None:
    names = touched.tensorrt_names()
    assert {
        "Builder",
        "OnnxParser",
        "Runtime",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "BuilderFlag.TF32",
        "IBuilderConfig.clear_flag",
        "ICudaEngine.get_tensor_name",
        "IExecutionContext.execute_async_v3",
        "ILogger.log",
        "IProgressMonitor.step_complete",
        "ParserError.desc",
    } <= names
    assert not [n for n in names if any(word in n.lower() for word in ("fp16", "int8", "calib", "precision"))]


def test_every_used_name_exists(place: tuple[str, Path]) -> None:
    names = sorted(touched.tensorrt_names() | {f"DataType.{n}" for n in tensorrt_graph._DTYPES})
    assert run_script(place[1], LOOK_UP.format(module="tensorrt"), names) == []


def test_missing_name_is_found(place: tuple[str, Path]) -> None:
    old = "def f(trt, config):\n    config.set_flag(trt.BuilderFlag.FP16)\n    config.int8_calibrator = None\n"
    missing = run_script(place[1], LOOK_UP.format(module="tensorrt"), sorted(touched.tensorrt_names({"old.py": old})))
    assert missing == (["BuilderFlag.FP16", "IBuilderConfig.int8_calibrator"] if place[0] == "11.4" else [])
    assert run_script(place[1], LOOK_UP.format(module="tensorrt"), list(GONE)) == (
        list(GONE) if place[0] == "11.4" else []
    )


def test_logger_and_monitor_extend_the_real_classes(place: tuple[str, Path]) -> None:
    version, errors, steps, parse = run_script(place[1], SUBCLASS)
    assert version.startswith(place[0])
    assert errors == ["kept"]
    assert steps == [["outer", 1, 4]]
    assert "path: str" in parse


def test_every_used_name_exists_in_tensorrt_rtx(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx (x86_64 Linux); the extra test installs it there")
    assert run_script(tmp_path, LOOK_UP.format(module="tensorrt_rtx"), sorted(touched.tensorrt_names())) == []
