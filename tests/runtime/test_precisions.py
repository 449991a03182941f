"""FP16 and INT8 forms of the shipped weights: their results, operators in higher precision, and names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from edge_mer.config import ModelsConfig
from edge_mer.contract.domain import COMBINATIONS, modalities_of
from edge_mer.fusion.model import load_fusion_model
from edge_mer.runtime.backend import Graph, origin
from edge_mer.runtime.golden import LEAST_SIZE, deviations, draw
from edge_mer.runtime.onnx import OnnxRuntime
from edge_mer.runtime.select import notes, open_backend
from pipelines.exporting.onnx_file import FORBIDDEN
from pipelines.exporting.qdq import LEAST_ROWS, shapes_of

PRODUCTS = {"MatMul", "Gemm", "Conv"}


def graphs(forms: Path, precision: str) -> list[Path]:
    return sorted((forms / precision).glob("*.onnx"))


def pushed(graph: Graph, case: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Windows at the limits of encoder outputs: saturated, a single token, very old, no valid token."""
    inputs = draw(graph.inputs, graph.metadata["golden"]["ranges"], seed)
    for name, x in inputs.items():
        if name.endswith("_mask"):
            x[...] = {"one token": 0.0, "nothing": 0.0}.get(case, 1.0)
            if case == "one token":
                x[..., -1] = 1.0
        elif name.endswith("_age"):
            x[...] = 1e4 if case == "old" else 0.0
        else:
            x[...] = {"saturated": np.sign(x), "zero": 0 * x}.get(case, x)
    return inputs


@pytest.mark.parametrize("case", ["random", "saturated", "zero", "one token", "nothing", "old"])
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_fp16_fusion_stays_within_5e_3_of_fp32(forms: Path, combination: str, case: str) -> None:
    whole, halved = (OnnxRuntime().load(forms / p / f"fusion.{combination}.onnx") for p in ("", "fp16"))
    for seed in range(5):
        inputs = pushed(whole, case, seed)
        expected, got = whole.run(inputs), halved.run(inputs)
        for name, x in expected.items():
            assert np.abs(got[name] - x).max() <= 5e-3 * max(np.abs(x).max(), LEAST_SIZE.get(name, 1e-2)), name


@pytest.mark.parametrize("precision", ["", "fp16", "int8"])
def test_every_form_reproduces_its_golden_vectors(forms: Path, precision: str) -> None:
    # The voice and the text ship in INT8 alone, the detector has no INT8 form.
    assert len(graphs(forms, precision)) == {"": 12, "fp16": 10, "int8": 9}[precision]
    for path in graphs(forms, precision):
        assert all(d.good for d in deviations(OnnxRuntime().load(path))), path


@pytest.mark.parametrize("precision", ["", "fp16", "int8"])
def test_every_form_is_static_without_operators_that_engines_refuse(forms: Path, precision: str) -> None:
    for path in graphs(forms, precision):
        model = onnx.load(path)
        assert not FORBIDDEN & {n.op_type for n in model.graph.node}
        assert {o.domain for o in model.opset_import} <= {"", "ai.onnx"}
        for value in (*model.graph.input, *model.graph.output):
            assert all(d.HasField("dim_value") for d in value.type.tensor_type.shape.dim)


def test_fp16_applies_to_products_and_not_to_sums(forms: Path) -> None:
    for path in graphs(forms, "fp16"):
        model = onnx.shape_inference.infer_shapes(onnx.load(path))
        half = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
        half |= {v.name for v in model.graph.value_info if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16}
        touched = {n.op_type for n in model.graph.node if half & set(n.input)}
        assert touched <= PRODUCTS | {"Cast", "Gather"}
        assert touched & PRODUCTS, path.name


