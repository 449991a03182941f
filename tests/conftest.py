"""What several packages of tests share."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings

from calibration.int8 import quantised
from edge_mer.perception.yunet_detector import YUNET
from edge_mer.runtime.golden import draw
from edge_mer.runtime.model_file import read_model
from edge_mer.runtime.onnx import OnnxRuntime
from edge_mer.runtime.select import SHIPPED
from pipelines.exporting.onnx_file import write
from pipelines.exporting.onnx_variants import FUSION, half, restamp

# No example may fail because something else had the machine; pytest's timeout bounds every test.
settings.register_profile("loaded machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded machine")
# How waits that ran out are worded.
TOO_LATE = re.compile(r"not within|within \d+ s|did not|not listen|not met|in time|nothing arrived|[Tt]ime(d )?[Oo]ut")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--toggles", type=int, default=2000, help="of tests/privacy/test_toggles.py")


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """A test of real processes whose wait ran out is tried once more, with a warning; a wrong value never is."""
    if not item.get_closest_marker("end_to_end"):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if late := [why for r in reports if r.when == "call" and r.failed and TOO_LATE.search(why := _message(r))]:
        item.warn(pytest.PytestWarning(f"tried once more, because: {late[0]}"))
        item._initrequest()  # type: ignore[attr-defined]
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _message(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message) if crash else report.longreprtext


@pytest.fixture(scope="session")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped weights in today's files: FP32, ``fp16`` and ``int8``; ranges of INT8 from the golden inputs."""
    place = tmp_path_factory.mktemp("forms")
    restamp(SHIPPED, place)
    half(place)
    drafts = []
    for path in sorted(place.glob("*.onnx")):
        if path.name == YUNET or read_model(path).precision != "fp32":
            continue  # calibration.int8 has no form of the detector, and some ship in INT8
        graph = OnnxRuntime().load(path)
        ranges = graph.metadata["golden"]["ranges"]
        drafts.append(quantised(path, [draw(graph.inputs, ranges, seed) for seed in range(4)]))
    write(place / "int8", [d for d in drafts if not d.name.startswith(FUSION)])
    write(place / "int8", [d for d in drafts if d.name.startswith(FUSION)], "fusion.weights")
    return place
