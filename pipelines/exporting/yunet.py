"""Makes ``edge_mer/models/yunet.onnx`` of the publisher's file: the same weights, a fixed input, our metadata.

``python -m pipelines.exporting.yunet FILE``. Newer opset and another input size are all that changes in the graph.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from onnx import version_converter

from edge_mer.contract.errors import EdgeMerError, ModelError
from edge_mer.perception.yunet_detector import YUNET
from edge_mer.runtime.backend import TensorSpec
from edge_mer.runtime.catalogue import write_sums
from edge_mer.runtime.golden import draw
from pipelines.data.corpora import DEFAULT_ROOT
from pipelines.encoders.shipped import MODELS
from pipelines.exporting.export import OPSET
from pipelines.exporting.onnx_file import GraphDraft, ranges_of, write
from pipelines.exporting.onnx_variants import CASES

SHA256: Final = "25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31"
SOURCE: Final = Path("models/yunet_n_640_640.onnx")
# 16:9 at 640 pixels of width, up to a multiple of the coarsest stride: a face of 1/12 of the height has 30 pixels.
HEIGHT, WIDTH = 384, 640
# Of 80,640 values of a golden case this share is kept: the file is for weights.
EVERY: Final = 101
METADATA: Final[dict[str, Any]] = {
    "kind": "face detector",
    "name": "yunet",
    "modality": "video",
    "input": "picture float32 [1, 3, 384, 640]: BGR, 0 to 255, at the left and top, black beside it",
    "source": "github.com/ShiqiYu/libfacedetection.train, onnx/yunet_n_640_640.onnx of commit 0047ac24afb1",
    "source_sha256": SHA256,
    "data": ["WIDER FACE"],
    "licence": "Apache-2.0 (libfacedetection.train); the detector is also published as MIT (OpenCV Zoo)",
    "known_failures": "faces tilted beyond 30 degrees or lower than 20 pixels; draws landmarks as if upright",
}


def converted(content: bytes, height: int = HEIGHT, width: int = WIDTH) -> onnx.ModelProto:
    """The publisher's graph for a ``picture`` [1, 3, height, width]. Raises ModelError for another file."""
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise ModelError(f"not the pinned YuNet: sha256 {found[:16]}, expected {SHA256[:16]}")
    model = onnx.load_from_string(content)
    given, graph = model.graph.input[0], model.graph
    given.type.tensor_type.shape.dim[2].dim_value = height
    given.type.tensor_type.shape.dim[3].dim_value = width
    for node in graph.node:
        node.input[:] = ["picture" if name == given.name else name for name in node.input]
    given.name = "picture"
    for output in graph.output:
        stride = int(output.name.rpartition("_")[2])
        output.type.tensor_type.shape.dim[1].dim_value = (height // stride) * (width // stride)
    del graph.value_info[:]
    return version_converter.convert_version(model, OPSET)


def export(file: Path, out: Path) -> None:
    """Write ``out/yunet.onnx``."""
    model = converted(file.read_bytes())
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    specs = {"picture": TensorSpec((1, 3, HEIGHT, WIDTH), np.dtype(np.float32))}
    ranges, names = ranges_of(specs), [o.name for o in session.get_outputs()]
    expected = [dict(zip(names, session.run(names, draw(specs, ranges, seed)), strict=True)) for seed in range(CASES)]
    write(out, [GraphDraft(YUNET, model, METADATA, ranges, expected, every=EVERY)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.exporting.yunet", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=DEFAULT_ROOT / SOURCE)
    parser.add_argument("--out", type=Path, default=MODELS)
    arguments = parser.parse_args()
    try:
        export(arguments.file, arguments.out)
    except (EdgeMerError, OSError) as error:
        raise SystemExit(f"error: {error}") from error
    write_sums(arguments.out)


if __name__ == "__main__":
    main()