def test_int8_is_symmetric_and_excludes_products_of_few_rows(forms: Path) -> None:
    for path in graphs(forms, "int8"):
        model = onnx.load(path)
        tables = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        made = {n.output[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}
        for node in made.values():
            assert not tables[node.input[2]].any(), "a zero point"
            assert tables[node.input[2]].dtype == np.int8
        quantised = [n for n in model.graph.node if n.op_type in PRODUCTS and n.input[0] in made]
        assert quantised or path.name == "speech.onnx"
        for node in quantised:
            assert node.input[1] in made, "both sides or none"
            assert len(node.input) < 3 or node.input[2] not in made, "a bias"
        shapes = shapes_of(model)
        for node in quantised:
            assert node.op_type == "Conv" or np.prod(shapes[node.input[0]][:-1]) >= LEAST_ROWS


def test_every_form_of_an_encoder_is_the_same_encoder(forms: Path) -> None:
    for name in ("speech", "face"):
        whole, *others = (OnnxRuntime().load(forms / p / f"{name}.onnx") for p in ("", "fp16", "int8"))
        assert {origin(g) for g in others} == {whole.sha256} == {origin(whole)}
        assert len({g.sha256 for g in (whole, *others)}) == 3


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_configured_precision_is_used_and_reported(forms: Path, precision: str) -> None:
    backend = open_backend(ModelsConfig(directory=str(forms), precision=precision))  # type: ignore[arg-type]
    model = load_fusion_model(backend, forms)
    plain = load_fusion_model(open_backend(ModelsConfig()), forms)
    assert model.encoders == plain.encoders
    assert model.name != plain.name
    assert notes(backend)[0].endswith(precision)


def test_missing_form_falls_back_to_fp32_and_is_reported(forms: Path, tmp_path: Path) -> None:
    (tmp_path / "speech.onnx").write_bytes((forms / "speech.onnx").read_bytes())
    backend = open_backend(ModelsConfig(precision="int8"))
    assert backend.load(tmp_path / "speech.onnx").metadata["precision"] == "fp32"
    assert notes(backend)[0].endswith("int8 (fp32: speech.onnx)")


def test_shared_weights_are_in_one_checked_file(forms: Path, tmp_path: Path) -> None:
    from edge_mer.contract.errors import ModelError

    alone = sum(t.ByteSize() for c in COMBINATIONS for t in onnx.load(forms / f"fusion.{c}.onnx").graph.initializer)
    files = sum((forms / f"fusion.{c}.onnx").stat().st_size for c in COMBINATIONS)
    assert files + (forms / "fusion.weights").stat().st_size < 0.8 * alone
    path = tmp_path / "fusion.av.onnx"
    path.write_bytes((forms / path.name).read_bytes())
    with pytest.raises(ModelError, match=r"fusion\.weights: the weights of fusion\.av\.onnx cannot be read"):
        OnnxRuntime().load(path)
    weights = bytearray((forms / "fusion.weights").read_bytes())
    weights[7] ^= 1
    (tmp_path / "fusion.weights").write_bytes(weights)
    with pytest.raises(ModelError, match=r"fusion\.weights: the file was changed after the export"):
        OnnxRuntime().load(path)


AGAIN = """
import hashlib, sys
from pathlib import Path
from edge_mer.runtime.golden import draw
from edge_mer.runtime.onnx import OnnxRuntime
out = hashlib.sha256()
for path in sys.argv[1:]:
    graph = OnnxRuntime().load(Path(path))
    for seed in range(3):
        result = graph.run(draw(graph.inputs, graph.metadata["golden"]["ranges"], seed))
        out.update(b"".join(result[name].tobytes() for name in graph.outputs))
print(out.hexdigest())
"""


def test_another_process_gives_the_same_bytes(forms: Path) -> None:
    paths = [str(forms / p / f"{n}.onnx") for p in ("", "fp16", "int8") for n in ("fusion.atv", "face", "speech")]
    paths += [str(forms / f"{n}.onnx") for n in ("audio", "text")]
    runs = [
        subprocess.run([sys.executable, "-c", AGAIN, *paths], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.strip()) == 64


def test_runs_and_sessions_give_the_same_bytes(forms: Path) -> None:
    for precision in ("", "fp16", "int8"):
        path = forms / precision / "fusion.atv.onnx"
        first, second = OnnxRuntime().load(path), OnnxRuntime().load(path)
        for seed in range(3):
            inputs = draw(first.inputs, first.metadata["golden"]["ranges"], seed)
            runs = [g.run(inputs) for g in (first, first, second)]
            assert len({r["logits"].tobytes() + r["sentiment"].tobytes() for r in runs}) == 1


@pytest.mark.parametrize("fill", [np.nan, np.inf, 1e4])
@pytest.mark.parametrize("precision", ["", "fp16", "int8"])
def test_t1_a_masked_token_cannot_change_one_bit(forms: Path, precision: str, fill: float) -> None:
    for combination in ("av", "atv"):
        graph = OnnxRuntime().load(forms / precision / f"fusion.{combination}.onnx")
        inputs = pushed(graph, "random")
        for m in modalities_of(combination):  # type: ignore[arg-type]
            inputs[f"{m}_mask"][:, :5] = 0
        clean = graph.run(inputs)
        for m in modalities_of(combination):  # type: ignore[arg-type]
            inputs[m][:, :5], inputs[f"{m}_age"][:, :5] = fill, fill
        dirty = graph.run(inputs)
        assert all(clean[n].tobytes() == dirty[n].tobytes() for n in clean)
