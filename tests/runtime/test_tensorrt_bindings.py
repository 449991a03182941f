"""Every name of TensorRT that the code touches is in the real bindings of 10.3, 10.16 and 11.4, and of TensorRT-RTX."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_mer.runtime import tensorrt_graph
from tests.runtime import touched
from tests.runtime.bindings import WHEELS, ask, unpacked

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
logger, said = make_logger(trt), []
logger.log(trt.ILogger.Severity.WARNING, "not kept")
logger.log(trt.ILogger.Severity.ERROR, " kept\\n")
monitor = _monitor(trt, lambda *step: said.append(step))
monitor.phase_start("outer", None, 4)
monitor.step_complete("outer", 1)
print(json.dumps([trt.__version__, logger.errors, said, trt.OnnxParser.parse.__doc__]))
"""
# What the older path would have used: gone in 11, and the reason why there is one path.
GONE = (
    "BuilderFlag.FP16",
    "BuilderFlag.INT8",
    "IInt8EntropyCalibrator2",
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
)


@pytest.fixture(scope="module", params=list(WHEELS))
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, unpacked(request.param, tmp_path_factory.mktemp("bindings"))


def test_the_code_touches_what_a_build_and_a_run_need() -> None:
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


def test_every_name_is_there(place: tuple[str, Path]) -> None:
    names = sorted(touched.tensorrt_names() | {f"DataType.{n}" for n in tensorrt_graph._DTYPES})
    assert ask(place[1], LOOK_UP.format(module="tensorrt"), names) == []


def test_a_name_that_is_not_there_would_be_found(place: tuple[str, Path]) -> None:
    old = "def f(trt, config):\n    config.set_flag(trt.BuilderFlag.FP16)\n    config.int8_calibrator = None\n"
    missing = ask(place[1], LOOK_UP.format(module="tensorrt"), sorted(touched.tensorrt_names({"old.py": old})))
    assert missing == (["BuilderFlag.FP16", "IBuilderConfig.int8_calibrator"] if place[0] == "11.4" else [])
    assert ask(place[1], LOOK_UP.format(module="tensorrt"), list(GONE)) == (list(GONE) if place[0] == "11.4" else [])


def test_our_logger_and_monitor_can_be_made_of_the_real_classes(place: tuple[str, Path]) -> None:
    version, errors, said, parse = ask(place[1], SUBCLASS)
    assert version.startswith(place[0])
    assert errors == ["kept"]
    assert said == [["outer", 1, 4]]
    assert "path: str" in parse


def test_tensorrt_rtx_has_every_name_too(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx (x86_64 Linux); the extra test installs it there")
    assert ask(tmp_path, LOOK_UP.format(module="tensorrt_rtx"), sorted(touched.tensorrt_names())) == []
