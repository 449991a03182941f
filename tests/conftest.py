"""What several packages of tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from calibration.int8 import quantised
from edge_mer.runtime.golden import draw
from edge_mer.runtime.model_file import read_model
from edge_mer.runtime.onnx import OnnxRuntime
from edge_mer.runtime.select import SHIPPED
from pipelines.exporting.onnx_file import write
from pipelines.exporting.onnx_variants import FUSION, half, restamp

# No example may fail because something else had the machine; pytest's timeout bounds every test.
settings.register_profile("loaded machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded machine")


@pytest.fixture(scope="session")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped weights in today's files: FP32, ``fp16`` and ``int8``; ranges of INT8 from the golden inputs."""
    place = tmp_path_factory.mktemp("forms")
    restamp(SHIPPED, place)
    half(place)
    drafts = []
    for path in sorted(place.glob("*.onnx")):
        if read_model(path).precision != "fp32":
            continue  # ships in INT8
        graph = OnnxRuntime().load(path)
        ranges = graph.metadata["golden"]["ranges"]
        drafts.append(quantised(path, [draw(graph.inputs, ranges, seed) for seed in range(4)]))
    write(place / "int8", [d for d in drafts if not d.name.startswith(FUSION)])
    write(place / "int8", [d for d in drafts if d.name.startswith(FUSION)], "fusion.weights")
    return place
