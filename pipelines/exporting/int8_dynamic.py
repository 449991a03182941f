"""INT8 without calibration: the weights of products in 8 bits, the scale of each activation found as it runs.

ONNX Runtime runs it twice as fast as static INT8; TensorRT does not take it, so such a file says ``"backend":
"onnxruntime"``. Weights use 7 of the 8 bits: products of CPUs without VNNI would overflow else.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from edge_mer.runtime.model_file import METADATA_KEY
from edge_mer.runtime.onnx import OnnxRuntime
from pipelines.exporting.onnx_file import GraphDraft
from pipelines.exporting.onnx_variants import expected


def dynamic_int8(draft: GraphDraft) -> GraphDraft:
    """The INT8 form of an FP32 draft; its golden outputs are what ONNX Runtime makes of it."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / draft.name
        quantize_dynamic(
            draft.model,
            path,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        model = onnx.load(path)
        labelled = onnx.ModelProto()
        labelled.CopyFrom(model)
        labelled.metadata_props.add(key=METADATA_KEY, value='{"precision": "int8"}')
        onnx.save(labelled, path)
        outputs = expected(OnnxRuntime().load(path), draft.ranges)
    return replace(draft, model=model, expected=outputs, precision="int8")
