"""Metadata of an ONNX file, read without a session; and errors for every kind of damage."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.contract.errors import ModelError
from edge_mer.contract.protobuf import fields_of
from edge_mer.runtime.model_file import graph_sha256, read_model
from edge_mer.runtime.onnx import OnnxRuntime
from edge_mer.runtime.select import SHIPPED
from tests.runtime.tiny import tiny


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.onnx")), ids=lambda p: p.name)
def test_metadata_equals_that_of_the_onnx_library(path: Path) -> None:
    model, ours = onnx.load(path), read_model(path)
    assert ours.opset == model.opset_import[0].version
    assert ours.metadata == json.loads({p.key: p.value for p in model.metadata_props}["edge_mer"])
    assert ours.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_graph_hash_is_independent_of_metadata(tmp_path: Path) -> None:
    path = tiny(tmp_path / "m.onnx")
    model = onnx.load(path)
    expected = hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()
    assert read_model(path).metadata["graph_sha256"] == expected == graph_sha256(path.read_bytes())


def test_a_changed_weight_is_refused(tmp_path: Path) -> None:
    path = tiny(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.initializer[0].raw_data = b"\0\0\0\x41"
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"m\.onnx: its graph was changed after the export .*restore the file"):
        OnnxRuntime().load(path)


@pytest.mark.parametrize("opset", [7, 17])
def test_an_old_opset_is_refused(tmp_path: Path, opset: int) -> None:
    with pytest.raises(ModelError, match=f"opset {opset}, expected 18 or newer"):
        tiny(tmp_path / "m.onnx", opset=opset)


def test_unknown_newer_opset_is_refused(tmp_path: Path) -> None:
    path = tiny(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.opset_import[0].version = 999
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"m\.onnx: not a usable ONNX file .*pset 999"):
        OnnxRuntime().load(path)


def test_every_truncation_is_a_model_error(tmp_path: Path) -> None:
    path = tiny(tmp_path / "m.onnx")
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(ModelError):
            read_model(path)


@given(st.binary(max_size=200))
def test_garbage_is_read_or_refused_but_never_crashes(content: bytes) -> None:
    try:
        fields = list(fields_of(content))
    except ValueError:
        return
    assert all(number >= 0 for number, _ in fields)
